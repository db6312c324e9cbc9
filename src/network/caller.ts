import type { MachineId, NetworkId, RegionCode } from "../core/ids.ts";

/** Who opened a connection. Its network comes from the kernel's source address alone, never from bytes that were sent. */
export interface Caller {
  /** IPv6 (or, on published ports, IPv4) address as the socket reported it at accept, without zone and `::ffff:`. */
  readonly address: string;
  readonly port: number;
  /** Undefined: the address belongs to nobody that we know. */
  readonly network: NetworkId | undefined;
  /** `published`: through a loopback port of the user's computer, which counts as the network of the address published. */
  readonly via: "machine" | "peer" | "host" | "published" | "unknown";
  /** The Machine that called, where it is one. */
  readonly machine: MachineId | undefined;
  /** Where it stands: a Machine's or peer's region, else the node's. Closeness is measured from here. */
  readonly region: RegionCode;
}
