/** What differs between lab, host and loopback mode, behind one face. Implementations: linux/plane.ts, loopback.ts. */
import type { Socket as UdpSocket } from "node:dgram";
import type { Server } from "node:net";
import type { Ip6, MachineId, NetworkId } from "../core/ids.ts";

export type NetworkMode = "lab" | "host" | "loopback";

/** An address to dial, in order of preference: the IPv4 link address, then the 6PN address. */
export interface DialAddress {
  readonly host: string;
  readonly port: number;
}

/** What the plane needs to know of a Machine to give it a place. */
export interface PlaceRequest {
  readonly id: MachineId;
  readonly network: NetworkId;
  /** Its 6PN address. */
  readonly address: Ip6;
  /** Folders that must be visible at a path of their own (`[mounts]`): bound when the place is made. */
  readonly mounts: readonly { readonly folder: string; readonly destination: string }[];
  /** Text files to show inside, such as `/.fly/fly-src.pub`. */
  readonly files: readonly { readonly path: string; readonly content: string }[];
  /** Folders that must not be seen from inside: the state folder, other Machines' folders. */
  readonly hidden: readonly string[];
  /** Ports that its services listen on: loopback mode gives the first one out as PORT. */
  readonly ports: readonly number[];
}

/** Where a Machine runs: how to enter it, and how to reach it from here. */
export interface Place {
  /** Put before a command so that it runs inside, without capabilities, in `folder`, as `user` (root only). Empty in loopback mode. */
  enter(how: { readonly folder: string; readonly user: string | undefined }): readonly string[];
  /** Variables that this mode adds to the Machine's environment: PORT and HOST in loopback mode, TMPDIR in the lab. */
  readonly env: Readonly<Record<string, string>>;
  dial(port: number): readonly DialAddress[];
  /** Every process that is in the Machine now; undefined where the mode cannot tell (then the session counts). */
  members(): readonly number[] | undefined;
}

/** Where a listener for Flycast connections comes from, and how its sockets tell their destination. */
export type Ingress =
  /** Inside the namespace that is ours: one listener per port on `[::]`, destination read from the socket. */
  | { readonly kind: "private"; readonly port: number }
  /** A loopback port of the computer that stands for one pair of Flycast address and port. */
  | {
      readonly kind: "published";
      readonly address: Ip6;
      readonly port: number;
      readonly host: string;
      readonly hostPort: number;
    };

/** One address on which the inside finds DNS (port 53, UDP and TCP) and the API (port 4280). */
export interface ServiceDoor {
  readonly address: Ip6;
  /** Undefined for `fdaa::3`: the asker's own source address tells its network. */
  readonly network: NetworkId | undefined;
  readonly dnsUdp: UdpSocket;
  readonly dnsTcp: Server;
  readonly api: Server;
}

/** A port on which some service of some Flycast address of the network is reached. */
export interface ListedPort {
  readonly network: NetworkId;
  readonly port: number;
}

export interface NetworkPlane {
  readonly mode: NetworkMode;
  /** Routes, rules and `<prefix>::3` for a network. Idempotent. */
  addNetwork(network: NetworkId): Promise<void>;
  removeNetwork(network: NetworkId): Promise<void>;
  /** Makes the Machine's namespaces, link and files, or finds them. */
  place(machine: PlaceRequest): Promise<Place>;
  /** Removes them. Whatever still runs inside is killed first. */
  unplace(id: MachineId): Promise<void>;
  /** Machines that have a place, those of an earlier life of the node included (host mode). */
  placed?(): readonly MachineId[];
  /** A listener on a port for all Flycast addresses. Undefined in loopback mode, where there are only published ports. */
  listenPrivate(port: number): Promise<Server> | undefined;
  /** Ports of which the plane itself has some addresses: there connections to all others are accepted, too, and are for `listenPrivate`. */
  readonly sharedPorts?: readonly number[];
  /**
   * Says on which ports of which networks there are services, as changes to what was said before. From the first call on
   * connections to other ports are refused before they are accepted, where the kernel can be told so. One call at a time.
   */
  listPorts?(added: readonly ListedPort[], removed: readonly ListedPort[]): Promise<void>;
  /**
   * Opens DNS and API on `fdaa::3` and on every network's `<prefix>::3`, and calls back once for each: at once for what
   * exists, later as networks are added. The sockets close with their network. Call once. Never calls back in loopback mode.
   */
  onServiceDoor(attach: (door: ServiceDoor) => void): Promise<void>;
  /** The network of a client namespace (`client`), by its source address, which the kernel has checked. */
  clientNetwork(address: Ip6): NetworkId | undefined;
  /**
   * Host mode: makes the computer itself a client of the network, by one address and one route. Gives that address;
   * undefined, as in the other modes, where the computer cannot be one. Idempotent.
   */
  joinHost?(network: NetworkId): Promise<Ip6 | undefined>;
  /**
   * Host mode: makes the computer a client of no network but these, also of none that it joined in an earlier life of the
   * node; its resolver, where it can be told so, asks the first one's DNS for our names. Does nothing in the other modes.
   */
  leaveHost?(except: readonly NetworkId[]): Promise<void>;
  /**
   * Lets a network begin no more than about so many connections to services a second: the kernel drops the rest before we
   * hear of it. Ends by itself a few seconds after the network has last tried to begin more. Undefined: not possible here.
   */
  throttle?(network: NetworkId, perSecond: number): Promise<void> | undefined;
  /** Ends that at once. */
  unthrottle?(network: NetworkId): Promise<void> | undefined;
  /** Packets that the kernel refused, by reason, since the start: `forged`, `denied_forward`, `denied_input`, `throttled`. */
  refused(): Promise<Readonly<Record<string, number>>>;
  /** What `flycast exec` needs to run a command as a client of a network: a namespace made like a Machine's. */
  client(network: NetworkId): Promise<ClientPlace>;
  close(): Promise<void>;
}

/** Handles by which a process outside can enter a client namespace (lab and host mode). */
export interface ClientPlace {
  /** Its 6PN address; undefined in loopback mode, where there is no namespace to enter. */
  readonly address: Ip6 | undefined;
  /**
   * argv to put before the command, run outside by the user who runs the lab. Its working folder is lost: put
   * `env -C FOLDER` before the command. Root in another user's lab goes through `clientArgv` (linux/client.ts) as well.
   */
  readonly enter: readonly string[];
  /** Who runs the lab; undefined in loopback mode. */
  readonly owner: { readonly uid: number; readonly gid: number } | undefined;
  /** Lets go of the node's own descriptors once the command runs. */
  release(): void;
}
