import type { Ip6, NetworkId, RegionCode } from "../core/ids.ts";
import { ANY_DNS, networkOf, parseIp6, plainAddress } from "../network/address.ts";
import type { Caller } from "../network/caller.ts";
import type { RegistryView } from "./view.ts";

/**
 * Who stands behind a source address that the kernel reported. In lab and host mode packets with a forged source never
 * arrive, so the address is the identity; whoever has an address of a network that we do not know is nobody.
 */
export function identify(view: RegistryView, nodeRegion: RegionCode, reported: string, port: number): Caller {
  const address = plainAddress(reported);
  const parsed = address.includes(":") ? parseIp6(address) : undefined;
  const unknown: Caller = { address, port, network: undefined, via: "unknown", machine: undefined, region: nodeRegion };
  if (parsed === undefined || !parsed.ok || parsed.value === ANY_DNS) return unknown;
  const ip = parsed.value;
  const machine = view.machineAt(ip);
  if (machine !== undefined) {
    return { address: ip, port, network: machine.network, via: "machine", machine: machine.id, region: machine.region };
  }
  const peer = view.peerAt(ip);
  if (peer !== undefined)
    return { address: ip, port, network: peer.network, via: "peer", machine: undefined, region: peer.region };
  const network = knownNetwork(view, ip);
  // An address of the network that belongs to no Machine and no peer: the host itself, or a client that it placed there.
  return network === undefined ? unknown : { ...unknown, address: ip, network, via: "host" };
}

function knownNetwork(view: RegistryView, address: Ip6): NetworkId | undefined {
  const network = networkOf(address);
  return network !== undefined && view.network(network) !== undefined ? network : undefined;
}
