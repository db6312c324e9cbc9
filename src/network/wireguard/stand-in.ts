import { createHash } from "node:crypto";
import { parseGroups } from "../address.ts";

/**
 * The loopback address that stands for a remote one towards WireGuard, which counts handshakes by their source (an IPv4
 * address, a /64 of IPv6) when it is flooded: were all sources one, a single stranger could use up everybody's share.
 * `salt` keeps strangers from choosing an address that means somebody else's.
 */
export function standIn(remote: string, salt: Uint8Array): string {
  const source = parseGroups(remote)?.slice(0, 4).join() ?? remote;
  const [a = 0, b = 0, c = 0] = createHash("sha256").update(salt).update(source).digest();
  // Neither 127.0.0.x, where others may be, nor the last one, to which all listen.
  return `127.${1 + (a % 254)}.${b}.${1 + (c % 254)}`;
}
