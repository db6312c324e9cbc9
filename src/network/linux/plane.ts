import { chmod, mkdir, rm, writeFile } from "node:fs/promises";
import type { Server } from "node:net";
import type { HostId, Ip6, MachineId, NetworkId } from "../../core/ids.ts";
import { dnsAddress, machineAddress, networkCidr } from "../address.ts";
import { API_PORT, DNS_PORT } from "../ports.ts";
import type { ClientPlace, DialAddress, ListedPort, NetworkPlane, Place, PlaceRequest, ServiceDoor } from "../plane.ts";
import { clientEntry } from "./client.ts";
import type { ComputerSide } from "./core-side.ts";
import { CommandQueue } from "./commands.ts";
import { exitCommands } from "./egress-inside.ts";
import { readCounters } from "./counters.ts";
import { Doors } from "./doors.ts";
import type { Guard, Link } from "./guard.ts";
import { nftGuard } from "./guard-nft.ts";
import { rulesGuard } from "./guard-rules.ts";
import { INSIDE, privateAddresses } from "./host-link.ts";
import { killAll } from "./kill-all.ts";
import { ListedPorts } from "./listed-ports.ts";
import { insideSockets, type InsideSockets } from "./inside-sockets.ts";
import { placesFolder, writeOwnFiles } from "./machine-files.ts";
import type { Namespace } from "./namespace.ts";
import { PlaceRecords } from "./place-records.ts";
import { Privileges } from "./privileges.ts";
import { run, toolPath } from "./run.ts";
import { firstCommands } from "./recovery.ts";
import { discard, Vacancies } from "./vacancies.ts";
import type { OuterFacts } from "./wire.ts";
import { wireExists, Wires } from "./wires.ts";

export interface LinuxPlaneOptions {
  readonly mode: "lab" | "host";
  /** Hidden from every Machine and client, whatever else a request hides. */
  readonly stateDir: string;
  /** From `connectOuter`: what the outer process does to the computer's own network. Host mode needs it. */
  readonly computer?: ComputerSide;
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
/** The computer's own number there; clients count from 0x10000 up. */
const THE_COMPUTER = 0xffff;

/** Networks and Machines in the namespaces of the core. To be made once, in the core, before anything else listens. */
export async function createLinuxPlane(options: LinuxPlaneOptions): Promise<NetworkPlane> {
  const plane = new LinuxPlane(options, options.nftables ? nftGuard : rulesGuard);
  await plane.prepare();
  return plane;
}

class LinuxPlane implements NetworkPlane {
  readonly mode: "lab" | "host";
  readonly sharedPorts = [DNS_PORT, API_PORT];
  readonly #options: LinuxPlaneOptions;
  readonly #guard: Guard;
  readonly #commands = new CommandQueue();
  readonly #placesFolder: string;
  readonly #wires: Wires;
  readonly #records: PlaceRecords | undefined;
  readonly #vacancies: Vacancies;
  readonly #sockets: InsideSockets;
  readonly #listed: ListedPorts;
  readonly #doors: Doors;
  readonly #networks = new Map<NetworkId, Promise<void>>();
  readonly #places = new Map<MachineId, Promise<Placed>>();
  /** Places that are being taken down. */
  readonly #leaving = new Map<MachineId, Promise<void>>();
  readonly #clients = new Map<Ip6, Inhabited>();
  /** Those that the computer is a client of. */
  readonly #hostNetworks = new Set<NetworkId>();
  readonly #listeners = new Set<Server>();
  readonly #privileges: Privileges;
  /** util-linux 2.38 and newer. */
  #nsenterChangesFolder = false;
  #clientNumber = 0;

  constructor(options: LinuxPlaneOptions, guard: Guard) {
    this.mode = options.mode;
    this.#options = options;
    this.#guard = guard;
    this.#listed = new ListedPorts(guard, this.#commands);
    this.#sockets = insideSockets(options.mode === "host" ? options.computer?.keeper : undefined);
    this.#doors = new Doors(this.#sockets);
    const { userNamespace, gid, persistent } = options.outer;
    const places = placesFolder(persistent);
    this.#placesFolder = places;
    this.#privileges = new Privileges(userNamespace);
    // Milliseconds since 1970 are above all that were used before: nobody makes a thousand wires a second.
    this.#wires = new Wires(persistent === undefined ? 0 : Date.now());
    this.#records = persistent === undefined ? undefined : new PlaceRecords(places);
    this.#vacancies = new Vacancies({
      wires: this.#wires,
      commands: this.#commands,
      // In a user namespace only the one group that exists can be named.
      pingGroups: userNamespace ? `${gid} ${gid}` : "0 2147483647",
      places,
      exit: options.outer.exit.open,
      spare: options.spare ?? SPARE,
    });
  }

  async prepare(): Promise<void> {
    // Machines get what lies there by binds, which ask nobody for a path: so nobody else needs to see it.
    await mkdir(this.#placesFolder, { recursive: true, mode: 0o700 });
    await chmod(this.#placesFolder, 0o700);
    await this.#recover();
    this.#nsenterChangesFolder = (await run(["nsenter", "--help"])).stdout.includes("--wdns");
    this.#vacancies.refill();
  }

  /** Lays the base, and finds what an earlier life of the node has left: places are kept, strays removed. */
  async #recover(): Promise<void> {
    const found = (await this.#records?.recover()) ?? [];
    for (const { id, link, folder, namespace } of found) {
      this.#wires.adopt(link);
      const inhabited = { link, folder, namespace };
      this.#places.set(id, Promise.resolve({ ...inhabited, place: this.#placeOf(inhabited) }));
    }
    for (const commands of firstCommands(this.#guard, found)) await this.#commands.apply(commands, "ensure");
    const { exit } = this.#options.outer;
    if (!exit.open) return;
    await this.#commands.apply(exitCommands(exit), "ensure");
    await writeFile("/proc/sys/net/ipv4/ip_forward", "1");
  }

  addNetwork(network: NetworkId): Promise<void> {
    const known = this.#networks.get(network);
    if (known !== undefined) return known;
    // An earlier life of the node, or an earlier try that failed half-way, may have made some of it.
    const added = this.#commands.apply(this.#guard.addNetwork(network), "ensure").then(() => this.#doors.add(network));
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
    placing.catch(() => {
      if (this.#places.get(machine.id) === placing) this.#places.delete(machine.id);
    });
    return (await placing).place;
  }

  async #makePlace(machine: PlaceRequest): Promise<Placed> {
    // Its address can be on one link only.
    await this.#leaving.get(machine.id);
    const made = await this.#makeNamespace(machine.id, machine.network, machine.address, machine);
    try {
      await this.#records?.write({ id: machine.id, link: made.link, folder: made.folder, space: made.namespace.space });
    } catch (error) {
      await this.#takeDown(made);
      throw error;
    }
    return { ...made, place: this.#placeOf(made) };
  }

  #placeOf({ link, namespace }: Inhabited): Place {
    return {
      enter: ({ folder, user }) => {
        const enter = [toolPath("nsenter"), `--net=${namespace.paths.net}`, `--mount=${namespace.paths.mount}`];
        const drop = this.#privileges.drop(folder, user);
        // Every program in the chain costs the wake a millisecond.
        return this.#nsenterChangesFolder
          ? [...enter, `--wdns=${folder}`, ...drop]
          : [...enter, ...drop, toolPath("env"), "-C", folder];
      },
      env: { TMPDIR: "/run/tmp" },
      dial: (port): readonly DialAddress[] => [
        { host: link.theirs, port },
        { host: link.address, port },
      ],
      members: () => namespace.members(),
    };
  }

  async #makeNamespace(
    name: string,
    network: NetworkId,
    address: Ip6,
    wanted: Pick<PlaceRequest, "mounts" | "files" | "hidden">,
  ): Promise<Inhabited> {
    await this.addNetwork(network);
    const built = await this.#vacancies.take();
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

  async joinHost(network: NetworkId): Promise<Ip6 | undefined> {
    const { computer } = this.#options;
    if (computer === undefined || this.mode !== "host") return undefined;
    await this.addNetwork(network);
    const address = machineAddress(network, NO_HOST, THE_COMPUTER);
    if (this.#hostNetworks.has(network)) return address;
    const { ip, ip6, nft } = this.#guard.addHost(INSIDE, network, address);
    const up = [`link set dev ${INSIDE} addrgenmode none up`, `addr replace fe80::1/64 dev ${INSIDE} nodad`];
    await this.#commands.apply({ ip: [...up, ...ip], ip6, nft }, "ensure");
    await computer.join(networkCidr(network), address);
    this.#hostNetworks.add(network);
    return address;
  }

  async leaveHost(except: readonly NetworkId[]): Promise<void> {
    const { computer } = this.#options;
    if (computer === undefined || this.mode !== "host") return;
    const left = (await privateAddresses(["route", "show", "dev", INSIDE])).filter(
      ({ network }) => !except.includes(network),
    );
    for (const { network } of left) {
      const address = machineAddress(network, NO_HOST, THE_COMPUTER);
      await this.#commands.apply(this.#guard.removeHost(INSIDE, network, address), "remove");
      this.#hostNetworks.delete(network);
    }
    await computer.leave(except.map((network) => machineAddress(network, NO_HOST, THE_COMPUTER)));
    const [first] = except;
    // A link has one set of servers: the first network's, as it is the first that a person names.
    if (first !== undefined) await computer.names(dnsAddress(first));
  }

  async unplace(id: MachineId): Promise<void> {
    const placing = this.#places.get(id);
    if (placing === undefined) return this.#leaving.get(id);
    // At once: whoever asks for a place from now on gets a new one.
    this.#places.delete(id);
    const leaving = this.#leave(id, placing);
    const settled = leaving.catch(() => undefined);
    this.#leaving.set(id, settled);
    try {
      await leaving;
    } finally {
      if (this.#leaving.get(id) === settled) this.#leaving.delete(id);
    }
  }

  placed(): readonly MachineId[] {
    return [...this.#places.keys()];
  }

  async #leave(id: MachineId, placing: Promise<Placed>): Promise<void> {
    const placed = await placing.catch(() => undefined);
    if (placed === undefined) return;
    await this.#takeDown(placed);
    await this.#records?.remove(id);
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
    const server = await (this.#doors.listenBeside(port) ?? this.#sockets.listen("::", port));
    this.#listeners.add(server);
    server.once("close", () => this.#listeners.delete(server));
    return server;
  }

  listPorts(added: readonly ListedPort[], removed: readonly ListedPort[]): Promise<void> {
    return this.#listed.change(added, removed);
  }

  onServiceDoor(attach: (door: ServiceDoor) => void): Promise<void> {
    return this.#doors.start(attach);
  }

  clientNetwork(address: Ip6): NetworkId | undefined {
    return this.#clients.get(address)?.link.network;
  }

  throttle(network: NetworkId, perSecond: number): Promise<void> | undefined {
    const commands = this.#guard.throttle?.(network, perSecond);
    return commands && this.#commands.apply(commands);
  }

  unthrottle(network: NetworkId): Promise<void> | undefined {
    const commands = this.#guard.unthrottle?.(network);
    return commands && this.#commands.apply(commands);
  }

  async refused(): Promise<Readonly<Record<string, number>>> {
    return this.#options.nftables ? readCounters() : {};
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
    // In host mode Machines go on without us.
    if (this.#records !== undefined) return;
    await Promise.all([...this.#places.keys()].map((id) => this.unplace(id)));
    for (const client of this.#clients.values()) await this.#takeDown(client);
    this.#clients.clear();
  }
}
