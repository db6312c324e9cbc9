import { LRUCache } from "lru-cache";
import type { Clock } from "../core/clock.ts";
import { ms, seconds, type Milliseconds, type Monotonic } from "../core/units.ts";
import type { Outside } from "../network/outside.ts";
import type { Query } from "./codec.ts";
import { uint16From, type RandomBytes } from "./random.ts";
import { isFailure, parseAnswer, sharedKey, upstreamQuery, type UpstreamAnswer } from "./upstream-answer.ts";
import { UpstreamSockets, type Cancel } from "./upstream-sockets.ts";
import { askOverTcp } from "./upstream-tcp.ts";
import { parseExceptions, requireUpstream, type Upstream } from "./upstream.ts";
import { isUnder } from "./zone.ts";

export interface ForwarderOptions {
  /** Where every socket comes from. */
  readonly outside: Outside;
  /** Resolvers in order of preference: `address`, `address:port` or `[address]:port`. Empty: everything is SERVFAIL. */
  readonly upstreams: readonly string[];
  /** Domain → resolver for it and for everything below it. */
  readonly forward: ReadonlyMap<string, string>;
  readonly clock: Clock;
  readonly random: RandomBytes;
  /** Bytes of messages that the cache holds. @default 4 MiB */
  readonly cacheBytes?: number;
}

export interface Forwarded {
  readonly answer: UpstreamAnswer;
  /** Whole seconds since it came. */
  readonly age: number;
}

/** Asks others. Knows nothing of our zones: whatever it is given leaves the private network. */
export interface Forwarder {
  /** Whether `[dns] forward` names a resolver for this name, so that it is not ours even below `.internal`. */
  excepts(key: string): boolean;
  /** The answer that an earlier question brought, while it holds. */
  known(query: Query): Forwarded | undefined;
  /** Asks. Undefined, now or later: nobody answered. Never rejects, and takes 4.5 seconds at most. */
  ask(message: Buffer, query: Query): Promise<Forwarded | undefined> | undefined;
  close(): Promise<void>;
}

/** When the second and further attempts are sent, after the first. They go round the upstreams. */
const ATTEMPTS: readonly Milliseconds[] = [ms(600), ms(1500), ms(3000)];
/** Stub resolvers wait 5 s (resolv.conf(5), timeout): they should get SERVFAIL, not silence. */
const DEADLINE = ms(4500);
/** An upstream that failed is asked last for so long. */
const DEMOTED = seconds(30);
/** Questions under way at a time, all askers together. */
const MAX_FLIGHTS = 1000;
const MAX_TCP = 64;
const CACHE_BYTES = 4 * 1024 * 1024;
/** What a kept answer costs beside its bytes, roughly: key, offsets, list entries. */
const ENTRY_BYTES = 512;

interface Kept {
  readonly answer: UpstreamAnswer;
  readonly at: Monotonic;
}

/** @errors config_invalid for an upstream or domain that is none */
export function createForwarder(options: ForwarderOptions): Forwarder {
  const { outside, clock } = options;
  const upstreams = options.upstreams.map(requireUpstream);
  const exceptions = parseExceptions(options.forward);
  const sockets = new UpstreamSockets(outside, clock, uint16From(options.random));
  const cache = new LRUCache<string, Kept>({
    maxSize: options.cacheBytes ?? CACHE_BYTES,
    sizeCalculation: (kept, key) => kept.answer.message.length + key.length + ENTRY_BYTES,
  });
  const flights = new Map<string, Promise<UpstreamAnswer | undefined>>();
  const demotedUntil = new Map<Upstream, number>();
  const endings = new Set<() => void>();
  let tcpOpen = 0;
  let closed = false;

  function upstreamsFor(key: string): readonly Upstream[] {
    const exception = exceptions.find((entry) => isUnder(key, entry.apex));
    if (exception !== undefined) return [exception.upstream];
    const now = clock.now();
    // Stable: the configured order holds among those that work.
    return upstreams.toSorted(
      (a, b) => Number((demotedUntil.get(a) ?? 0) > now) - Number((demotedUntil.get(b) ?? 0) > now),
    );
  }

  function fly(message: Buffer, query: Query, order: readonly Upstream[]): Promise<UpstreamAnswer | undefined> {
    return new Promise((resolve) => {
      const failed = new Set<Upstream>();
      const abort = new AbortController();
      const cancels: Cancel[] = [];
      let fallback: UpstreamAnswer | undefined;
      let attempts = 0;

      const finish = (answer: UpstreamAnswer | undefined): void => {
        if (abort.signal.aborted) return;
        abort.abort();
        endings.delete(end);
        for (const timer of timers) timer.cancel();
        for (const cancel of cancels) cancel();
        resolve(answer);
      };
      const end = (): void => finish(fallback);
      endings.add(end);

      const fail = (upstream: Upstream): void => {
        if (abort.signal.aborted || failed.has(upstream)) return;
        failed.add(upstream);
        demotedUntil.set(upstream, clock.now() + DEMOTED);
        if (failed.size === order.length) finish(fallback);
        else attempt();
      };
      const settle = (upstream: Upstream, answer: UpstreamAnswer): void => {
        if (isFailure(answer)) {
          fallback ??= answer;
          fail(upstream);
        } else {
          demotedUntil.delete(upstream);
          finish(answer);
        }
      };
      const retryOverTcp = async (upstream: Upstream, cut: UpstreamAnswer, id: number): Promise<void> => {
        fallback = cut;
        if (tcpOpen >= MAX_TCP) return finish(cut);
        tcpOpen++;
        try {
          const bytes = await askOverTcp(outside, upstream, upstreamQuery(message, query, id), abort.signal);
          settle(upstream, parseAnswer(bytes, id, query) ?? cut);
        } catch {
          // The part that came over UDP is more than nothing, and says itself that it is a part.
          finish(cut);
        } finally {
          tcpOpen--;
        }
      };
      const attempt = (): void => {
        const upstream =
          order.find((candidate, index) => index >= attempts && !failed.has(candidate)) ??
          order[attempts % order.length];
        attempts++;
        if (upstream === undefined || abort.signal.aborted) return;
        let retrying = false;
        sockets
          .send(
            upstream,
            (id) => upstreamQuery(message, query, id),
            (bytes, id) => {
              const answer = parseAnswer(bytes, id, query);
              if (answer === undefined || retrying || abort.signal.aborted) return;
              retrying = answer.truncated;
              if (answer.truncated) void retryOverTcp(upstream, answer, id);
              else settle(upstream, answer);
            },
          )
          .then(
            (cancel) => (abort.signal.aborted ? cancel() : cancels.push(cancel)),
            () => fail(upstream),
          );
      };

      const timers = [
        ...ATTEMPTS.map((delay) =>
          clock.after(delay, () => {
            // Silence so far: whoever was asked first goes to the end of the queue for the questions to come.
            const silent = order[(attempts - 1) % order.length];
            if (silent !== undefined) demotedUntil.set(silent, clock.now() + DEMOTED);
            attempt();
          }),
        ),
        clock.after(DEADLINE, end),
      ];
      attempt();
    });
  }

  return {
    excepts: (key) => exceptions.some((entry) => isUnder(key, entry.apex)),

    known(query) {
      const shared = sharedKey(query);
      const kept = cache.get(shared);
      if (kept === undefined) return undefined;
      const age = Math.floor((clock.now() - kept.at) / 1000);
      if (age < kept.answer.lifetime) return { answer: kept.answer, age };
      cache.delete(shared);
      return undefined;
    },

    ask(message, query) {
      const shared = sharedKey(query);
      let flight = flights.get(shared);
      if (flight === undefined) {
        const order = upstreamsFor(query.key);
        if (order.length === 0 || closed || flights.size >= MAX_FLIGHTS) return undefined;
        // The message is the asker's buffer: it is read until the flight ends, and never written.
        flight = fly(message, query, order).then((answer) => {
          flights.delete(shared);
          if (answer !== undefined && answer.lifetime > 0) cache.set(shared, { answer, at: clock.now() });
          return answer;
        });
        flights.set(shared, flight);
      }
      return flight.then((answer) => (answer === undefined ? undefined : { answer, age: 0 }));
    },

    close() {
      closed = true;
      // Each takes itself out of the set, which a Set allows while it is walked.
      for (const end of endings) end();
      sockets.close();
      cache.clear();
      return Promise.resolve();
    },
  };
}
