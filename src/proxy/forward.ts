import type { Socket } from "node:net";
import { TLSSocket } from "node:tls";
import type { Clock, Timer } from "../core/clock.ts";
import { AppError } from "../core/errors.ts";
import { ms, type Milliseconds } from "../core/units.ts";
import type { Claim } from "../machines/pool.ts";
import type { Held } from "./hold.ts";

export interface Forwarded {
  readonly bytesIn: number;
  readonly bytesOut: number;
  /** Undefined: both directions came to their ends. */
  readonly error: AppError | undefined;
}

interface ForwardOptions {
  readonly claim: Claim;
  readonly clock: Clock;
  /** How long one direction may stay silent after the other has ended. */
  readonly halfClosedTimeout: Milliseconds;
  /** Called at the Machine's first byte. */
  readonly onFirstByte: (chunk: Buffer) => void;
  /** Sees what passes, both ways; never changes it. */
  readonly watch?: Watcher | undefined;
}

export interface Watcher {
  fromClient(chunk: Buffer): void;
  fromMachine(chunk: Buffer): void;
}

/** The kernel closes a dead Machine's sockets with its last bytes before them; who gets neither is cut after this. */
const LAST_BYTES_MS = 1000;

/**
 * Bytes both ways until both directions have ended. A half-close goes on as a half-close, a reset as a reset, and a slow
 * reader slows its writer: at most one chunk and one socket buffer per direction is held.
 */
export function forward(downstream: Socket, upstream: Socket, held: Held, options: ForwardOptions): Promise<Forwarded> {
  return new Promise((resolve) => new Forwarding(downstream, upstream, options, resolve).start(held));
}

class Forwarding {
  readonly #down: Socket;
  readonly #up: Socket;
  readonly #options: ForwardOptions;
  readonly #done: (forwarded: Forwarded) => void;
  #bytesIn = 0;
  #bytesOut = 0;
  #answered = false;
  #open = 2;
  #error: AppError | undefined;
  #timer: Timer | undefined;
  #stopListening: (() => void) | undefined;

  constructor(down: Socket, up: Socket, options: ForwardOptions, done: (forwarded: Forwarded) => void) {
    this.#down = down;
    this.#up = up;
    this.#options = options;
    this.#done = done;
  }

  start(held: Held): void {
    const down = this.#down;
    const up = this.#up;
    up.on("data", (chunk: Buffer) => this.#fromMachine(chunk));
    down.on("data", (chunk: Buffer) => this.#fromClient(chunk));
    up.on("drain", () => down.resume());
    down.on("drain", () => up.resume());
    up.on("end", () => (wasReset(up) ? this.#cut(new AppError("PC03")) : this.#onEnd(down)));
    down.on("end", () => this.#onEnd(up));
    up.on("error", (cause) => this.#onError("PC03", cause));
    down.on("error", (cause) => this.#onError("FP16", cause));
    up.on("close", () => this.#onClose(up, down));
    down.on("close", () => this.#onClose(down, up));
    this.#stopListening = this.#options.claim.onLost((error) => this.#onLost(error));

    for (const chunk of held.chunks) this.#fromClient(chunk);
    if (held.ended) this.#onEnd(up);
    // Either may have been destroyed on the way here; its "close" was not for us.
    if (down.destroyed && down.closed) this.#onClose(down, up);
    if (up.destroyed && up.closed) this.#onClose(up, down);
    up.resume();
    if (!up.writableNeedDrain) down.resume();
  }

  #fromClient(chunk: Buffer): void {
    this.#bytesIn += chunk.length;
    this.#options.claim.lastByte = this.#options.clock.now();
    this.#options.watch?.fromClient(chunk);
    if (this.#up.writable && !this.#up.write(chunk)) this.#down.pause();
  }

  #fromMachine(chunk: Buffer): void {
    this.#bytesOut += chunk.length;
    this.#options.claim.lastByte = this.#options.clock.now();
    if (!this.#answered) {
      this.#answered = true;
      this.#options.onFirstByte(chunk);
    }
    this.#options.watch?.fromMachine(chunk);
    if (this.#down.writable && !this.#down.write(chunk)) this.#up.pause();
  }

  #onEnd(other: Socket): void {
    if (other.writable) other.end();
    this.#timer ??= this.#watchSilence(this.#options.halfClosedTimeout);
  }

  /** Half-closed connections whose other half never moves again would stay for ever. */
  #watchSilence(after: Milliseconds): Timer {
    const { claim, clock, halfClosedTimeout } = this.#options;
    return clock.after(after, () => {
      const silence = clock.now() - claim.lastByte;
      if (silence >= halfClosedTimeout) this.#cut(new AppError("FP13"));
      else this.#timer = this.#watchSilence(ms(halfClosedTimeout - silence));
    });
  }

  #onError(code: "PC03" | "FP16", cause: Error): void {
    this.#error ??= cause instanceof AppError ? cause : new AppError(code, undefined, { cause });
  }

  #onLost(error: AppError): void {
    this.#error ??= error;
    this.#timer?.cancel();
    this.#timer = this.#options.clock.after(ms(LAST_BYTES_MS), () => this.#cut(error));
  }

  #cut(error: AppError): void {
    this.#error ??= error;
    reset(this.#up);
    reset(this.#down);
  }

  #onClose(closed: Socket, other: Socket): void {
    this.#open--;
    if (this.#open === 0) return this.#finish();
    // Both its directions came to an end: the other side has been told by end(), and finishes in its own time.
    if (closed.readableEnded && closed.writableFinished && !closed.errored) return;
    // It had said all it had to say and then refused to listen: what it said still goes out.
    if (closed.readableEnded) other.destroySoon();
    else reset(other);
  }

  #finish(): void {
    this.#timer?.cancel();
    this.#stopListening?.();
    this.#done({ bytesIn: this.#bytesIn, bytesOut: this.#bytesOut, error: this.#error });
  }
}

/**
 * At a socket's "end": whether that was a reset. libuv tells a reset that arrives together with the last bytes as a proper
 * end, and half an answer would pass for a whole one. The kernel knows no peer any more then; to find that out the socket
 * must not have been asked for its peer before, and must not have been ended by us.
 */
export function wasReset(socket: Socket): boolean {
  return !socket.destroyed && !socket.writableEnded && socket.remoteAddress === undefined;
}

/** Ends a connection with a reset, so that the other side cannot take it for a proper end. */
export function reset(socket: Socket): void {
  if (socket.destroyed) return;
  // Inside TLS an end without close_notify says the same.
  if (socket instanceof TLSSocket) socket.destroy();
  else socket.resetAndDestroy();
}
