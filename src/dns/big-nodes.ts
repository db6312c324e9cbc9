import type { Clock } from "../core/clock.ts";
import type { Asker, Node, Zone } from "./zone.ts";

/** Milliseconds: half of the time within which a change of a Machine must be seen. */
const REMEMBERED = 50;
/** Names. With more than that in 50 ms, all are forgotten. */
const NAMES = 256;
/** What is cheaper to look up than to remember: addresses, and characters of text. */
const SMALL_ADDRESSES = 64;
const SMALL_TEXT = 2048;

export type Find = (asker: Asker, zone: Zone, key: string) => Node | undefined;

/**
 * Lists of hundreds of Machines are gathered at most once in 50 ms, however often one Machine asks for them: on a large
 * network each takes milliseconds, which nobody else gets to use. Small answers are always of this moment.
 */
export function rememberBigNodes(clock: Clock, find: Find): Find {
  const known = new Map<string, Node>();
  let until = 0;
  return (asker, zone, key) => {
    if (known.size > 0 && (clock.now() >= until || known.size >= NAMES)) known.clear();
    // Nearness hangs on the region; all else on the network alone.
    const name = known.size === 0 ? "" : `${asker.network} ${asker.region} ${key}`;
    const remembered = known.get(name);
    if (remembered !== undefined) return remembered;
    const node = find(asker, zone, key);
    if (node !== undefined && isBig(node)) {
      if (known.size === 0) until = clock.now() + REMEMBERED;
      known.set(`${asker.network} ${asker.region} ${key}`, node);
    }
    return node;
  };
}

function isBig(node: Node): boolean {
  switch (node.kind) {
    case "addresses":
      return node.addresses.length > SMALL_ADDRESSES;
    case "text":
      return node.text.length > SMALL_TEXT;
    case "empty":
      return false;
  }
}
