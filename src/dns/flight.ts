import type { Clock, Timer } from "../core/clock.ts";
import { ms, type Milliseconds } from "../core/units.ts";
import type { Outside } from "../network/outside.ts";
import type { Query } from "./codec.ts";
import { isFailure, parseAnswer, upstreamQuery, type UpstreamAnswer } from "./upstream-answer.ts";
import type { Cancel, UpstreamSockets } from "./upstream-sockets.ts";
import { askOverTcp } from "./upstream-tcp.ts";
import type { Upstream } from "./upstream.ts";

/**
 * Between one attempt and the next, while nobody answers; the last one is how long the last attempt is waited for: 3.9 s
 * in all. Stub resolvers give up after 4 to 10 s (resolv.conf(5), timeout and attempts): they get SERVFAIL, not silence.
 */
const WAITS: readonly Milliseconds[] = [ms(600), ms(900), ms(1200), ms(1200)];

/** What flights share. */
export interface FlightDeck {
  readonly outside: Outside;
  readonly clock: Clock;
  readonly sockets: UpstreamSockets;
  /** Takes one of the connections that may be open at a time. False: there are too many. */
  takeTcp(): boolean;
  releaseTcp(): void;
  /** An upstream answered well, or it failed or was silent. */
  report(upstream: Upstream, good: boolean): void;
}

/** One question on its way: attempts, failover from upstream to upstream, TCP for what was cut. Ends exactly once. */
export class Flight {
  /** The answer; undefined when nobody gave one in time. Never rejects. */
  readonly answer: Promise<UpstreamAnswer | undefined>;
  readonly #deck: FlightDeck;
  readonly #message: Buffer;
  readonly #query: Query;
  /** Those that have not failed yet, best first; never empty while the flight lasts. */
  #order: readonly Upstream[];
  readonly #cancels: Cancel[] = [];
  #finish: (answer: UpstreamAnswer | undefined) => void = () => {};
  #timer: Timer | undefined;
  #tcp: AbortController | undefined;
  #attempts = 0;
  #ended = false;
  /** The best of what is no good answer. */
  #fallback: UpstreamAnswer | undefined;

  /** `message` is read until the flight ends, and never written. `order` is not empty. */
  constructor(deck: FlightDeck, message: Buffer, query: Query, order: readonly Upstream[]) {
    this.#deck = deck;
    this.#message = message;
    this.#query = query;
    this.#order = order;
    this.answer = new Promise((resolve) => (this.#finish = resolve));
    this.#wait();
    this.#attempt();
  }

  /** Ends it with what there is. */
  end(answer: UpstreamAnswer | undefined = this.#fallback): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#timer?.cancel();
    this.#tcp?.abort();
    for (const cancel of this.#cancels) cancel();
    this.#finish(answer);
  }

  #wait(): void {
    const wait = WAITS[this.#attempts];
    if (wait === undefined) return;
    this.#timer = this.#deck.clock.after(wait, () => {
      const silent = this.#order[(this.#attempts - 1) % this.#order.length];
      if (silent !== undefined) this.#deck.report(silent, false);
      if (this.#attempts >= WAITS.length) return this.end();
      this.#wait();
      this.#attempt();
    });
  }

  #attempt(): void {
    const upstream = this.#order[this.#attempts % this.#order.length];
    this.#attempts++;
    if (upstream !== undefined) this.#ask(upstream);
  }

  #ask(upstream: Upstream): void {
    let retrying = false;
    const onAnswer = (bytes: Buffer, id: number): void => {
      const answer = parseAnswer(bytes, id, this.#query);
      if (answer === undefined || retrying || this.#ended) return;
      retrying = answer.truncated;
      if (answer.truncated) void this.#askOverTcp(upstream, answer, id);
      else this.#settle(upstream, answer);
    };
    const encode = (id: number): Buffer => upstreamQuery(this.#message, this.#query, id);
    this.#deck.sockets.send(upstream, encode, onAnswer).then(
      (cancel) => {
        if (this.#ended) cancel();
        else this.#cancels.push(cancel);
      },
      () => this.#fail(upstream),
    );
  }

  async #askOverTcp(upstream: Upstream, cut: UpstreamAnswer, id: number): Promise<void> {
    this.#fallback = cut;
    if (!this.#deck.takeTcp()) return this.end(cut);
    this.#tcp ??= new AbortController();
    try {
      const message = upstreamQuery(this.#message, this.#query, id);
      const bytes = await askOverTcp(this.#deck.outside, upstream, message, this.#tcp.signal);
      this.#settle(upstream, parseAnswer(bytes, id, this.#query) ?? cut);
    } catch {
      // The part that came over UDP is more than nothing, and says itself that it is a part.
      this.end(cut);
    } finally {
      this.#deck.releaseTcp();
    }
  }

  #settle(upstream: Upstream, answer: UpstreamAnswer): void {
    if (isFailure(answer)) {
      this.#fallback ??= answer;
      this.#fail(upstream);
    } else {
      this.#deck.report(upstream, true);
      this.end(answer);
    }
  }

  #fail(upstream: Upstream): void {
    if (this.#ended || !this.#order.includes(upstream)) return;
    this.#deck.report(upstream, false);
    this.#order = this.#order.filter((other) => other !== upstream);
    if (this.#order.length === 0) return this.end();
    // At once, and beside the timer: a failure is no reason to wait.
    const next = this.#order[0];
    if (next !== undefined) this.#ask(next);
  }
}
