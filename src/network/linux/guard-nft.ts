import type { NetworkId } from "../../core/ids.ts";
import { ANY_DNS, dnsAddress, flycastCidr, networkCidr } from "../address.ts";
import { API_PORT } from "../ports.ts";
import { EXIT } from "./exit-link.ts";
import type { Commands, Guard, Link } from "./guard.ts";
import { INSIDE } from "./host-link.ts";
import { closeUnlisted, LISTED_RULES, listCommand } from "./listed-nft.ts";
import { THROTTLE_RULES, throttleCommand, unthrottleCommands } from "./throttle-nft.ts";

export const NFT_TABLE = "inet flycast";

/**
 * Where packets to addresses go that nobody has. Without it they would end in a missing route, before the rules, and a
 * foreign network could tell the Machines that run from those that do not.
 */
export const SINK = "sink";

/** IPv4 that no way out leads to: the computer's loopback, links, clouds' own services (169.254), Machines, and crowds. */
const NOT_OUTSIDE = "0.0.0.0/8, 127.0.0.0/8, 169.254.0.0/16, 172.19.0.0/16, 224.0.0.0/4, 240.0.0.0/4";

/** In one transaction with the new table: a node that starts anew leaves no moment without rules. */
const OLD_ONE_GONE = `
table ${NFT_TABLE} {}
delete table ${NFT_TABLE}
`;

/**
 * The rules, without connection tracking. `link6` and `link4`: which source belongs to which interface. `peer`, `fly`,
 * `dns`: pairs of prefixes that may talk. Refusals of TCP are resets, which cost the caller 0.3 ms; ICMP answers are
 * rate-limited by the kernel, and callers would hang for a second. IPv4 links carry what the proxy opened, and
 * where there is a way out (egress-inside.ts) what goes there: never from one Machine to another. What comes in there is
 * for the one address under which all leave (`exit4`), so that only translation finds a Machine behind it. A Machine has no
 * link-local address: whoever asks for neighbours with one would fill a table that is the whole computer's.
 */
const RULESET = `
${OLD_ONE_GONE}
table ${NFT_TABLE} {
  set link6 { type ifname . ipv6_addr; }
  set link4 { type ifname . ipv4_addr; }
  set exit4 { type ifname . ipv4_addr; }
  set own4 { type ipv4_addr; }
  set peer { type ipv6_addr . ipv6_addr; flags interval; }
  set fly { type ipv6_addr . ipv6_addr; flags interval; }
  set dns { type ipv6_addr . ipv6_addr; flags interval; }
  counter forged {}
  counter denied_forward {}
  counter denied_input {}
${THROTTLE_RULES}${LISTED_RULES}
  chain sources {
    type filter hook prerouting priority raw; policy accept;
    iifname "lo" accept
    meta nfproto ipv6 jump sources6
    iifname . ip daddr @exit4 ip saddr != 172.19.0.0/16 accept
    meta nfproto ipv4 iifname . ip saddr != @link4 counter name forged drop
  }
  chain sources6 {
    iifname "${INSIDE}" ip6 saddr fe80::/10 icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } ip6 hoplimit 255 accept
    ip6 saddr :: icmpv6 type nd-neighbor-solicit ip6 hoplimit 255 accept
    iifname . ip6 saddr @link6 accept
    ip6 saddr { ::, fe80::/10 } drop
    counter name forged drop
  }
  chain nobody {
    meta l4proto tcp reject with tcp reset
    meta nfproto ipv6 reject with icmpv6 admin-prohibited
    drop
  }
  chain between {
    type filter hook forward priority filter; policy drop;
    oifname "${SINK}" ip6 saddr . ip6 daddr @peer goto nobody
    ip6 saddr . ip6 daddr @peer accept
    iifname "fc*" oifname "${EXIT}" ip daddr != { ${NOT_OUTSIDE} } ip daddr != @own4 accept
    iifname "${EXIT}" oifname "fc*" meta nfproto ipv4 accept
    counter name denied_forward
    goto nobody
  }
  chain arriving {
    type filter hook input priority filter; policy drop;
    iifname "lo" accept
    iifname "${EXIT}" drop
    icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert, packet-too-big, destination-unreachable, time-exceeded, echo-reply } accept
    icmp type { destination-unreachable, time-exceeded } accept
    ip protocol tcp tcp flags & (syn | ack) != syn accept
    ip6 nexthdr tcp tcp flags & (syn | ack) != syn accept
    ip6 saddr . ip6 daddr @fly meta l4proto tcp jump unlisted
    ip6 saddr . ip6 daddr @fly meta l4proto tcp goto beginning
    ip6 saddr . ip6 daddr @fly icmpv6 type echo-request accept
    ip6 saddr . ip6 daddr @dns meta l4proto { tcp, udp } th dport 53 accept
    ip6 saddr . ip6 daddr @dns tcp dport ${API_PORT} accept
    ip6 saddr . ip6 daddr @dns icmpv6 type echo-request accept
    counter name denied_input
    meta l4proto tcp reject with tcp reset
    meta nfproto ipv6 reject with icmpv6 admin-prohibited
    meta nfproto ipv4 reject with icmp admin-prohibited
  }
}
`;

const element = (verb: "add" | "delete", set: string, ...pairs: readonly string[]): string =>
  `${verb} element ${NFT_TABLE} ${set} { ${pairs.join(", ")} }`;

function networkElements(verb: "add" | "delete", network: NetworkId): readonly string[] {
  const prefix = networkCidr(network);
  return [
    element(verb, "peer", `${prefix} . ${prefix}`),
    element(verb, "fly", `${prefix} . ${flycastCidr(network)}`),
    element(verb, "dns", `${prefix} . ${ANY_DNS}`, `${prefix} . ${dnsAddress(network)}`),
  ];
}

/** What the kernel takes as local: every Flycast address of the network by one route, and the network's own `::3`. */
function localAddresses(verb: "add" | "del", network: NetworkId): readonly string[] {
  const nodad = verb === "add" ? " nodad" : "";
  return [
    `route ${verb} local ${flycastCidr(network)} dev lo`,
    `addr ${verb} ${dnsAddress(network)}/128 dev lo${nodad}`,
  ];
}

export const nftGuard: Guard = {
  base: {
    ip: [
      `addr add ${ANY_DNS}/128 dev lo nodad`,
      `link add name ${SINK} type veth peer name ${SINK}-peer`,
      `link set dev ${SINK} addrgenmode none up`,
      `link set dev ${SINK}-peer addrgenmode none up`,
      `route add fdaa::/16 dev ${SINK}`,
    ],
    ip6: [],
    nft: [RULESET],
  },
  addNetwork: (network): Commands => ({
    ip: localAddresses("add", network),
    ip6: [],
    nft: networkElements("add", network),
  }),
  removeNetwork: (network): Commands => ({
    ip: localAddresses("del", network),
    ip6: [],
    nft: networkElements("delete", network),
  }),
  addLink: (link: Link): Commands => ({
    ip: [`route add ${link.address}/128 dev ${link.name}`],
    ip6: [],
    nft: [
      element("add", "link6", `"${link.name}" . ${link.address}`),
      element("add", "link4", `"${link.name}" . ${link.theirs}`),
    ],
  }),
  addHost: (name, _network, address): Commands => ({
    ip: [`route add ${address}/128 dev ${name}`],
    ip6: [],
    nft: [element("add", "link6", `"${name}" . ${address}`)],
  }),
  removeHost: (name, _network, address): Commands => ({
    ip: [`route del ${address}/128 dev ${name}`],
    ip6: [],
    nft: [element("delete", "link6", `"${name}" . ${address}`)],
  }),
  removeLink: (link: Link, present: boolean): Commands => ({
    ip: present ? [`link del dev ${link.name}`] : [],
    ip6: [],
    nft: [
      element("delete", "link6", `"${link.name}" . ${link.address}`),
      element("delete", "link4", `"${link.name}" . ${link.theirs}`),
    ],
  }),
  listPort: (port) => listCommand("add", NFT_TABLE, port),
  unlistPort: (port) => listCommand("delete", NFT_TABLE, port),
  refuseUnlisted: closeUnlisted(NFT_TABLE),
  throttle: (network, perSecond): Commands => ({
    ip: [],
    ip6: [],
    nft: [throttleCommand(NFT_TABLE, network, perSecond)],
  }),
  unthrottle: (network): Commands => ({ ip: [], ip6: [], nft: unthrottleCommands(NFT_TABLE, network) }),
};
