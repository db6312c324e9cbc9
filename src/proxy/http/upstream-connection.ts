/** One connection to a Machine that speaks HTTP/1.1: writes requests as they are given, reads responses strictly. */
import type { Socket } from "node:net";
import { AppError } from "../../core/errors.ts";
import { wasReset } from "../forward.ts";
import { ChunkedReader } from "./chunked.ts";
import { AMBIGUOUS, CHUNKED, responseFraming, UNKNOWN_CODING, UNTIL_CLOSE } from "./framing.ts";
import { type HeadParser, INCOMPLETE, REFUSED } from "./head.ts";
import { responseKeepsAlive } from "./response-head.ts";
import { writeTogether } from "./write-together.ts";
import { MAX_INFORMATIONAL, type ResponseSink, type Upstream, type UpstreamOrigin } from "./upstream.ts";

const IDLE = 0;
const HEAD = 1;
const LENGTH = 2;
const CHUNKS = 3;
const CLOSE = 4;
const SWITCHED = 5;
const LINGERING = 6;

export class UpstreamConnection implements Upstream {
  readonly socket: Socket;
  readonly origin: UpstreamOrigin;
  /** Monotonic time since which it is idle, or lingers. */
  idleSince = 0;
  /** Requests that were sent on it before this one. */
  served = 0;
  /** Whether a byte of the current response has come. */
  answered = false;

  readonly #parser: HeadParser;
  readonly #onGone: (upstream: UpstreamConnection) => void;
  #sink: ResponseSink | undefined;
  #state = IDLE;
  #partial: Buffer | undefined;
  #left = 0;
  #chunks: ChunkedReader | undefined;
  #toHead = false;
  #mayUpgrade = false;
  #keepsAlive = true;
  #informational = 0;

  constructor(socket: Socket, origin: UpstreamOrigin, parser: HeadParser, onGone: (gone: UpstreamConnection) => void) {
    this.socket = socket;
    this.origin = origin;
    this.#parser = parser;
    this.#onGone = onGone;
    socket.on("data", (chunk: Buffer) => this.#onData(chunk));
    socket.on("end", () => this.#onEnd());
    socket.on("error", (error) => this.#onClosed(error));
    socket.on("close", () => this.#onClosed(undefined));
    socket.on("drain", () => this.#sink?.onUpstreamDrain());
    // It comes paused (see `Reach.connect`), so that nothing of it is lost before somebody listens.
    socket.resume();
  }

  /** Before a request's bytes are written. */
  begin(sink: ResponseSink, how: { toHead: boolean; mayUpgrade: boolean }): void {
    this.#sink = sink;
    this.#state = HEAD;
    this.#toHead = how.toHead;
    this.#mayUpgrade = how.mayUpgrade;
    this.#chunks = undefined;
    this.#informational = 0;
    this.answered = false;
  }

  get reusable(): boolean {
    return this.#keepsAlive && this.#state === IDLE && this.socket.writable && !this.socket.readableEnded;
  }

  get trailers(): string {
    return this.#chunks?.trailers ?? "";
  }

  sendHead(head: string, body: readonly Buffer[]): boolean {
    const { socket } = this;
    if (body.length < 2) return writeTogether(socket, head, body[0]);
    socket.cork();
    socket.write(head, "latin1");
    for (const chunk of body) socket.write(chunk);
    socket.uncork();
    return !socket.writableNeedDrain;
  }

  send(chunk: Buffer): boolean {
    return chunk.length === 0 || this.socket.write(chunk);
  }

  endSends(): void {
    this.socket.end();
  }

  pause(): void {
    this.socket.pause();
  }

  resume(): void {
    this.socket.resume();
  }

  /** Goes into the pool. */
  rest(): void {
    this.#sink = undefined;
  }

  /** Nobody waits for a response any more; the connection closes as soon as the Machine has closed its side. */
  linger(): void {
    this.#sink = undefined;
    this.#state = LINGERING;
    this.socket.resume();
  }

  destroy(): void {
    this.#sink = undefined;
    this.#state = IDLE;
    this.socket.destroy();
  }

  #onData(chunk: Buffer): void {
    this.answered = true;
    switch (this.#state) {
      case HEAD:
        return this.#readHead(chunk);
      case LENGTH:
        if (chunk.length < this.#left) {
          this.#left -= chunk.length;
          this.#sink?.onBody(chunk, false);
        } else {
          const body = chunk.length === this.#left ? chunk : chunk.subarray(0, this.#left);
          this.#complete(chunk.length > this.#left);
          this.#sink?.onBody(body, true);
        }
        return;
      case CHUNKS: {
        const chunks = this.#chunks;
        if (chunks === undefined) return;
        const after = chunks.read(chunk, 0);
        if (chunks.problem !== undefined) return this.#fail(new AppError("PU02", chunks.problem));
        if (chunks.done) this.#complete(after < chunk.length);
        if (chunks.output.length > 0 || chunks.done) this.#sink?.onBody(chunks.output, chunks.done);
        return;
      }
      case CLOSE:
      case SWITCHED:
        this.#sink?.onBody(chunk, false);
        return;
      case LINGERING:
        return;
      default:
        // Nobody asked: a Machine that speaks first here would answer the next request with it.
        this.destroy();
    }
  }

  #readHead(chunk: Buffer): void {
    const bytes = this.#partial === undefined ? chunk : Buffer.concat([this.#partial, chunk]);
    this.#partial = undefined;
    const parser = this.#parser;
    let at = 0;
    for (;;) {
      const after = parser.parseResponse(bytes, at, bytes.length);
      if (after === INCOMPLETE) {
        this.#partial = at === 0 ? bytes : bytes.subarray(at);
        return;
      }
      if (after === REFUSED) return this.#fail(new AppError("PU02", parser.reasonRefused));
      if (parser.status >= 200) return this.#readFinal(bytes, after);
      if (parser.status === 101) {
        if (!this.#mayUpgrade) return this.#fail(new AppError("PU02", "101 without a request for it"));
        this.#state = SWITCHED;
        this.#keepsAlive = false;
        this.#sink?.onSwitch(parser);
        if (after < bytes.length) this.#sink?.onBody(bytes.subarray(after), false);
        return;
      }
      if (++this.#informational > MAX_INFORMATIONAL) return this.#fail(new AppError("PU02", "too many 1xx responses"));
      this.#sink?.onInformational(parser);
      at = after;
      if (this.#sink === undefined || at === bytes.length) return;
    }
  }

  #readFinal(bytes: Buffer, bodyStart: number): void {
    const parser = this.#parser;
    const framing = responseFraming(parser, this.#toHead);
    if (framing === AMBIGUOUS || framing === UNKNOWN_CODING) {
      return this.#fail(new AppError("PU02", "the length of the response's body is ambiguous"));
    }
    this.#keepsAlive &&= responseKeepsAlive(parser);
    const there = bytes.length - bodyStart;
    if (framing >= 0) {
      if (there < framing) {
        this.#state = LENGTH;
        this.#left = framing - there;
        this.#sink?.onResponse(parser, framing, there > 0 ? bytes.subarray(bodyStart) : undefined, false);
        return;
      }
      this.#complete(there > framing);
      const body = framing === 0 ? undefined : bytes.subarray(bodyStart, bodyStart + framing);
      this.#sink?.onResponse(parser, framing, body, true);
      return;
    }
    if (framing === UNTIL_CLOSE) {
      this.#state = CLOSE;
      this.#keepsAlive = false;
      this.#sink?.onResponse(parser, framing, there > 0 ? bytes.subarray(bodyStart) : undefined, false);
      return;
    }
    // The chunk reader uses the parser too, for trailers: the head goes out first.
    const chunks = new ChunkedReader(this.#sink?.decodes(parser) ?? false, parser);
    this.#chunks = chunks;
    this.#state = CHUNKS;
    if (there === 0 || !endsChunks(bytes)) {
      this.#sink?.onResponse(parser, CHUNKED, undefined, false);
      if (there > 0 && this.#state === CHUNKS) this.#onData(bytes.subarray(bodyStart));
      return;
    }
    // The whole small response in one packet: head and body leave in one write, unless there were trailers.
    const after = chunks.read(bytes, bodyStart);
    if (chunks.problem !== undefined) return this.#fail(new AppError("PU02", chunks.problem));
    if (chunks.done) this.#complete(after < bytes.length);
    this.#sink?.onResponse(parser, CHUNKED, chunks.output, chunks.done);
  }

  #complete(hasMore: boolean): void {
    this.#state = IDLE;
    this.served++;
    // Bytes beyond the response could be taken for the answer to somebody else's request.
    if (hasMore) this.#keepsAlive = false;
  }

  #onEnd(): void {
    switch (this.#state) {
      // Where only the end says that all has come, a reset must not pass for one.
      case CLOSE:
        if (wasReset(this.socket)) return this.#fail(new AppError("PU02", "the Machine reset the connection"));
        this.#state = IDLE;
        this.#sink?.onBody(Buffer.alloc(0), true);
        return;
      case SWITCHED:
        if (wasReset(this.socket)) return this.#fail(new AppError("PU02", "the Machine reset the connection"));
        this.#sink?.onUpstreamEnd();
        return;
      case HEAD:
        return this.#fail(new AppError("PC03", "the Machine closed the connection without an answer"));
      case LENGTH:
      case CHUNKS:
        return this.#fail(new AppError("PU02", "the Machine closed the connection within its answer"));
      default:
        this.destroy();
    }
  }

  #onClosed(cause: Error | undefined): void {
    this.#onGone(this);
    if (this.#sink === undefined || this.#state === IDLE) return;
    this.#fail(new AppError(this.answered ? "PU02" : "PC03", cause?.message, { cause }));
  }

  #fail(error: AppError): void {
    const sink = this.#sink;
    this.destroy();
    sink?.onUpstreamFailure(error);
  }
}

/** Whether the bytes end as a chunked body without trailers does. */
function endsChunks(bytes: Buffer): boolean {
  const n = bytes.length;
  return (
    n >= 5 &&
    bytes[n - 1] === 0x0a &&
    bytes[n - 2] === 0x0d &&
    bytes[n - 3] === 0x0a &&
    bytes[n - 4] === 0x0d &&
    bytes[n - 5] === 0x30
  );
}
