import type { RemoteInfo, Socket } from "node:dgram";
import type { Clock } from "../core/clock.ts";
import type { Monotonic } from "../core/units.ts";
import type { Outside } from "../network/outside.ts";
import { canonicalHost, type Upstream } from "./upstream.ts";

/** A datagram that came from the address that was asked and carries the id that was sent. */
export type OnDatagram = (message: Buffer) => void;
/** Stops listening for answers. Idempotent. */
export type Cancel = () => void;

interface PooledSocket {
  readonly socket: Socket;
  readonly openedAt: Monotonic;
  uses: number;
  retired: boolean;
  /** id → who waits for it. */
  readonly pending: Map<number, { readonly host: string; readonly port: number; readonly onDatagram: OnDatagram }>;
}

interface Family {
  readonly any: string;
  readonly open: PooledSocket[];
  opening: Promise<PooledSocket> | undefined;
}

/** Sockets open at a time, for each IP version. Each has a port of its own, so a forger must guess both id and port. */
const SOCKETS = 4;
/** A port is given up after so many questions, or this many milliseconds, whichever is first. */
const MAX_USES = 128;
const MAX_AGE = 60_000;

/** UDP sockets towards upstream resolvers, with random ports that change and random ids. */
export class UpstreamSockets {
  readonly #outside: Outside;
  readonly #clock: Clock;
  readonly #uint16: () => number;
  readonly #families: Record<4 | 6, Family> = {
    4: { any: "0.0.0.0", open: [], opening: undefined },
    6: { any: "::", open: [], opening: undefined },
  };
  readonly #all = new Set<PooledSocket>();
  #closed = false;

  constructor(outside: Outside, clock: Clock, uint16: () => number) {
    this.#outside = outside;
    this.#clock = clock;
    this.#uint16 = uint16;
  }

  /**
   * Sends what `encode` makes of a fresh id, and calls back with each answer to it until cancelled: a wrong one may come
   * before the right one. Rejects when there is no socket to be had.
   */
  async send(
    upstream: Upstream,
    encode: (id: number) => Buffer,
    onDatagram: (message: Buffer, id: number) => void,
  ): Promise<Cancel> {
    const pooled = await this.#take(this.#families[upstream.family]);
    let id = this.#uint16();
    // At most a few hundred ids of one socket wait at a time, so this ends at once.
    while (pooled.pending.has(id)) id = this.#uint16();
    pooled.uses++;
    pooled.pending.set(id, {
      host: canonicalHost(upstream.host),
      port: upstream.port,
      onDatagram: (message) => onDatagram(message, id),
    });
    // A datagram that cannot be sent (no route) is one that got lost: the next try goes elsewhere.
    pooled.socket.send(encode(id), upstream.port, upstream.host, () => {});
    return () => {
      pooled.pending.delete(id);
      if (pooled.retired) this.#closeIfDone(pooled);
    };
  }

  close(): void {
    this.#closed = true;
    for (const pooled of this.#all) {
      pooled.pending.clear();
      this.#retire(pooled);
    }
  }

  async #take(family: Family): Promise<PooledSocket> {
    const oldest = this.#clock.now() - MAX_AGE;
    const spent = family.open.filter((pooled) => pooled.uses >= MAX_USES || pooled.openedAt <= oldest);
    for (const pooled of spent) this.#retire(pooled);
    if (family.open.length < SOCKETS && family.opening === undefined) {
      family.opening = this.#open(family).finally(() => (family.opening = undefined));
      // Whoever waits for it sees the failure; with other sockets open nobody does, and nobody needs to.
      family.opening.catch(() => {});
    }
    const chosen = family.open[this.#uint16() % Math.max(1, family.open.length)];
    if (chosen !== undefined) return chosen;
    if (family.opening === undefined) throw new Error("no socket");
    return family.opening;
  }

  async #open(family: Family): Promise<PooledSocket> {
    const socket = await this.#outside.bindUdp(family.any, 0);
    const pooled: PooledSocket = {
      socket,
      openedAt: this.#clock.now(),
      uses: 0,
      retired: false,
      pending: new Map(),
    };
    this.#all.add(pooled);
    socket.on("message", (message: Buffer, from: RemoteInfo) => {
      if (message.length < 2) return;
      const waiting = pooled.pending.get(message.readUInt16BE(0));
      if (waiting === undefined || waiting.port !== from.port || waiting.host !== canonicalHost(from.address)) return;
      waiting.onDatagram(message);
    });
    socket.on("error", () => this.#retire(pooled));
    socket.unref();
    if (this.#closed) {
      this.#retire(pooled);
      throw new Error("closed");
    }
    family.open.push(pooled);
    return pooled;
  }

  #retire(pooled: PooledSocket): void {
    pooled.retired = true;
    for (const family of [this.#families[4], this.#families[6]]) {
      const index = family.open.indexOf(pooled);
      if (index >= 0) family.open.splice(index, 1);
    }
    this.#closeIfDone(pooled);
  }

  #closeIfDone(pooled: PooledSocket): void {
    if (pooled.pending.size > 0 || !this.#all.delete(pooled)) return;
    pooled.socket.close();
  }
}
