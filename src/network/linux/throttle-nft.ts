import type { NetworkId } from "../../core/ids.ts";
import { networkCidr } from "../address.ts";

/** New connections a second that a throttled network may still begin. Few rates: each is a rule. The lowest comes first. */
const RATES = [250, 500, 1000] as const;
type Rate = (typeof RATES)[number];

/** How long a network stays throttled after its last attempt beyond the rate. Seconds. */
const PATIENCE = 5;
const SOURCE = "ip6 saddr & ffff:ffff:ffff::";

/**
 * Sets and chains for a table's body; `beginning` is for packets that begin a connection to a service. Who is in `throttledN`
 * may begin N a second; what comes beyond is dropped, not reset: its clients try again after a second, then after two, so
 * that the flood is slowed down by its own kernel. Each drop renews the stay, which so ends by itself when the flood does.
 */
export const THROTTLE_RULES = `
  counter throttled {}
${RATES.map(
  (rate) => `  set throttled${rate} { type ipv6_addr; flags dynamic, timeout; timeout ${PATIENCE}s; size 65536; }
  set pace${rate} { type ipv6_addr; flags dynamic, timeout; timeout ${PATIENCE}s; size 65536; }
  chain slow${rate} {
    update @pace${rate} { ${SOURCE} limit rate over ${rate}/second burst 5 packets } update @throttled${rate} { ${SOURCE} } counter name throttled drop
  }
`,
).join("")}
  chain beginning {
${RATES.map((rate) => `    ${SOURCE} @throttled${rate} jump slow${rate}\n`).join("")}    accept
  }
`;

/** Puts a network under the highest rate that is not above `perSecond`, or the lowest there is. */
export function throttleCommand(table: string, network: NetworkId, perSecond: number): string {
  return `add element ${table} throttled${rateFor(perSecond)} { ${prefixOf(network)} }`;
}

/** One transaction that succeeds whether or not the network is still in any of the sets. */
export function unthrottleCommands(table: string, network: NetworkId): readonly string[] {
  return RATES.flatMap((rate) =>
    ["add", "delete"].map((verb) => `${verb} element ${table} throttled${rate} { ${prefixOf(network)} }`),
  );
}

function rateFor(perSecond: number): Rate {
  return RATES.findLast((rate) => rate <= perSecond) ?? RATES[0];
}

function prefixOf(network: NetworkId): string {
  return networkCidr(network).replace("/48", "");
}
