import type { Socket } from "node:net";
import type { Clock } from "../../core/clock.ts";
import type { MachineId } from "../../core/ids.ts";
import type { Monotonic, Port } from "../../core/units.ts";
import type { HeadParser } from "./head.ts";
import type { Sweeper, Swept } from "./sweeper.ts";
import type { UpstreamOrigin } from "./upstream.ts";
import { UpstreamConnection } from "./upstream-connection.ts";

/** How long a connection to a Machine is kept for the next request (reference §2.1: about 4 s). */
const MAX_IDLE_MS = 4000;
/** How long a Machine has, after its answer to a request with `Connection: close`, to close first. */
const LINGER_MS = 1000;
/** Idle connections kept for one service of a Machine. */
const MAX_IDLE_PER_SERVICE = 256;

interface Bucket {
  readonly generation: number;
  /** Used last stands last, and is taken first: the others grow old together and are closed. */
  readonly idle: UpstreamConnection[];
}

/** Idle connections by Machine, port and the Machine's life. They hold no claim: a Machine may stop under them. */
export class UpstreamPool implements Swept {
  deadline = Number.POSITIVE_INFINITY;
  readonly #clock: Clock;
  readonly #parser: HeadParser;
  readonly #buckets = new Map<MachineId, Map<Port, Bucket>>();
  readonly #lingering = new Set<UpstreamConnection>();
  readonly #open = new Set<UpstreamConnection>();
  readonly #sweeper: Sweeper;

  constructor(clock: Clock, parser: HeadParser, sweeper: Sweeper) {
    this.#clock = clock;
    this.#parser = parser;
    this.#sweeper = sweeper;
  }

  /** A connection that has been idle for at most `maxIdle` ms, taken out of the pool. */
  take(machine: MachineId, service: Port, generation: number, maxIdle: number): UpstreamConnection | undefined {
    const bucket = this.#buckets.get(machine)?.get(service);
    if (bucket === undefined || bucket.idle.length === 0 || bucket.generation !== generation) return undefined;
    for (;;) {
      const upstream = bucket.idle.pop();
      if (upstream === undefined) return undefined;
      if (!upstream.reusable) {
        upstream.destroy();
        continue;
      }
      if (this.#clock.now() - upstream.idleSince <= maxIdle) return upstream;
      // It and all below it are older than asked, but still good for others.
      bucket.idle.push(upstream);
      return undefined;
    }
  }

  /** Wraps a fresh connection. */
  open(socket: Socket, origin: UpstreamOrigin): UpstreamConnection {
    const upstream = new UpstreamConnection(socket, origin, this.#parser, (gone) => this.#forget(gone));
    this.#open.add(upstream);
    return upstream;
  }

  /** After a complete response. */
  put(upstream: UpstreamConnection): void {
    const { machine, service, generation } = upstream.origin;
    let services = this.#buckets.get(machine);
    if (services === undefined) this.#buckets.set(machine, (services = new Map()));
    let bucket = services.get(service);
    if (bucket === undefined || bucket.generation !== generation) {
      if (bucket !== undefined) for (const old of bucket.idle.splice(0)) old.destroy();
      services.set(service, (bucket = { generation, idle: [] }));
    }
    if (bucket.idle.length >= MAX_IDLE_PER_SERVICE) return upstream.destroy();
    upstream.rest();
    upstream.idleSince = this.#clock.now();
    bucket.idle.push(upstream);
    this.#wakeBy(upstream.idleSince + MAX_IDLE_MS);
  }

  /**
   * After the response to a request with `Connection: close`: the Machine closes first, so that TIME_WAIT, which uses
   * up the ports from which we can dial, is on its side.
   */
  linger(upstream: UpstreamConnection): void {
    upstream.idleSince = this.#clock.now();
    upstream.linger();
    this.#lingering.add(upstream);
    this.#wakeBy(upstream.idleSince + LINGER_MS);
  }

  expire(now: Monotonic): void {
    let next = Number.POSITIVE_INFINITY;
    for (const upstream of this.#lingering) {
      if (now - upstream.idleSince >= LINGER_MS) {
        this.#lingering.delete(upstream);
        upstream.destroy();
      } else next = Math.min(next, upstream.idleSince + LINGER_MS);
    }
    for (const [machine, services] of this.#buckets) {
      for (const [service, bucket] of services) {
        const young = bucket.idle.findIndex((upstream) => now - upstream.idleSince < MAX_IDLE_MS);
        const old = bucket.idle.splice(0, young === -1 ? bucket.idle.length : young);
        for (const upstream of old) upstream.destroy();
        const oldest = bucket.idle[0];
        if (oldest === undefined) services.delete(service);
        else next = Math.min(next, oldest.idleSince + MAX_IDLE_MS);
      }
      if (services.size === 0) this.#buckets.delete(machine);
    }
    this.deadline = next;
    if (next === Number.POSITIVE_INFINITY) this.#sweeper.remove(this);
  }

  /** Closes at most so many that nobody uses: those that only wait for their end, then the oldest of each service. Returns how many. */
  shed(count: number): number {
    let shed = 0;
    for (const upstream of this.#lingering) {
      if (shed === count) return shed;
      this.#lingering.delete(upstream);
      upstream.destroy();
      shed++;
    }
    for (const services of this.#buckets.values()) {
      for (const { idle } of services.values()) {
        const old = idle.splice(0, count - shed);
        for (const upstream of old) upstream.destroy();
        shed += old.length;
        if (shed === count) return shed;
      }
    }
    return shed;
  }

  close(): void {
    for (const upstream of this.#open) upstream.destroy();
    this.#buckets.clear();
    this.#sweeper.remove(this);
  }

  #wakeBy(time: number): void {
    if (this.deadline === Number.POSITIVE_INFINITY) this.#sweeper.add(this);
    if (time < this.deadline) this.deadline = time;
  }

  #forget(upstream: UpstreamConnection): void {
    this.#open.delete(upstream);
    this.#lingering.delete(upstream);
    const bucket = this.#buckets.get(upstream.origin.machine)?.get(upstream.origin.service);
    const index = bucket?.idle.indexOf(upstream) ?? -1;
    if (index >= 0) bucket?.idle.splice(index, 1);
  }
}
