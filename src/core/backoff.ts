import type { Milliseconds } from "./units.ts";

/** Exponential backoff: `first`, doubling, never above `max`. */
export interface Backoff {
  readonly first: Milliseconds;
  readonly max: Milliseconds;
}

/** The delay before try number `attempt + 1`; `attempt` counts failures so far, from 1. Without jitter. */
export function backoffDelay(backoff: Backoff, attempt: number): Milliseconds {
  // 2 ** 1024 is Infinity and min() still answers, so any attempt is safe.
  return Math.min(backoff.max, backoff.first * 2 ** Math.max(0, attempt - 1)) as Milliseconds;
}
