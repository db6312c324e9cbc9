/** One client connection that speaks HTTP/2: each stream is an exchange of its own. */
import {
  constants,
  type IncomingHttpHeaders,
  performServerHandshake,
  type ServerHttp2Session,
  type ServerHttp2Stream,
} from "node:http2";
import type { Socket } from "node:net";
import { TLSSocket } from "node:tls";
import { AppError } from "../../core/errors.ts";
import type { PortRoute } from "../../registry/view.ts";
import type { Connection } from "../context.ts";
import { responseTo } from "../respond.ts";
import { ChunkedReader } from "./chunked.ts";
import type { HttpContext } from "./context.ts";
import { currentRoute } from "./current-route.ts";
import { errorBody, retryAfterOf } from "./error-response.ts";
import type { Downstream } from "./downstream.ts";
import { Exchange } from "./exchange.ts";
import { CHUNKED, type Framing } from "./framing.ts";
import { requestText, responseFields, trailerFields, trailerLines } from "./h2-text.ts";
import { chunked } from "./h2-upstream.ts";
import { HeadParser, MAX_FIELDS, MAX_HEAD_BYTES } from "./head.ts";
import { NAME } from "./known-names.ts";
import { requestLines, responseLines } from "./our-lines.ts";
import { settleRefusal } from "./refusal.ts";
import { type ClientFacts, isRefusal, readRequestHead, type Refusal } from "./request-head.ts";
import { writeResponseHead } from "./response-head.ts";
import type { Swept } from "./sweeper.ts";

const MAX_STREAMS = 100;
/** Streams that a client may reset within RESET_WINDOW_MS (CVE-2023-44487; Node 20 has no working limit of its own). */
const MAX_RESETS = 100;
const RESET_WINDOW_MS = 10_000;
const NEVER = Number.POSITIVE_INFINITY;

export class Http2Connection implements Swept {
  deadline: number;
  readonly done: Promise<void>;
  readonly #context: HttpContext;
  readonly #connection: Connection;
  readonly #facts: ClientFacts;
  readonly #session: ServerHttp2Session;
  readonly #exchanges = new Set<Exchange>();
  #resets = 0;
  #windowStart = 0;

  /** `socket` has no listeners of ours left; bytes that were read already are put back into it by the caller. */
  constructor(context: HttpContext, connection: Connection, facts: ClientFacts, socket: Socket) {
    this.#context = context;
    this.#connection = connection;
    this.#facts = facts;
    this.deadline = context.clock.now() + context.limits.keepaliveTimeout;
    const session = performServerHandshake(socket, {
      maxHeaderListPairs: MAX_FIELDS + 8,
      maxSessionMemory: 10,
      maxSendHeaderBlockLength: MAX_HEAD_BYTES,
      settings: { maxConcurrentStreams: MAX_STREAMS, maxHeaderListSize: MAX_HEAD_BYTES, enablePush: false },
    });
    this.#session = session;
    // A TLSSocket that was not made by a tls.Server counts as connecting for ever, and the session waits for this.
    if (socket instanceof TLSSocket) socket.emit("secureConnect");
    session.on("stream", (stream: ServerHttp2Stream, headers: IncomingHttpHeaders, flags: number, raw: unknown) => {
      this.#onStream(stream, headers[":method"] ?? "", (flags & constants.NGHTTP2_FLAG_END_STREAM) !== 0, raw);
    });
    session.on("error", () => undefined); // each stream is told, and `close` follows
    // HTTP/2 has no half-close of connections: without its window updates and settings there is nobody to answer. Our
    // sockets stay half open by themselves, so a client that was killed would hold a silent Machine for ever.
    socket.once("end", () => session.destroy());
    this.done = new Promise((resolve) => {
      session.on("close", () => {
        context.sweeper.remove(this);
        for (const exchange of this.#exchanges) exchange.abort(new AppError("FP10"));
        resolve();
      });
    });
    context.sweeper.add(this);
  }

  /** Tells the client to open no more streams; ends when the last one has. */
  drain(): void {
    this.#session.close();
  }

  destroy(error: AppError): void {
    for (const exchange of this.#exchanges) exchange.abort(error);
    this.#session.destroy();
  }

  expire(): void {
    this.deadline = NEVER;
    if (this.#exchanges.size === 0) this.#session.close();
  }

  #onStream(stream: ServerHttp2Stream, method: string, endStream: boolean, raw: unknown): void {
    const route = currentRoute(this.#context.view, this.#connection);
    const served = new ServedStream(stream, route ?? this.#connection.route);
    stream.on("error", () => undefined); // `close` follows
    stream.on("aborted", () => this.#onReset());
    const refusalOrRequest = this.#read(method, endStream, Array.isArray(raw) ? (raw as string[]) : []);
    if (isRefusal(refusalOrRequest)) {
      this.#refuse(served, refusalOrRequest);
      return;
    }
    if (route === undefined) {
      this.#refuse(served, { code: "FP01", detail: "nothing is served there any more" });
      this.#session.close(); // says so to the client (GOAWAY), and ends with the streams that are being served
      return;
    }
    const request = refusalOrRequest;
    const { clock, ids } = this.#context;
    const requestId = ids.next();
    const isTraced = this.#context.parser.has(NAME.traceparent);
    const exchange = new Exchange(this.#context, served, this.#connection, request, {
      route,
      facts: this.#facts,
      requestId,
      lines: requestLines(this.#context, this.#connection, requestId, isTraced),
      since: clock.now(),
    });
    served.attach(exchange, request.framing);
    this.#exchanges.add(exchange);
    this.deadline = NEVER;
    stream.on("close", () => {
      exchange.abort(new AppError("FP10"));
      this.#exchanges.delete(exchange);
      if (this.#exchanges.size === 0) this.deadline = clock.now() + this.#context.limits.keepaliveTimeout;
    });
    exchange.start();
  }

  #read(method: string, endStream: boolean, raw: readonly string[]): ReturnType<typeof readRequestHead> {
    if (method === "CONNECT") return { code: "FP14", status: 405, detail: "CONNECT" };
    const text = requestText(raw, endStream);
    if (text === undefined) return { code: "FP07", detail: "fields that HTTP/2 does not allow" };
    const bytes = Buffer.from(text, "latin1");
    const { parser } = this.#context;
    const end = parser.parseRequest(bytes, 0, bytes.length);
    if (end !== bytes.length) {
      const tooLarge = parser.problem !== "malformed" && parser.problem !== "version";
      return { code: tooLarge ? "FP08" : "FP07", detail: parser.reasonRefused };
    }
    const request = readRequestHead(parser, this.#facts);
    if (!isRefusal(request) && endStream && request.framing !== 0) {
      return { code: "FP07", detail: "a length without a body" };
    }
    return request;
  }

  #refuse(served: ServedStream, refusal: Refusal): void {
    const { error, status } = settleRefusal(this.#context, this.#connection, refusal);
    served.answer(error, status);
  }

  #onReset(): void {
    const now = this.#context.clock.now();
    if (now - this.#windowStart > RESET_WINDOW_MS) {
      this.#windowStart = now;
      this.#resets = 0;
    }
    if (++this.#resets > MAX_RESETS) this.#session.destroy(undefined, constants.NGHTTP2_ENHANCE_YOUR_CALM);
  }
}

/** The client's side of one exchange: one stream. */
class ServedStream implements Downstream {
  readonly protocol = "HTTP/2";
  readonly decodes = true;
  readonly #stream: ServerHttp2Stream;
  readonly #route: PortRoute;
  #exchange: Exchange | undefined;
  #trailers = "";

  constructor(stream: ServerHttp2Stream, route: PortRoute) {
    this.#stream = stream;
    this.#route = route;
  }

  /** Passes the body on in the framing that the Machine gets. */
  attach(exchange: Exchange, framing: Framing): void {
    this.#exchange = exchange;
    const stream = this.#stream;
    if (framing === 0) {
      stream.resume();
      return;
    }
    const asChunks = framing === CHUNKED && !this.#route.port.httpOptions.h2Backend;
    let left = framing;
    let requestTrailers = "";
    stream.on("trailers", (_headers: object, _flags: number, raw: unknown) => {
      requestTrailers = trailerLines(Array.isArray(raw) ? (raw as string[]) : []);
    });
    stream.on("data", (chunk: Buffer) => {
      left -= chunk.length;
      if (framing !== CHUNKED && left < 0) return stream.close(constants.NGHTTP2_PROTOCOL_ERROR);
      exchange.send(asChunks ? chunked(chunk) : chunk, false);
    });
    stream.on("end", () => {
      if (stream.aborted || exchange.settled) return;
      if (framing !== CHUNKED && left !== 0) return stream.close(constants.NGHTTP2_PROTOCOL_ERROR);
      if (framing !== CHUNKED) return exchange.send(EMPTY, true);
      // Through the strict reader, which knows what a trailer may not say.
      const reader = new ChunkedReader(!asChunks, new HeadParser());
      reader.read(Buffer.from(`0\r\n${requestTrailers}\r\n`, "latin1"), 0);
      if (!reader.done) return stream.close(constants.NGHTTP2_PROTOCOL_ERROR);
      exchange.send(reader.output, true, reader.trailers);
    });
    stream.on("drain", () => exchange.resumeResponse());
  }

  inform(head: HeadParser): void {
    if (this.#stream.headersSent || this.#stream.destroyed) return;
    const fields = responseFields(writeResponseHead(head, this.#edit()));
    orEnd(this.#stream, () => this.#stream.additionalHeaders(fields));
  }

  switchProtocols(): void {
    // Never asked for: `Upgrade` has no place in HTTP/2.
    this.#stream.close(constants.NGHTTP2_INTERNAL_ERROR);
  }

  respond(head: HeadParser, framing: Framing, body: Buffer | undefined, done: boolean, trailers: string): boolean {
    const stream = this.#stream;
    if (stream.destroyed || stream.closed) return true;
    const over = done && (body === undefined || body.length === 0) && trailers === "";
    const mayTrail = framing === CHUNKED && !over;
    const text = writeResponseHead(head, this.#edit());
    const sent = orEnd(stream, () =>
      stream.respond(responseFields(text), { endStream: over, waitForTrailers: mayTrail }),
    );
    if (!sent) return true;
    if (over) return true;
    stream.on("wantTrailers", () => {
      orEnd(stream, () => stream.sendTrailers(trailerFields(this.#trailers))); // without any, Node ends the data instead
    });
    stream.on("drain", () => this.#exchange?.resumeResponse());
    return body === undefined && !done ? true : this.write(body ?? EMPTY, done, trailers);
  }

  write(chunk: Buffer, done: boolean, trailers: string): boolean {
    const stream = this.#stream;
    if (stream.destroyed || stream.closed) return true;
    const flowing = chunk.length === 0 || stream.write(chunk);
    if (done) {
      this.#trailers = trailers;
      stream.end();
    }
    return flowing;
  }

  endWrites(): void {
    this.#stream.end();
  }

  fail(error: AppError): void {
    // Destroyed, not closed: closing waits for an end of the data that will not come.
    if (this.#stream.headersSent) this.#stream.destroy(error);
    else this.answer(error, responseTo(error.code).status);
  }

  /** An answer of ours. */
  answer(error: AppError, status: number): void {
    const stream = this.#stream;
    if (stream.destroyed || stream.closed) return;
    const retryAfter = retryAfterOf(error.code);
    stream.respond({
      ":status": status,
      "content-type": "text/plain; charset=utf-8",
      "cache-control": "no-store",
      ...(retryAfter === undefined ? {} : { "retry-after": String(retryAfter) }),
    });
    stream.end(errorBody(error.code));
    stream.resume();
  }

  pauseRequest(): void {
    this.#stream.pause();
  }

  resumeRequest(): void {
    this.#stream.resume();
  }

  #edit(): Parameters<typeof writeResponseHead>[1] {
    return {
      lines: responseLines(this.#exchange?.requestId ?? "", "2"),
      options: this.#route.port.httpOptions,
      close: false,
      decoded: true,
    };
  }
}

const EMPTY = Buffer.alloc(0);

/** Node throws at fields that it does not like. They come from a Machine: the stream ends, and nothing else. */
function orEnd(stream: ServerHttp2Stream, send: () => void): boolean {
  try {
    send();
    return true;
  } catch {
    stream.close(constants.NGHTTP2_INTERNAL_ERROR);
    return false;
  }
}
