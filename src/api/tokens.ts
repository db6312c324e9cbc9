import { createHash, timingSafeEqual } from "node:crypto";
import type { OrgSlug } from "../core/ids.ts";
import type { RegistryView } from "../registry/view.ts";

/** What a bearer of a token may do: everything on the node, or what belongs to one organisation. */
export type Principal = { readonly kind: "node" } | { readonly kind: "org"; readonly org: OrgSlug };

/** Hex SHA-256: tokens are 256 random bits, so a plain hash is enough and a slow one would only invite floods. */
export function hashToken(token: string): string {
  return createHash("sha256").update(token).digest("hex");
}

/** Finds out who a token speaks for. The node's own token is the one in the state folder. */
export function authenticate(token: string, nodeToken: string, view: RegistryView): Principal | undefined {
  const hash = Buffer.from(hashToken(token));
  if (timingSafeEqual(hash, Buffer.from(hashToken(nodeToken)))) return { kind: "node" };
  for (const known of view.tokens()) {
    const candidate = Buffer.from(known.hash);
    if (candidate.length === hash.length && timingSafeEqual(candidate, hash)) {
      return known.org === undefined ? { kind: "node" } : { kind: "org", org: known.org };
    }
  }
  return undefined;
}

// Clients that hold several send them all; nobody needs more.
const MOST_TOKENS = 8;

/** The tokens of an `Authorization` header: `Bearer x`, or the platform's macaroon form `FlyV1 x,y`. */
export function bearersOf(header: string | undefined): readonly string[] {
  const match = /^(?:Bearer|FlyV1)[ ]+([^\s]{1,16384})\s*$/i.exec(header ?? "");
  return (match?.[1] ?? "")
    .split(",")
    .filter((token) => token !== "")
    .slice(0, MOST_TOKENS);
}
