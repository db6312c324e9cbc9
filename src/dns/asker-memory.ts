import type { Clock } from "../core/clock.ts";
import type { Asker } from "./zone.ts";

/** Milliseconds. Long enough to matter for a source that asks all the time, short enough that nobody sees it. */
const REMEMBERED = 50;
/** Sources. Forgotten all at once when there are more: those that matter are back with their next question. */
const SOURCES = 4096;

/**
 * Who a source is, looked up at most once in 50 ms: parsing its address costs as much as answering its question. An
 * address stays in its network for life (the network is a part of it), so what can be late is only that it is known.
 */
export function rememberAskers(
  clock: Clock,
  askerOf: (source: string) => Asker | undefined,
): (source: string) => Asker | undefined {
  const known = new Map<string, Asker | undefined>();
  let until = 0;
  return (source) => {
    const now = clock.now();
    if (now >= until || known.size >= SOURCES) {
      known.clear();
      until = now + REMEMBERED;
    }
    let asker = known.get(source);
    if (asker === undefined && !known.has(source)) {
      asker = askerOf(source);
      known.set(source, asker);
    }
    return asker;
  };
}
