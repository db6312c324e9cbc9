import type { Server } from "node:net";
import type { NetworkId } from "../../core/ids.ts";
import { ANY_DNS, dnsAddress } from "../address.ts";
import type { ServiceDoor } from "../plane.ts";
import { API_PORT, DNS_PORT } from "../ports.ts";
import type { InsideSockets } from "./inside-sockets.ts";
import { SharedPort } from "./shared-port.ts";

/** DNS and API at `fdaa::3` and every network's `::3`. One socket an address: of a datagram Node tells no destination. */
export class Doors {
  #attach: ((door: ServiceDoor) => void) | undefined;
  readonly #wanted = new Set<NetworkId | undefined>([undefined]);
  readonly #open = new Map<NetworkId | undefined, ServiceDoor>();
  /** Services may have the same ports, at other addresses. */
  readonly #dns: SharedPort;
  readonly #api: SharedPort;

  readonly #sockets: InsideSockets;

  constructor(sockets: InsideSockets) {
    this.#sockets = sockets;
    this.#dns = new SharedPort(DNS_PORT, sockets);
    this.#api = new SharedPort(API_PORT, sockets);
  }

  /** What arrives at a port of the doors and is not for a door; undefined when the doors do not have that port. */
  listenBeside(port: number): Promise<Server> | undefined {
    if (port === DNS_PORT) return this.#dns.elsewhere();
    return port === API_PORT ? this.#api.elsewhere() : undefined;
  }

  async start(attach: (door: ServiceDoor) => void): Promise<void> {
    this.#attach = attach;
    await Promise.all([...this.#wanted].map((network) => this.#openDoor(network)));
  }

  async add(network: NetworkId): Promise<void> {
    this.#wanted.add(network);
    await this.#openDoor(network);
  }

  async remove(network: NetworkId): Promise<void> {
    this.#wanted.delete(network);
    const door = this.#open.get(network);
    this.#open.delete(network);
    if (door !== undefined) closeDoor(door);
  }

  close(): void {
    for (const door of this.#open.values()) closeDoor(door);
    this.#open.clear();
    this.#wanted.clear();
    this.#attach = undefined;
  }

  async #openDoor(network: NetworkId | undefined): Promise<void> {
    if (this.#attach === undefined || this.#open.has(network)) return;
    const address = network === undefined ? ANY_DNS : dnsAddress(network);
    const udp = await this.#sockets.bindUdp(address, DNS_PORT);
    const [dnsTcp, api] = await Promise.all([this.#dns.at(address), this.#api.at(address)]);
    const door: ServiceDoor = { address, network, dnsUdp: udp, dnsTcp, api };
    if (this.#attach === undefined || !this.#wanted.has(network) || this.#open.has(network)) {
      closeDoor(door);
      return;
    }
    this.#open.set(network, door);
    this.#attach(door);
  }
}

function closeDoor(door: ServiceDoor): void {
  try {
    door.dnsUdp.close();
  } catch {
    // Whoever was given it has closed it already.
  }
  door.dnsTcp.close();
  door.api.close();
}
