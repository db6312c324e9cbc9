import type { NetworkId } from "../../core/ids.ts";
import { ANY_DNS, dnsAddress, flycastCidr } from "../address.ts";
import type { Guard, Link } from "./guard.ts";

/**
 * Isolation without nftables. What arrives on a Machine's link with the Machine's own source is routed by its network's
 * table, which knows that network alone; everything else on that link falls into a black hole. Networks are isolated and
 * sources cannot be forged, as with nftables. Missing: filters on ports (so the core opens none but those for Machines),
 * counters, and resets instead of silence.
 */
export const rulesGuard: Guard = {
  base: {
    // The local table comes first in every kernel and would answer for every network's addresses: ours come before it.
    ip: ["rule add pref 200 lookup local", "rule del pref 0 lookup local", `addr add ${ANY_DNS}/128 dev lo nodad`],
    ip6: ["rule add pref 200 lookup local", "rule del pref 0 lookup local"],
    nft: [],
  },

  addNetwork: (network) => ({
    ip: [`route add local ${flycastCidr(network)} dev lo`, `addr add ${dnsAddress(network)}/128 dev lo nodad`],
    ip6: tableRoutes(network).map((route) => `route add ${route}`),
    nft: [],
  }),

  removeNetwork: (network) => ({
    ip: [`route del local ${flycastCidr(network)} dev lo`, `addr del ${dnsAddress(network)}/128 dev lo`],
    ip6: tableRoutes(network).map((route) => `route del ${route}`),
    nft: [],
  }),

  addLink: (link) => ({
    ip: [
      ...rules4(link).map((rule) => `rule add ${rule}`),
      `route add ${link.address}/128 dev ${link.name}`,
      `route add ${link.address}/128 dev ${link.name} table ${tableOf(link.network)}`,
    ],
    ip6: rules6(link).map((rule) => `rule add ${rule}`),
    nft: [],
  }),

  addHost: (name, network, address) => ({
    ip: [`route add ${address}/128 dev ${name}`, `route add ${address}/128 dev ${name} table ${tableOf(network)}`],
    ip6: [...hostRules6(name), ...rules6({ name, network, address })].map((rule) => `rule add ${rule}`),
    nft: [],
  }),

  // The other rules of the link are shared by all networks that the computer is a client of.
  removeHost: (name, network, address) => ({
    ip: [`route del ${address}/128 dev ${name}`, `route del ${address}/128 dev ${name} table ${tableOf(network)}`],
    ip6: rules6({ name, network, address })
      .filter((rule) => rule.includes(address))
      .map((rule) => `rule del ${rule}`),
    nft: [],
  }),

  removeLink: (link, present) => ({
    ip: [...(present ? [`link del dev ${link.name}`] : []), ...rules4(link).map((rule) => `rule del ${rule}`)],
    ip6: rules6(link).map((rule) => `rule del ${rule}`),
    nft: [],
  }),
};

/** A network's table. Any number but the kernel's own 253 to 255, which no network id turns into. */
export function tableOf(network: NetworkId): number {
  return (network ^ 0x2000_0000) >>> 0;
}

function tableRoutes(network: NetworkId): readonly string[] {
  const table = tableOf(network);
  return [
    `local ${flycastCidr(network)} dev lo table ${table}`,
    `local ${ANY_DNS}/128 dev lo table ${table}`,
    `local ${dnsAddress(network)}/128 dev lo table ${table}`,
    `unreachable default table ${table}`,
  ];
}

function rules6({ name, address, network }: Pick<Link, "name" | "address" | "network">): readonly string[] {
  return [
    // Before the next: neighbours answer the gateway by its link-local address, which only the local table ties to the link.
    `pref 99 iif ${name} from ${address}/128 to fe80::/64 lookup local`,
    `pref 100 iif ${name} from ${address}/128 lookup ${tableOf(network)}`,
    `pref 100 iif ${name} from ${address}/128 to ff00::/8 lookup local`,
    `pref 101 iif ${name} blackhole`,
  ];
}

/** The computer has a link-local address, and asks for neighbours with it. A Machine has none. */
function hostRules6(name: string): readonly string[] {
  return [
    `pref 100 iif ${name} from fe80::/64 to fe80::/64 lookup local`,
    `pref 100 iif ${name} from fe80::/64 to ff00::/8 lookup local`,
  ];
}

function rules4({ name, ours, theirs }: Link): readonly string[] {
  return [`pref 100 iif ${name} from ${theirs}/32 to ${ours}/32 lookup local`, `pref 101 iif ${name} blackhole`];
}
