import { LRUCache } from "lru-cache";
import type { Clock } from "../core/clock.ts";
import { seconds, type Monotonic } from "../core/units.ts";
import type { Outside } from "../network/outside.ts";
import type { Query } from "./codec.ts";
import { Flight, type FlightDeck } from "./flight.ts";
import { uint16From, type RandomBytes } from "./random.ts";
import { sharedKey, type UpstreamAnswer } from "./upstream-answer.ts";
import { UpstreamSockets } from "./upstream-sockets.ts";
import { parseExceptions, parseUpstream, requireUpstream, type Upstream } from "./upstream.ts";
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
  /** Asks. Undefined, now or later: nobody answered. Never rejects, and takes 3.9 seconds at most. */
  ask(message: Buffer, query: Query): Promise<Forwarded | undefined> | undefined;
  /**
   * Other resolvers from now on, because the computer has moved to another network; what is kept may be of the old one
   * and is forgotten. Texts that are no address are left out. Exceptions stay as they are.
   */
  replaceUpstreams(upstreams: readonly string[]): void;
  close(): Promise<void>;
}

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
  let upstreams = options.upstreams.map(requireUpstream);
  const exceptions = parseExceptions(options.forward);
  const sockets = new UpstreamSockets(outside, clock, uint16From(options.random));
  const cache = new LRUCache<string, Kept>({
    maxSize: options.cacheBytes ?? CACHE_BYTES,
    sizeCalculation: (kept, key) => kept.answer.message.length + key.length + ENTRY_BYTES,
  });
  const flights = new Map<string, Flight>();
  const demotedUntil = new Map<Upstream, number>();
  let tcpOpen = 0;
  let closed = false;

  const deck: FlightDeck = {
    outside,
    clock,
    sockets,
    takeTcp() {
      if (tcpOpen >= MAX_TCP) return false;
      tcpOpen++;
      return true;
    },
    releaseTcp: () => void tcpOpen--,
    report(upstream, good) {
      if (good) demotedUntil.delete(upstream);
      else demotedUntil.set(upstream, clock.now() + DEMOTED);
    },
  };

  function upstreamsFor(key: string): readonly Upstream[] {
    const exception = exceptions.find((entry) => isUnder(key, entry.apex));
    if (exception !== undefined) return [exception.upstream];
    const now = clock.now();
    // Stable: the configured order holds among those that work.
    return upstreams.toSorted(
      (a, b) => Number((demotedUntil.get(a) ?? 0) > now) - Number((demotedUntil.get(b) ?? 0) > now),
    );
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
        flight = new Flight(deck, message, query, order);
        flights.set(shared, flight);
        const asked = upstreams;
        void flight.answer.then((answer) => {
          flights.delete(shared);
          // What the resolvers of another network said is not kept.
          if (answer === undefined || answer.lifetime === 0 || asked !== upstreams) return;
          cache.set(shared, { answer, at: clock.now() });
        });
      }
      return flight.answer.then((answer) => (answer === undefined ? undefined : { answer, age: 0 }));
    },

    replaceUpstreams(texts) {
      upstreams = texts.map(parseUpstream).filter((upstream) => upstream !== undefined);
      demotedUntil.clear();
      cache.clear();
    },

    close() {
      closed = true;
      for (const flight of flights.values()) flight.end();
      sockets.close();
      cache.clear();
      return Promise.resolve();
    },
  };
}
