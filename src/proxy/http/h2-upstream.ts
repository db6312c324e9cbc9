/** HTTP/2 towards Machines whose service says `h2_backend` (gRPC): cleartext, prior knowledge, streams on shared sessions. */
import { type ClientHttp2Session, connect } from "node:http2";
import type { Socket } from "node:net";
import type { Clock } from "../../core/clock.ts";
import type { Monotonic } from "../../core/units.ts";
import { UpstreamStream } from "./h2-upstream-stream.ts";
import { MAX_FIELDS, MAX_HEAD_BYTES } from "./head.ts";
import type { Sweeper, Swept } from "./sweeper.ts";
import type { Upstream, UpstreamOrigin } from "./upstream.ts";

/** As long as connections for HTTP/1.1 are kept. */
const MAX_IDLE_MS = 4000;

interface Session {
  readonly session: ClientHttp2Session;
  readonly origin: UpstreamOrigin;
  readonly shared: boolean;
  streams: number;
  served: number;
  idleSince: number;
}

/** Sessions to Machines. An idle one holds no claim, and is closed after some seconds. */
export class UpstreamSessions implements Swept {
  deadline = Number.POSITIVE_INFINITY;
  readonly #clock: Clock;
  readonly #sweeper: Sweeper;
  readonly #open = new Set<Session>();

  constructor(clock: Clock, sweeper: Sweeper) {
    this.#clock = clock;
    this.#sweeper = sweeper;
  }

  /** A stream on a session that is there and has room. */
  take(origin: UpstreamOrigin): Upstream | undefined {
    for (const entry of this.#open) {
      const { session } = entry;
      if (!entry.shared || session.closed || session.destroyed) continue;
      if (entry.origin.machine !== origin.machine || entry.origin.service !== origin.service) continue;
      if (entry.origin.generation !== origin.generation) continue;
      if (entry.streams >= (session.remoteSettings?.maxConcurrentStreams ?? 100)) continue;
      return this.#stream(entry);
    }
    return undefined;
  }

  /** A stream on a session over a fresh connection. `shared`: others may use the session too. */
  open(socket: Socket, origin: UpstreamOrigin, shared: boolean): Upstream {
    // It comes paused (see `Reach.connect`) and was never read: the session takes the handle over, and does not start it.
    socket.read(0);
    const session = connect("http://machine", {
      createConnection: () => socket,
      settings: { enablePush: false },
      maxHeaderListPairs: MAX_FIELDS + 8,
      maxSendHeaderBlockLength: MAX_HEAD_BYTES,
    });
    const entry: Session = { session, origin, shared, streams: 0, served: 0, idleSince: 0 };
    this.#open.add(entry);
    session.on("error", () => undefined); // every stream reports it
    // A Machine that ends its side will answer no more; our sockets stay half open by themselves.
    socket.once("end", () => socket.end());
    session.on("close", () => this.#open.delete(entry));
    return this.#stream(entry);
  }

  expire(now: Monotonic): void {
    let next = Number.POSITIVE_INFINITY;
    for (const entry of this.#open) {
      if (entry.streams > 0) continue;
      if (now - entry.idleSince >= MAX_IDLE_MS) entry.session.destroy();
      else next = Math.min(next, entry.idleSince + MAX_IDLE_MS);
    }
    this.deadline = next;
    if (next === Number.POSITIVE_INFINITY) this.#sweeper.remove(this);
  }

  /** Closes at most so many that carry no stream. Returns how many. */
  shed(count: number): number {
    let shed = 0;
    for (const entry of this.#open) {
      if (shed === count) break;
      if (entry.streams > 0 || entry.session.destroyed) continue;
      entry.session.destroy();
      shed++;
    }
    return shed;
  }

  close(): void {
    for (const entry of this.#open) entry.session.destroy();
    this.#sweeper.remove(this);
  }

  #stream(entry: Session): Upstream {
    entry.streams++;
    return new UpstreamStream(entry.session, entry.served++, () => {
      entry.streams--;
      if (entry.streams > 0) return;
      if (!entry.shared) {
        entry.session.close();
        return;
      }
      entry.idleSince = this.#clock.now();
      if (this.deadline === Number.POSITIVE_INFINITY) this.#sweeper.add(this);
      this.deadline = Math.min(this.deadline, entry.idleSince + MAX_IDLE_MS);
    });
  }
}
