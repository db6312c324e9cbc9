/** Who may send what to whom, as lines for `ip -batch` and `nft -f`. Text only: `commands.ts` runs it. */
import type { Ip4, Ip6, NetworkId } from "../../core/ids.ts";
import type { ListedPort } from "../plane.ts";

export interface Commands {
  /** Lines of `ip -batch`: the family follows from the address in the line. */
  readonly ip: readonly string[];
  /** Lines of `ip -6 -batch`, for rules that name no address. Run after `ip`. */
  readonly ip6: readonly string[];
  /** Statements of `nft -f`. */
  readonly nft: readonly string[];
}

/** A veth pair between our namespace and another, where nobody sits yet. */
export interface Wire {
  /** Interface name on our side. Never used twice: an old one may take a while to go. */
  readonly name: string;
  /** The IPv4 pair: the proxy's side and the Machine's. */
  readonly ours: Ip4;
  readonly theirs: Ip4;
}

/** A wire and who sits at its other end. */
export interface Link extends Wire {
  readonly network: NetworkId;
  /** Its 6PN address: the only IPv6 source that it may use. */
  readonly address: Ip6;
}

/** Our end of a wire. No address generation and no duplicate address detection: usable at once, and silent. */
export function wireCommands(wire: Wire): Commands {
  return {
    ip: [
      `link set dev ${wire.name} addrgenmode none up`,
      `addr add fe80::1/64 dev ${wire.name} nodad`,
      `addr add ${wire.ours}/30 dev ${wire.name}`,
    ],
    ip6: [],
    nft: [],
  };
}

/** A way to hold the rules of the network: nftables, or routing rules where that is missing. */
export interface Guard {
  /** Before anything else. */
  readonly base: Commands;
  addNetwork(network: NetworkId): Commands;
  removeNetwork(network: NetworkId): Commands;
  /** After the wire's own commands. Until then nothing passes it. */
  addLink(link: Link): Commands;
  /** Lets the computer itself in, by the link `name` of host mode: one address on each network that it joins. */
  addHost(name: string, network: NetworkId, address: Ip6): Commands;
  /** Shuts it out again. */
  removeHost(name: string, network: NetworkId, address: Ip6): Commands;
  /** `present`: whether our end of it is still there; it goes by itself when the namespace at its other end does. */
  removeLink(link: Link, present: boolean): Commands;
  /** See `NetworkPlane.listPorts`. Statements of `nft -f`; missing where ports cannot be filtered. */
  readonly listPort?: (port: ListedPort) => string;
  readonly unlistPort?: (port: ListedPort) => string;
  /** From then on. To be run once. */
  readonly refuseUnlisted?: readonly string[];
  /** See `NetworkPlane.throttle`. */
  throttle?(network: NetworkId, perSecond: number): Commands;
  unthrottle?(network: NetworkId): Commands;
}
