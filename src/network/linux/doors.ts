import { createSocket } from "node:dgram";
import { once } from "node:events";
import { createServer, type Server } from "node:net";
import type { Ip6, NetworkId } from "../../core/ids.ts";
import { ANY_DNS, dnsAddress } from "../address.ts";
import { bindError, LISTEN_BACKLOG, SERVER_OPTIONS } from "../outside-direct.ts";
import type { ServiceDoor } from "../plane.ts";
import { API_PORT, DNS_PORT } from "../ports.ts";

/** Listens in the namespace that we stand in. @errors port_taken, internal */
export async function listenInside(host: string, port: number): Promise<Server> {
  const server = createServer(SERVER_OPTIONS);
  try {
    // Without `ipv6Only` the wildcard would take the IPv4 links' connections too.
    server.listen({ host, port, ipv6Only: true, backlog: LISTEN_BACKLOG });
    await once(server, "listening");
  } catch (thrown) {
    throw bindError(thrown, host, port);
  }
  return server;
}

/** DNS and API at `fdaa::3` and every network's `::3`. One socket an address: of a datagram Node tells no destination. */
export class Doors {
  #attach: ((door: ServiceDoor) => void) | undefined;
  readonly #wanted = new Set<NetworkId | undefined>([undefined]);
  readonly #open = new Map<NetworkId | undefined, ServiceDoor>();

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
    const door = await openDoor(address, network);
    if (this.#attach === undefined || !this.#wanted.has(network) || this.#open.has(network)) {
      closeDoor(door);
      return;
    }
    this.#open.set(network, door);
    this.#attach(door);
  }
}

async function openDoor(address: Ip6, network: NetworkId | undefined): Promise<ServiceDoor> {
  const udp = createSocket("udp6");
  try {
    udp.bind({ address, port: DNS_PORT, exclusive: true });
    await once(udp, "listening");
  } catch (thrown) {
    udp.close();
    throw bindError(thrown, address, DNS_PORT);
  }
  const [dnsTcp, api] = await Promise.all([listenInside(address, DNS_PORT), listenInside(address, API_PORT)]);
  return { address, network, dnsUdp: udp, dnsTcp, api };
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
