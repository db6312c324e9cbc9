import { LRUCache } from "lru-cache";
import type { Clock } from "../core/clock.ts";
import { AppError } from "../core/errors.ts";

export interface Rate {
  /** Requests a second in the long run. */
  readonly perSecond: number;
  /** Requests at once after a pause. */
  readonly burst: number;
}

/** Callers that are remembered. Who is forgotten begins with a full burst, and that many callers are a flood by themselves. */
const MOST_CALLERS = 4096;

/** Holds each caller to a rate (token bucket), within bounded memory. */
export class RateLimit {
  readonly #clock: Clock;
  readonly #rate: Rate;
  readonly #buckets = new LRUCache<string, { tokens: number; at: number }>({ max: MOST_CALLERS });

  constructor(clock: Clock, rate: Rate) {
    this.#clock = clock;
    this.#rate = rate;
  }

  /** @errors too_many_requests with `retryAfter` in seconds */
  take(caller: string): void {
    const { perSecond } = this.#rate;
    const tokens = this.#tokensOf(caller);
    this.#keep(caller, tokens >= 1 ? tokens - 1 : tokens);
    if (tokens >= 1) return;
    const retryAfter = Math.max(1, Math.ceil((1 - tokens) / perSecond));
    throw new AppError("too_many_requests", `more than ${perSecond} requests a second; try again in ${retryAfter} s`, {
      details: { retryAfter },
    });
  }

  /** For a request that took as much as many: those to come wait for it. */
  charge(caller: string, requests: number): void {
    this.#keep(caller, Math.max(-this.#rate.burst, this.#tokensOf(caller) - requests));
  }

  #tokensOf(caller: string): number {
    const now = this.#clock.now();
    const { perSecond, burst } = this.#rate;
    const before = this.#buckets.get(caller) ?? { tokens: burst, at: now };
    return Math.min(burst, before.tokens + ((now - before.at) / 1000) * perSecond);
  }

  #keep(caller: string, tokens: number): void {
    this.#buckets.set(caller, { tokens, at: this.#clock.now() });
  }
}
