/** Joins the Machines' IPv4 links to the way out. Text only: `commands.ts` runs it, in the core's namespace. */
import { EXIT } from "./exit-link.ts";
import type { Commands } from "./guard.ts";
import { NFT_TABLE, SINK } from "./guard-nft.ts";
import type { ExitFacts } from "./wire.ts";

const TABLE = "ip flycast_exit";

/**
 * What one Machine may begin outside. The computer's table of connections is one for all (some 260,000), keeps each for 30 to
 * 120 s, and when it is full nobody's packets pass, the computer's own included: no Machine can fill it by itself.
 */
const BEGUN = "500/second burst 1000 packets";
const TOO_MANY = "0xf1c";

/**
 * All Machines leave under one address, and connections are tracked for that alone: what the proxy and the Machines say
 * to each other on their links is not, as it is on the path of every request. `exit4` and `own4`, the computer's own
 * addresses, are sets of the guard's table, whose chains decide. IPv6 to the Internet is sent where it is reset at once,
 * instead of timing out.
 */
export function exitCommands(exit: Extract<ExitFacts, { open: true }>): Commands {
  return {
    ip: [
      `link set dev ${EXIT} addrgenmode none up`,
      `addr add ${exit.address}/${exit.prefix} dev ${EXIT}`,
      `route add default via ${exit.gateway} dev ${EXIT}`,
      `route add 2000::/3 dev ${SINK}`,
    ],
    ip6: [],
    nft: [
      `
table ${TABLE} {}
delete table ${TABLE}
table ${TABLE} {
  chain untracked_in {
    type filter hook prerouting priority raw; policy accept;
    iifname "fc*" ip daddr 172.19.0.0/16 notrack
  }
  chain untracked_out {
    type filter hook output priority raw; policy accept;
    notrack
  }
  set begun { type ipv4_addr; flags dynamic, timeout; timeout 10s; size 16384; }
  chain beginning {
    type filter hook forward priority -1; policy accept;
    oifname "${EXIT}" ct state new update @begun { ip saddr limit rate over ${BEGUN} } meta mark set ${TOO_MANY}
  }
  chain out {
    type nat hook postrouting priority srcnat; policy accept;
    oifname "${EXIT}" masquerade
  }
}
`,
      // Here, where what is refused is counted; there, because connections must not be tracked for IPv6 too.
      `insert rule ${NFT_TABLE} between meta mark ${TOO_MANY} counter name throttled drop`,
      `add element ${NFT_TABLE} exit4 { "${EXIT}" . ${exit.address} }`,
      ...exit.own.map((address) => `add element ${NFT_TABLE} own4 { ${address} }`),
    ],
  };
}
