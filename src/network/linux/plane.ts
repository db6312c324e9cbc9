import { rm } from "node:fs/promises";
import type { Server } from "node:net";
import { AppError } from "../../core/errors.ts";
import type { HostId, Ip6, MachineId, NetworkId } from "../../core/ids.ts";
import { machineAddress } from "../address.ts";
import type { ClientPlace, DialAddress, NetworkPlane, Place, PlaceRequest, ServiceDoor } from "../plane.ts";
import { clientEntry } from "./client.ts";
import { CommandQueue } from "./commands.ts";
import { Doors, listenInside } from "./doors.ts";
import type { Guard, Link } from "./guard.ts";
import { NFT_TABLE, nftGuard } from "./guard-nft.ts";
import { rulesGuard } from "./guard-rules.ts";
import { writeOwnFiles } from "./machine-files.ts";
import type { Namespace } from "./namespace.ts";
import { Privileges } from "./privileges.ts";
import { mustRun, run } from "./run.ts";
import { discard, Vacancies } from "./vacancies.ts";
import type { OuterFacts } from "./wire.ts";
import { wireExists, Wires } from "./wires.ts";

export interface LinuxPlaneOptions {
  readonly mode: "lab" | "host";
  /** Hidden from every Machine and client, whatever else a request hides. */
  readonly stateDir: string;
  /** From `connectOuter`: what `client` needs to be entered from outside. */
  readonly outer: OuterFacts;
  /** Whether nftables works here (`probeLab`). Without it routing rules isolate networks, and the proxy alone guards ports. */
  readonly nftables: boolean;
  /** Namespaces that are kept ready for Machines that wake for the first time. @default 4 */
  readonly spare?: number;
}

/** A page of apps that wake each other is served from these. */
const SPARE = 4;

/** Namespaces that somebody has moved into. */
interface Inhabited {
  readonly link: Link;
  readonly folder: string;
  readonly namespace: Namespace;
}

interface Placed extends Inhabited {
  readonly place: Place;
}

/** Host part of the addresses of `flycast exec`. No host has it, so they are never a Machine's. */
const NO_HOST = 0 as HostId;

/** Networks and Machines in the namespaces of the core. To be made once, in the core, before anything else listens. */
export async function createLinuxPlane(options: LinuxPlaneOptions): Promise<NetworkPlane> {
  const plane = new LinuxPlane(options, options.nftables ? nftGuard : rulesGuard);
  await plane.prepare();
  return plane;
}

class LinuxPlane implements NetworkPlane {
  readonly mode: "lab" | "host";
  readonly #options: LinuxPlaneOptions;
  readonly #guard: Guard;
  readonly #commands = new CommandQueue();
  readonly #wires = new Wires();
  readonly #vacancies: Vacancies;
  readonly #doors = new Doors();
  readonly #networks = new Map<NetworkId, Promise<void>>();
  readonly #places = new Map<MachineId, Promise<Placed>>();
  readonly #clients = new Map<Ip6, Inhabited>();
  readonly #listeners = new Set<Server>();
  readonly #privileges: Privileges;
  /** util-linux 2.38 and newer. */
  #nsenterChangesFolder = false;
  #clientNumber = 0;

  constructor(options: LinuxPlaneOptions, guard: Guard) {
    this.mode = options.mode;
    this.#options = options;
    this.#guard = guard;
    this.#privileges = new Privileges(options.outer.userNamespace);
    this.#vacancies = new Vacancies(this.#wires, this.#commands, pingGroups(options.outer), options.spare ?? SPARE);
  }

  async prepare(): Promise<void> {
    await this.#commands.apply(this.#guard.base);
    this.#nsenterChangesFolder = (await run(["nsenter", "--help"])).stdout.includes("--wdns");
    this.#vacancies.refill();
  }

  addNetwork(network: NetworkId): Promise<void> {
    const known = this.#networks.get(network);
    if (known !== undefined) return known;
    const added = this.#commands.apply(this.#guard.addNetwork(network)).then(() => this.#doors.add(network));
    this.#networks.set(network, added);
    added.catch(() => this.#networks.delete(network));
    return added;
  }

  async removeNetwork(network: NetworkId): Promise<void> {
    const known = this.#networks.get(network);
    if (known === undefined) return;
    this.#networks.delete(network);
    await known;
    await this.#doors.remove(network);
    await this.#commands.apply(this.#guard.removeNetwork(network), "remove");
  }

  async place(machine: PlaceRequest): Promise<Place> {
    const known = this.#places.get(machine.id);
    if (known !== undefined) return (await known).place;
    const placing = this.#makePlace(machine);
    this.#places.set(machine.id, placing);
    placing.catch(() => this.#places.delete(machine.id));
    return (await placing).place;
  }

  async #makePlace(machine: PlaceRequest): Promise<Placed> {
    const made = await this.#makeNamespace(machine.id, machine.network, machine.address, machine);
    const { link, namespace } = made;
    return {
      ...made,
      place: {
        enter: ({ folder, user }) => {
          const enter = ["nsenter", `--net=${namespace.paths.net}`, `--mount=${namespace.paths.mount}`];
          const drop = this.#privileges.drop(folder, user);
          // Every program in the chain costs the wake a millisecond.
          return this.#nsenterChangesFolder
            ? [...enter, `--wdns=${folder}`, ...drop]
            : [...enter, ...drop, "env", "-C", folder];
        },
        env: { TMPDIR: "/run/tmp" },
        dial: (port): readonly DialAddress[] => [
          { host: link.theirs, port },
          { host: link.address, port },
        ],
        members: () => namespace.members(),
      },
    };
  }

  async #makeNamespace(
    name: string,
    network: NetworkId,
    address: Ip6,
    wanted: Pick<PlaceRequest, "mounts" | "files" | "hidden">,
  ): Promise<Inhabited> {
    const [built] = await Promise.all([this.#vacancies.take(), this.addNetwork(network)]);
    const { vacancy, files } = built;
    const link: Link = { ...vacancy.wire, network, address };
    try {
      const hidden = [this.#options.stateDir, ...wanted.hidden];
      const own = { name, address, link: link.theirs };
      const binds = await writeOwnFiles(files, own, { ...wanted, hidden });
      await Promise.all([
        vacancy.settle(address, [...binds, files.run]),
        this.#commands.apply(this.#guard.addLink(link)),
      ]);
      return { link, namespace: vacancy.namespace, folder: files.folder };
    } catch (error) {
      discard(built);
      await this.#commands.apply(this.#guard.removeLink(link, wireExists(link)), "remove").catch(() => undefined);
      this.#wires.giveBack(link);
      throw error;
    }
  }

  async unplace(id: MachineId): Promise<void> {
    const placing = this.#places.get(id);
    if (placing === undefined) return;
    const placed = await placing.catch(() => undefined);
    if (placed === undefined || this.#places.get(id) !== placing) return;
    this.#places.delete(id);
    await this.#takeDown(placed);
  }

  async #takeDown(made: {
    readonly link: Link;
    readonly namespace: Namespace;
    readonly folder: string;
  }): Promise<void> {
    await killAll(made.namespace);
    // The link goes while we still hold the namespace: once that is let go, the kernel takes it away when it likes.
    await this.#forget(made.link, made.folder);
    made.namespace.close();
  }

  async #forget(link: Link, folder: string): Promise<void> {
    await this.#commands.apply(this.#guard.removeLink(link, wireExists(link)), "remove");
    this.#wires.giveBack(link);
    await rm(folder, { recursive: true, force: true });
  }

  async listenPrivate(port: number): Promise<Server> {
    const server = await listenInside("::", port);
    this.#listeners.add(server);
    server.once("close", () => this.#listeners.delete(server));
    return server;
  }

  onServiceDoor(attach: (door: ServiceDoor) => void): Promise<void> {
    return this.#doors.start(attach);
  }

  clientNetwork(address: Ip6): NetworkId | undefined {
    return this.#clients.get(address)?.link.network;
  }

  async refused(): Promise<Readonly<Record<string, number>>> {
    if (!this.#options.nftables) return {};
    const text = await mustRun(["nft", "-j", "list", "counters", "table", ...NFT_TABLE.split(" ")]);
    return parseCounters(text);
  }

  async client(network: NetworkId): Promise<ClientPlace> {
    await this.#forgetEndedClients();
    const address = machineAddress(network, NO_HOST, 0x1_0000 + this.#clientNumber++);
    const name = `client-${this.#clientNumber}`;
    const made = await this.#makeNamespace(name, network, address, { mounts: [], files: [], hidden: [] });
    this.#clients.set(address, made);
    return {
      address,
      enter: clientEntry(this.#options.outer, process.pid, made.namespace.descriptors),
      owner: { uid: this.#options.outer.uid, gid: this.#options.outer.gid },
      release: () => made.namespace.close(),
    };
  }

  /** A client's namespace ends with its last process, and nothing tells when that is: its link is gone then. */
  async #forgetEndedClients(): Promise<void> {
    for (const [address, client] of this.#clients) {
      if (wireExists(client.link)) continue;
      this.#clients.delete(address);
      await this.#forget(client.link, client.folder);
    }
  }

  async close(): Promise<void> {
    this.#doors.close();
    this.#vacancies.close();
    for (const server of this.#listeners) server.close();
    await Promise.all([...this.#places.keys()].map((id) => this.unplace(id)));
    for (const client of this.#clients.values()) await this.#takeDown(client);
    this.#clients.clear();
  }
}

/** Groups that may ping. In a user namespace only the one group that exists can be named. */
function pingGroups({ userNamespace, gid }: OuterFacts): string {
  return userNamespace ? `${gid} ${gid}` : "0 2147483647";
}

/** SIGKILL to all, again until there is nobody: a process may fork between the look and the kill. */
async function killAll(namespace: Namespace): Promise<void> {
  for (let round = 0; ; round++) {
    const members = namespace.members();
    if (members.length === 0) return;
    if (round === 1000) throw new AppError("internal", `${members.length} processes do not end, not even by SIGKILL`);
    for (const pid of members) {
      try {
        process.kill(pid, "SIGKILL");
      } catch {
        // Ended by itself.
      }
    }
    await new Promise((resolve) => setTimeout(resolve, Math.min(50, round)));
  }
}

const COUNTER_NAMES = new Set(["forged", "denied_forward", "denied_input"]);

/** Packets by counter, from `nft -j list counters`. */
function parseCounters(text: string): Readonly<Record<string, number>> {
  const found: Record<string, number> = {};
  const { nftables } = JSON.parse(text) as { nftables: readonly { counter?: { name: string; packets: number } }[] };
  for (const { counter } of nftables) {
    if (counter !== undefined && COUNTER_NAMES.has(counter.name)) found[counter.name] = counter.packets;
  }
  return found;
}
