/** Which of our encodings a client wants (RFC 9110 §12.5.3). Pure. */

export type Encoding = "br" | "gzip" | "deflate";

/** The platform's order (zstd, br, gzip, deflate) without zstd, which Node 20 lacks. */
const PREFERRED: readonly Encoding[] = ["br", "gzip", "deflate"];

/**
 * The encoding that the client rates highest, in our order where it rates several alike; "identity" where it wants none of ours, or
 * would rather have none. `head`: its request's, as it came: several fields are one list.
 */
export function preferredEncoding(head: string): Encoding | "identity" {
  const ratings = readRatings(head);
  if (ratings === undefined) return "identity";
  const others = ratings.get("*");
  let best: Encoding | "identity" = "identity";
  // Not to be encoded is always acceptable (unless refused), but only a client that names it has an opinion of it.
  let highest = Math.max(ratings.get("identity") ?? 0, 0);
  for (const encoding of PREFERRED) {
    const rating = ratings.get(encoding) ?? others ?? 0;
    if (rating > 0 && (rating > highest || (best === "identity" && rating >= highest))) {
      best = encoding;
      highest = rating;
    }
  }
  return best;
}

/** Undefined: the client says nothing of encodings. Items that are malformed say nothing either. */
function readRatings(head: string): ReadonlyMap<string, number> | undefined {
  let ratings: Map<string, number> | undefined;
  for (const match of head.matchAll(/\r\naccept-encoding:([^\r]*)/gi)) {
    ratings ??= new Map();
    for (const item of (match[1] ?? "").split(",")) {
      const parsed = ITEM.exec(item);
      const name = parsed?.[1]?.toLowerCase();
      if (name === undefined) continue;
      const rating = parsed?.[2] === undefined ? 1 : Number(parsed[2]);
      ratings.set(name === "x-gzip" ? "gzip" : name, rating);
    }
  }
  return ratings;
}

const ITEM = /^[ \t]*([!#$%&'*+\-.^_`|~0-9a-z]+)(?:[ \t]*;[ \t]*q=(0(?:\.\d{0,3})?|1(?:\.0{0,3})?))?[ \t]*$/i;
