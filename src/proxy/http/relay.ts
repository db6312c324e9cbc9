/**
 * One client connection that speaks HTTP/1.1: reads requests one after the other, writes their responses in order.
 *
 *     head ──▶ request ──▶ head …         keep-alive; pipelined bytes wait until their turn
 *                 ├──▶ switched           after 101: bytes, half-close kept
 *                 └──▶ closing            the response is written; what still comes is read and thrown away
 */
import type { Socket } from "node:net";
import { AppError } from "../../core/errors.ts";
import type { Monotonic } from "../../core/units.ts";
import type { PortRoute } from "../../registry/view.ts";
import type { Connection } from "../context.ts";
import { responseTo } from "../respond.ts";
import type { HttpContext } from "./context.ts";
import { currentRoute } from "./current-route.ts";
import { headDeadline, idleDeadline, NEVER, stuckDeadline } from "./deadlines.ts";
import type { Downstream } from "./downstream.ts";
import { Exchange } from "./exchange.ts";
import type { Framing } from "./framing.ts";
import type { HeadParser } from "./head.ts";
import { NAME } from "./known-names.ts";
import { requestLines } from "./our-lines.ts";
import { settleRefusal } from "./refusal.ts";
import { type ClientFacts, isRefusal, type Refusal } from "./request-head.ts";
import { RequestReader } from "./request-reader.ts";
import { ResponseWriter } from "./response-writer.ts";
import type { Swept } from "./sweeper.ts";

const HEAD = 0;
const REQUEST = 1;
const SWITCHED = 2;
const CLOSING = 3;
const CLOSED = 4;

/** How long a client has to read our last response before the connection is cut. */
const CLOSING_MS = 5000;
/** A head that is there so soon after its connection came with it: the client has waited since then, and not we for it. */
const AT_ONCE_MS = 20;

export class Http1Connection implements Downstream, Swept {
  deadline: number;
  readonly done: Promise<void>;

  readonly #context: HttpContext;
  readonly #connection: Connection;
  readonly #facts: ClientFacts;
  readonly #socket: Socket;
  readonly #reader: RequestReader;
  readonly #writer: ResponseWriter;
  /** Of the request that is being served; each one asks anew. */
  #route: PortRoute;
  #resolve: () => void = () => undefined;
  #state = HEAD;
  #exchange: Exchange | undefined;
  #ended = false;
  #draining = false;
  #hasServed = false;
  #processing = false;
  #awaitingDrain = false;
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
    this.#reader = new RequestReader(context.parser, facts);
    this.#writer = new ResponseWriter(socket, connection.route.port.httpOptions, context.date);
    this.#socket = socket;
    this.deadline = headDeadline(context, connection.route);
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
    this.#writer.closes = true;
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
        if (this.#reader.waiting === 0) return this.#close();
        return this.#refuse({ code: "FP09", detail: "the head did not arrive in time" }, false);
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
    return this.#writer.isOld ? "HTTP/1.0" : "HTTP/1.1";
  }

  get decodes(): boolean {
    return this.#writer.isOld;
  }

  inform(head: HeadParser): void {
    this.#writer.inform(head);
  }

  switchProtocols(head: HeadParser): void {
    this.#state = SWITCHED;
    this.deadline = NEVER;
    this.#writer.switchProtocols(head);
    const early = this.#reader.takeWaiting();
    if (early.length > 0) this.#exchange?.send(early, false);
    this.resumeRequest();
    if (this.#ended) this.#exchange?.endSends();
  }

  respond(head: HeadParser, framing: Framing, body: Buffer | undefined, done: boolean): boolean {
    // A request whose body is still to come may never end: no other can follow it.
    if (this.#reader.isWithinBody) this.#writer.closes = true;
    const flowing = this.#writer.respond(head, framing, body);
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
    if (this.#writer.headSent) {
      this.#state = CLOSED;
      // A reset, so that nobody takes what they have for all there is. TLS says it by ending without its last word.
      if (this.#connection.tls === undefined) this.#socket.resetAndDestroy();
      else this.#socket.destroy();
      return;
    }
    if (this.#reader.isWithinBody || responseTo(error.code).close) this.#writer.closes = true;
    this.#writer.fail(error.code);
    this.#afterResponse();
  }

  pauseRequest(): void {
    this.#paused = true;
    this.#socket.pause();
  }

  resumeRequest(): void {
    if (!this.#paused) return; // nearly always
    if (this.#state === REQUEST && !this.#reader.isWithinBody && this.#holdsEnough) return;
    this.#paused = false;
    this.#socket.resume();
    if (this.#state === REQUEST) this.deadline = this.#idleDeadline(); // from now on the client owes us its body again
  }

  // What the socket says.

  #onData(chunk: Buffer): void {
    switch (this.#state) {
      case REQUEST:
        if (this.#reader.isWithinBody) return this.#readBody(chunk);
        // The next request, or the first bytes of a new protocol: theirs is not the turn yet.
        this.#reader.add(chunk);
        if (this.#holdsEnough) this.pauseRequest();
        return;
      case HEAD:
        this.#reader.add(chunk);
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
        if (this.#reader.isWithinBody) this.#onGone(new AppError("FP10"));
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
    while (this.#state === HEAD && this.#reader.waiting > 0 && !this.#awaitingDrain) {
      if (!this.#readHead()) break;
    }
    this.#processing = false;
    if (this.#state === HEAD && this.#ended && !this.#awaitingDrain) this.#close();
  }

  /** Returns false when bytes are missing. */
  #readHead(): boolean {
    const context = this.#context;
    const reader = this.#reader;
    const { begun } = reader;
    const request = reader.readHead();
    if (request === "incomplete") {
      if (!begun) this.deadline = headDeadline(context, this.#route);
      return false;
    }
    if (request === "http2") {
      this.#leave();
      this.#onHttp2(reader.takeWaiting());
      return false;
    }
    if (isRefusal(request)) {
      this.#refuse(request, false);
      return true;
    }
    const route = currentRoute(context.view, this.#connection);
    if (route === undefined) {
      this.#refuse({ code: "FP01", detail: "nothing is served there any more" }, request.method === "HEAD");
      return true;
    }
    this.#route = route;
    this.#state = REQUEST;
    const requestId = context.ids.next();
    this.#writer.begin(request, requestId, route.port.httpOptions, this.#draining || !request.keepAlive);
    const isTraced = context.parser.has(NAME.traceparent);
    const exchange = new Exchange(context, this, this.#connection, request, {
      route,
      facts: this.#facts,
      requestId,
      lines: requestLines(context, this.#connection, requestId, isTraced),
      since: this.#begins(),
    });
    this.#exchange = exchange;
    if (request.framing !== 0) {
      reader.beginBody(request.framing, route.port.httpOptions.h2Backend);
      if (reader.waiting > 0) this.#readBody(reader.takeWaiting());
    }
    this.deadline = this.#idleDeadline();
    if (!exchange.settled) exchange.start();
    return true;
  }

  /** When the request began: at the end of its head, or, for one that came with its connection, when that was accepted. */
  #begins(): Monotonic {
    const now = this.#context.clock.now();
    const { acceptedAt, tls } = this.#connection;
    const cameAlong = !this.#hasServed && tls === undefined && now - acceptedAt <= AT_ONCE_MS;
    this.#hasServed = true;
    return cameAlong ? acceptedAt : now;
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
    const reader = this.#reader;
    const done = reader.readBody(bytes);
    if (reader.problem !== undefined) {
      const error = new AppError("FP07", reader.problem);
      exchange.status ??= 400;
      exchange.abort(error);
      return this.fail(error);
    }
    exchange.send(reader.output, done, done ? reader.trailers : "");
    if (this.#state === REQUEST) this.deadline = this.#idleDeadline();
  }

  #afterResponse(): void {
    this.#exchange = undefined;
    if (this.#writer.closes || this.#state !== REQUEST) return this.#close();
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
    } else if (this.#reader.waiting > 0 || this.#ended) this.#process();
  }

  /** An answer of ours to bytes that are no request of anybody's app. Nothing after them can be trusted. */
  #refuse(refusal: Refusal, toHead: boolean): void {
    const { status } = settleRefusal(this.#context, this.#connection, refusal);
    this.#writer.refuse(refusal.code, status, toHead);
    this.#close();
  }

  /** Ends our side. The client's last bytes are read and thrown away: closing with unread bytes would reset the connection. */
  #close(): void {
    if (this.#state === CLOSED) return;
    this.#state = CLOSING;
    this.#reader.takeWaiting(); // nothing after this can be trusted, or was asked to be kept
    this.deadline = this.#context.clock.now() + CLOSING_MS;
    this.#socket.end();
    this.#socket.resume();
  }

  get #holdsEnough(): boolean {
    return this.#reader.waiting >= this.#context.limits.holdBuffer;
  }

  #idleDeadline(): number {
    const owesBody = this.#reader.isWithinBody && !this.#paused && this.#exchange?.responding === false;
    return idleDeadline(this.#context, this.#route, owesBody, this.#ended);
  }

  #stuckDeadline(): number {
    return stuckDeadline(this.#context, this.#route);
  }
}
