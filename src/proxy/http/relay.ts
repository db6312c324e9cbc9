/**
 * One client connection that speaks HTTP/1.1: reads requests one after the other, writes their responses in order.
 *
 *     head ──▶ request ──▶ head …         keep-alive; pipelined bytes wait until their turn
 *                 ├──▶ switched           after 101: bytes, half-close kept
 *                 └──▶ closing            the response is written; what still comes is read and thrown away
 */
import type { Socket } from "node:net";
import { AppError } from "../../core/errors.ts";
import type { PortRoute } from "../../registry/view.ts";
import type { Connection } from "../context.ts";
import { responseTo } from "../respond.ts";
import { ChunkedReader } from "./chunked.ts";
import type { HttpContext } from "./context.ts";
import { currentRoute } from "./current-route.ts";
import { errorResponse } from "./error-response.ts";
import { type Downstream, Exchange } from "./exchange.ts";
import { CHUNKED, type Framing, UNTIL_CLOSE } from "./framing.ts";
import { type HeadParser, INCOMPLETE, MAX_HEAD_BYTES, REFUSED } from "./head.ts";
import { NAME } from "./known-names.ts";
import { requestLines, responseLines } from "./our-lines.ts";
import { type ClientFacts, isRefusal, readRequestHead, type Refusal } from "./request-head.ts";
import { writeResponseHead } from "./response-head.ts";
import type { Swept } from "./sweeper.ts";
import { ONE_WRITE } from "./upstream.ts";

const HEAD = 0;
const REQUEST = 1;
const SWITCHED = 2;
const CLOSING = 3;
const CLOSED = 4;

const NEVER = Number.POSITIVE_INFINITY;
/** How long a client has to read our last response before the connection is cut. */
const CLOSING_MS = 5000;
const EMPTY = Buffer.alloc(0);
const HEAD_END = Buffer.from("\r\n\r\n");

export class Http1Connection implements Downstream, Swept {
  deadline: number;
  readonly done: Promise<void>;

  readonly #context: HttpContext;
  readonly #connection: Connection;
  readonly #facts: ClientFacts;
  readonly #socket: Socket;
  /** Of the request that is being served; each one asks anew. */
  #route: PortRoute;
  #resolve: () => void = () => undefined;
  #state = HEAD;
  #exchange: Exchange | undefined;
  /** Bytes that came and were not looked at yet: an unfinished head, or requests that wait for their turn. */
  #pending: Buffer = EMPTY;
  /** How much of `#pending` is known to hold no end of a head. */
  #searched = 0;
  /** Body bytes that have not come yet; CHUNKED while the chunks last. */
  #bodyLeft: Framing = 0;
  #chunks: ChunkedReader | undefined;
  #closeAfter = false;
  #headSent = false;
  #ended = false;
  #draining = false;
  #processing = false;
  #awaitingDrain = false;
  #first = true;
  #paused = false;
  readonly #onHttp2: (bytes: Buffer) => void;
  // Kept, so that they can be taken off again when the socket is handed on.
  readonly #data = (chunk: Buffer): void => this.#onData(chunk);
  readonly #end = (): void => this.#onEnd();
  readonly #drained = (): void => this.#onDrain();
  readonly #error = (error: Error): void => this.#onGone(new AppError("FP16", undefined, { cause: error }));
  readonly #closed = (): void => this.#onClose();

  /** `onHttp2`: the client began with the preface of HTTP/2; from then on the socket is somebody else's. */
  constructor(
    context: HttpContext,
    connection: Connection,
    facts: ClientFacts,
    socket: Socket,
    onHttp2: (bytes: Buffer) => void,
  ) {
    this.#onHttp2 = onHttp2;
    this.#context = context;
    this.#connection = connection;
    this.#route = connection.route;
    this.#facts = facts;
    this.#socket = socket;
    this.deadline = context.clock.now() + this.#headTimeout;
    this.done = new Promise((resolve) => (this.#resolve = resolve));
    socket.on("data", this.#data);
    socket.on("end", this.#end);
    socket.on("drain", this.#drained);
    socket.on("error", this.#error);
    socket.on("close", this.#closed);
    context.sweeper.add(this);
    // The phases before us read too: its end may be over already, and would not be told again.
    this.#ended = socket.readableEnded;
    socket.resume(); // a listener alone does not undo the pause of those before us
    if (socket.closed) queueMicrotask(this.#closed);
    else if (this.#ended) queueMicrotask(this.#process.bind(this));
  }

  /** Bytes that were read before the handler got the connection. */
  feed(bytes: Buffer): void {
    this.#onData(bytes);
  }

  /** Finishes the request that is being served, takes no other. */
  drain(): void {
    this.#draining = true;
    this.#closeAfter = true;
    if (this.#state === HEAD) this.#close();
  }

  /** Cuts the connection. */
  destroy(error: AppError): void {
    this.#exchange?.abort(error);
    this.#exchange = undefined;
    this.#state = CLOSED;
    this.#socket.destroy();
  }

  expire(): void {
    this.deadline = NEVER;
    switch (this.#state) {
      case HEAD:
        if (this.#pending.length === 0) return this.#close();
        return this.#refuse({ code: "FP09", detail: "the head did not arrive in time" });
      case REQUEST: {
        const exchange = this.#exchange;
        if (exchange === undefined) return this.destroy(new AppError("FP13"));
        if (exchange.responding || exchange.requestComplete) return this.destroy(new AppError("FP13"));
        exchange.status ??= responseTo("FP13").status;
        exchange.abort(new AppError("FP13"));
        this.fail(new AppError("FP13"));
        return;
      }
      default:
        this.destroy(new AppError("FP13"));
    }
  }

  // What the exchange says.

  get protocol(): "HTTP/1.0" | "HTTP/1.1" {
    return this.#exchange?.request.minor === 0 ? "HTTP/1.0" : "HTTP/1.1";
  }

  get decodes(): boolean {
    return this.#exchange?.request.minor === 0;
  }

  inform(head: HeadParser): void {
    if (this.#exchange?.request.minor === 0) return; // RFC 9110 §15.2: a 1.0 client knows none
    this.#socket.write(writeResponseHead(head, this.#edit(false)), "latin1");
  }

  switchProtocols(head: HeadParser): void {
    this.#state = SWITCHED;
    this.#headSent = true;
    this.deadline = NEVER;
    this.#socket.write(writeResponseHead(head, this.#edit(false)), "latin1");
    const early = this.#takePending();
    if (early.length > 0) this.#exchange?.send(early, false);
    this.resumeRequest();
    if (this.#ended) this.#exchange?.endSends();
  }

  respond(head: HeadParser, framing: Framing, body: Buffer | undefined, done: boolean): boolean {
    const decoded = framing === CHUNKED && this.decodes;
    // A request whose body is still to come may never end: no other can follow it.
    if (framing === UNTIL_CLOSE || decoded || this.#bodyLeft !== 0) this.#closeAfter = true;
    this.#headSent = true;
    const text = writeResponseHead(head, this.#edit(decoded));
    const socket = this.#socket;
    let flowing: boolean;
    if (body === undefined || body.length === 0) flowing = socket.write(text, "latin1");
    else if (text.length + body.length <= ONE_WRITE) flowing = socket.write(text + body.toString("latin1"), "latin1");
    else {
      socket.cork();
      socket.write(text, "latin1");
      flowing = socket.write(body);
      socket.uncork();
    }
    this.deadline = flowing ? this.#idleDeadline() : this.#stuckDeadline();
    if (done) this.#afterResponse();
    return flowing;
  }

  write(chunk: Buffer, done: boolean): boolean {
    const flowing = chunk.length === 0 || this.#socket.write(chunk);
    if (this.#state === REQUEST) this.deadline = flowing ? this.#idleDeadline() : this.#stuckDeadline();
    if (done) this.#afterResponse();
    return flowing;
  }

  endWrites(): void {
    this.#socket.end();
    if (!this.#ended) this.deadline = this.#context.clock.now() + this.#context.limits.halfClosedTimeout;
  }

  fail(error: AppError): void {
    const exchange = this.#exchange;
    if (this.#headSent) {
      this.#state = CLOSED;
      // A reset, so that nobody takes what they have for all there is. TLS says it by ending without its last word.
      if (this.#connection.tls === undefined) this.#socket.resetAndDestroy();
      else this.#socket.destroy();
      return;
    }
    if (this.#bodyLeft !== 0 || responseTo(error.code).close) this.#closeAfter = true;
    this.#socket.write(
      errorResponse(error.code, {
        close: this.#closeAfter,
        head: exchange?.request.method === "HEAD",
        lines: exchange === undefined ? "" : responseLines(exchange.requestId, "1.1"),
      }),
      "latin1",
    );
    this.#afterResponse();
  }

  pauseRequest(): void {
    this.#paused = true;
    this.#socket.pause();
  }

  resumeRequest(): void {
    if (!this.#paused) return; // nearly always
    if (this.#state === REQUEST && this.#bodyLeft === 0 && this.#pending.length >= this.#context.limits.holdBuffer)
      return;
    this.#socket.resume();
  }

  // What the socket says.

  #onData(chunk: Buffer): void {
    switch (this.#state) {
      case REQUEST:
        if (this.#bodyLeft !== 0) return this.#readBody(chunk);
        // The next request, or the first bytes of a new protocol: theirs is not the turn yet.
        this.#pending = this.#pending.length === 0 ? chunk : Buffer.concat([this.#pending, chunk]);
        if (this.#pending.length >= this.#context.limits.holdBuffer) this.pauseRequest();
        return;
      case HEAD:
        this.#pending = this.#pending.length === 0 ? chunk : Buffer.concat([this.#pending, chunk]);
        return this.#process();
      case SWITCHED:
        this.#exchange?.send(chunk, false);
        return;
      default:
    }
  }

  #onEnd(): void {
    this.#ended = true;
    switch (this.#state) {
      case HEAD:
        return this.#close();
      case REQUEST:
        // After a complete request the client may have said all it wants to say; within a body it has left.
        if (this.#bodyLeft !== 0) this.#onGone(new AppError("FP10"));
        else this.deadline = this.#idleDeadline();
        return;
      case SWITCHED:
        this.#exchange?.endSends();
        if (this.#state === SWITCHED) {
          this.deadline = this.#context.clock.now() + this.#context.limits.halfClosedTimeout;
        }
        return;
      default:
    }
  }

  #onDrain(): void {
    if (this.#awaitingDrain) {
      this.#awaitingDrain = false;
      return this.#process();
    }
    if (this.#state === REQUEST) this.deadline = this.#idleDeadline();
    this.#exchange?.resumeResponse();
  }

  #onGone(error: AppError): void {
    if (this.#state === CLOSED) return;
    this.destroy(error);
  }

  #onClose(): void {
    this.#exchange?.abort(new AppError("FP10"));
    this.#exchange = undefined;
    this.#state = CLOSED;
    this.#context.sweeper.remove(this);
    this.#resolve();
  }

  // Requests.

  /** Reads heads as long as there are bytes and nobody is being served. */
  #process(): void {
    if (this.#processing) return; // an answer that was ready at once: the loop below goes on
    this.#processing = true;
    while (this.#state === HEAD && this.#pending.length > 0 && !this.#awaitingDrain) {
      if (!this.#readHead()) break;
    }
    this.#processing = false;
    if (this.#state === HEAD && this.#ended && !this.#awaitingDrain) this.#close();
  }

  /** Returns false when bytes are missing. */
  #readHead(): boolean {
    const bytes = this.#pending;
    if (this.#first) {
      const http2 = startsPreface(bytes);
      if (http2 === undefined) return false;
      if (http2) {
        this.#leave();
        this.#onHttp2(bytes);
        return false;
      }
      this.#first = false;
    }
    // RFC 9112 §2.2: old clients send an empty line after a body.
    const start = bytes[0] === 0x0d && bytes[1] === 0x0a ? 2 : 0;
    if (this.#searched > 0 && bytes.length > 4096 && bytes.length < MAX_HEAD_BYTES) {
      // A head that comes in many small pieces is not parsed from its beginning for each of them.
      if (bytes.indexOf(HEAD_END, Math.max(0, this.#searched - 3)) === -1) {
        this.#searched = bytes.length;
        return false;
      }
    }
    const parser = this.#context.parser;
    const after = parser.parseRequest(bytes, start, bytes.length);
    if (after === INCOMPLETE) {
      if (this.#searched === 0) this.deadline = this.#context.clock.now() + this.#headTimeout;
      this.#searched = bytes.length;
      return false;
    }
    this.#searched = 0;
    if (after === REFUSED) {
      this.#refuse(refusalOf(parser));
      return true;
    }
    const request = readRequestHead(parser, this.#facts);
    if (isRefusal(request)) {
      this.#refuse(request);
      return true;
    }
    const route = currentRoute(this.#context.view, this.#connection);
    if (route === undefined) {
      this.#refuse({ code: "FP01", detail: "nothing is served there any more" }, request.method === "HEAD");
      return true;
    }
    this.#route = route;
    this.#pending = after === bytes.length ? EMPTY : bytes.subarray(after);
    this.#state = REQUEST;
    this.#headSent = false;
    this.#closeAfter = this.#draining || !request.keepAlive;
    this.#bodyLeft = request.framing;
    const requestId = this.#context.ids.next();
    const isTraced = parser.has(NAME.traceparent);
    const exchange = new Exchange(this.#context, this, this.#connection, request, {
      route,
      facts: this.#facts,
      requestId,
      lines: requestLines(this.#context, this.#connection, requestId, isTraced),
      since: this.#context.clock.now(),
    });
    this.#exchange = exchange;
    if (request.framing !== 0) {
      this.#chunks =
        request.framing === CHUNKED ? new ChunkedReader(this.#route.port.httpOptions.h2Backend, parser) : undefined;
      const first = this.#takePending();
      if (first.length > 0) this.#readBody(first);
    }
    this.deadline = this.#idleDeadline();
    if (!exchange.settled) exchange.start();
    return true;
  }

  /** Lets go of the socket without closing it. */
  #leave(): void {
    this.#state = CLOSED;
    this.#context.sweeper.remove(this);
    const socket = this.#socket;
    socket.pause();
    socket.off("data", this.#data);
    socket.off("end", this.#end);
    socket.off("drain", this.#drained);
    socket.off("error", this.#error);
    socket.off("close", this.#closed);
    this.#resolve();
  }

  #readBody(bytes: Buffer): void {
    const exchange = this.#exchange;
    if (exchange === undefined) return;
    const chunks = this.#chunks;
    if (chunks !== undefined) {
      const after = chunks.read(bytes, 0);
      if (chunks.problem !== undefined) {
        const error = new AppError("FP07", chunks.problem);
        exchange.status ??= 400;
        exchange.abort(error);
        return this.fail(error);
      }
      if (chunks.done) this.#endBody(after < bytes.length ? bytes.subarray(after) : EMPTY);
      exchange.send(chunks.output, chunks.done, chunks.trailers);
    } else if (bytes.length < this.#bodyLeft) {
      this.#bodyLeft -= bytes.length;
      exchange.send(bytes, false);
    } else {
      const body = bytes.length === this.#bodyLeft ? bytes : bytes.subarray(0, this.#bodyLeft);
      this.#endBody(bytes.subarray(this.#bodyLeft));
      exchange.send(body, true);
    }
    if (this.#state === REQUEST) this.deadline = this.#idleDeadline();
  }

  #endBody(rest: Buffer): void {
    this.#bodyLeft = 0;
    this.#chunks = undefined;
    this.#pending = rest;
  }

  #afterResponse(): void {
    this.#exchange = undefined;
    if (this.#closeAfter || this.#state !== REQUEST) return this.#close();
    this.#state = HEAD;
    if (this.#paused) {
      this.#paused = false;
      this.#socket.resume();
    }
    this.deadline = this.#context.clock.now() + this.#context.limits.keepaliveTimeout;
    // A client that pipelines and does not read must not make us buffer its answers.
    if (this.#socket.writableNeedDrain) {
      this.#awaitingDrain = true;
      this.deadline = this.#stuckDeadline();
    } else if (this.#pending.length > 0 || this.#ended) this.#process();
  }

  /** An answer of ours to bytes that are no request of anybody's app. Nothing after them can be trusted. */
  #refuse(refusal: Refusal, toHead = false): void {
    this.#closeAfter = true;
    this.#pending = EMPTY;
    const error = new AppError(refusal.code, refusal.detail);
    this.#context.onSettled({
      work: undefined,
      subject: this.#connection,
      machine: undefined,
      error,
      code: refusal.code,
      bytesIn: 0,
      bytesOut: 0,
      status: refusal.status ?? responseTo(refusal.code).status,
    });
    this.#socket.write(
      errorResponse(refusal.code, { status: refusal.status, close: true, head: toHead, lines: "" }),
      "latin1",
    );
    this.#close();
  }

  /** Ends our side. The client's last bytes are read and thrown away: closing with unread bytes would reset the connection. */
  #close(): void {
    if (this.#state === CLOSED) return;
    this.#state = CLOSING;
    this.#pending = EMPTY;
    this.deadline = this.#context.clock.now() + CLOSING_MS;
    this.#socket.end();
    this.#socket.resume();
  }

  #takePending(): Buffer {
    const pending = this.#pending;
    this.#pending = EMPTY;
    return pending;
  }

  #edit(decoded: boolean): Parameters<typeof writeResponseHead>[1] {
    return {
      lines: responseLines(this.#exchange?.requestId ?? "", "1.1"),
      options: this.#route.port.httpOptions,
      close: this.#closeAfter,
      decoded,
    };
  }

  // Deadlines.

  get #headTimeout(): number {
    return this.#route.port.httpOptions.headersReadTimeout ?? this.#context.limits.headTimeout;
  }

  /** Between two bytes of an exchange. Without `idle_timeout` only a client that owes us its body is timed. */
  #idleDeadline(): number {
    const exchange = this.#exchange;
    const { idleTimeout } = this.#route.port.httpOptions;
    if (idleTimeout !== undefined) return this.#context.clock.now() + idleTimeout;
    if (exchange !== undefined && this.#bodyLeft !== 0 && !exchange.responding && !this.#paused) {
      return this.#context.clock.now() + this.#context.limits.keepaliveTimeout;
    }
    // It may have left without a reset: then nobody notices before the next byte of the answer.
    return this.#ended ? this.#context.clock.now() + this.#context.limits.halfClosedTimeout : NEVER;
  }

  /** The client does not read what it asked for. */
  #stuckDeadline(): number {
    const { idleTimeout } = this.#route.port.httpOptions;
    return this.#context.clock.now() + (idleTimeout ?? this.#context.limits.halfClosedTimeout);
  }
}

const PREFACE = Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");

/** Whether bytes begin as HTTP/2 with prior knowledge does (RFC 9113 §3.4). Undefined: too few to say. */
function startsPreface(bytes: Buffer): boolean | undefined {
  if (bytes[0] !== 0x50 || (bytes.length > 1 && bytes[1] !== 0x52)) return false; // the common case: no "PR"
  const length = Math.min(bytes.length, PREFACE.length);
  if (PREFACE.compare(bytes, 0, length, 0, length) !== 0) return false;
  return length === PREFACE.length ? true : undefined;
}

function refusalOf(parser: HeadParser): Refusal {
  switch (parser.problem) {
    case "too-large":
    case "too-many-fields":
      return { code: "FP08", detail: parser.reasonRefused };
    case "version":
      return { code: "FP14", status: 505, detail: parser.reasonRefused };
    default:
      return { code: "FP07", detail: parser.reasonRefused };
  }
}
