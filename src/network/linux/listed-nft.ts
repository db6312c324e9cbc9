import { flycastCidr } from "../address.ts";
import type { ListedPort } from "../plane.ts";

/**
 * Sets and chains for a table's body; `unlisted` is for packets that begin a connection to a Flycast address, and lets all
 * pass until it is closed. The proxy has one listener a port for all networks: without this, whether a wrong port is refused
 * before or after the accept would tell a Machine which ports other networks use.
 */
export const LISTED_RULES = `
  set listed { type ipv6_addr . inet_service; flags interval; }
  chain unlisted {}
`;

/** From now on only what is in `listed` passes. To be run once for a table. */
export function closeUnlisted(table: string): readonly string[] {
  return [
    `add rule ${table} unlisted ip6 daddr . tcp dport @listed return`,
    `add rule ${table} unlisted counter name denied_input reject with tcp reset`,
  ];
}

export function listCommand(verb: "add" | "delete", table: string, { network, port }: ListedPort): string {
  return `${verb} element ${table} listed { ${flycastCidr(network)} . ${port} }`;
}
