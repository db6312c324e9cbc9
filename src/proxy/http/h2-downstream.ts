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
import type { Connection } from "../context.ts";
import type { HttpContext } from "./context.ts";
import { currentRoute } from "./current-route.ts";
import { Exchange } from "./exchange.ts";
import { ServedStream } from "./h2-served-stream.ts";
import { requestText } from "./h2-text.ts";
import { MAX_FIELDS, MAX_HEAD_BYTES } from "./head.ts";
import { NAME } from "./known-names.ts";
import { requestLines } from "./our-lines.ts";
import { settleRefusal } from "./refusal.ts";
import { type ClientFacts, isRefusal, readRequestHead, type Refusal } from "./request-head.ts";
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
