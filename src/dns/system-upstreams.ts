import { isIP } from "node:net";

/** The C library looks at no more than three (resolv.conf(5)). */
const MAX_UPSTREAMS = 3;

/**
 * The resolvers that a resolv.conf names, in order, at most three. Our own address is left out: forwarding to ourselves
 * would go round for ever.
 */
export function parseResolvConf(text: string): readonly string[] {
  const found: string[] = [];
  for (const line of text.split("\n")) {
    const match = /^[ \t]*nameserver[ \t]+(\S+)/.exec(line);
    const address = match?.[1];
    if (address === undefined || isIP(address) === 0) continue;
    if (/^fdaa:/i.test(address) || found.includes(address)) continue;
    found.push(address);
  }
  return found.slice(0, MAX_UPSTREAMS);
}
