import {
  type ClientHttp2Session,
  type ClientHttp2Stream,
  constants,
  type IncomingHttpHeaders,
  type OutgoingHttpHeaders,
} from "node:http2";
import { AppError } from "../../core/errors.ts";
import { chunked } from "./chunked.ts";
import { CHUNKED } from "./framing.ts";
import { responseText, trailerFields, trailerLines } from "./h2-text.ts";
import { HeadParser } from "./head.ts";
import { MAX_INFORMATIONAL, type ResponseSink, type Upstream } from "./upstream.ts";

const EMPTY = Buffer.alloc(0);

/** One stream, in the shape of a connection that speaks HTTP/1.1. */
export class UpstreamStream implements Upstream {
  readonly served: number;
  readonly reusable = false; // a stream is for one request; its session stays
  answered = false;
  trailers = "";
  readonly #session: ClientHttp2Session;
  readonly #onDone: () => void;
  #stream: ClientHttp2Stream | undefined;
  #sink: ResponseSink | undefined;
  #over = false;
  #responded = false;
  #chunkOut = false;
  #toHead = false;
  #requestTrailers = "";
  #released = false;
  #informational = 0;

  constructor(session: ClientHttp2Session, served: number, onDone: () => void) {
    this.#session = session;
    this.served = served;
    this.#onDone = onDone;
  }

  begin(sink: ResponseSink, how: { toHead: boolean }): void {
    this.#sink = sink;
    this.#toHead = how.toHead;
  }

  sendHead(head: string, body: readonly Buffer[], bodyDone: boolean, trailers: string): boolean {
    let stream: ClientHttp2Stream;
    try {
      stream = this.#session.request(requestFields(head), {
        endStream: bodyDone && body.length === 0 && trailers === "",
        waitForTrailers: head.includes("\r\nTransfer-Encoding: chunked\r\n"),
      });
    } catch (error) {
      // Reported as a failure of the connection would be: later, and not from within the call.
      queueMicrotask(() => this.#fail(new AppError("PU01", undefined, { cause: error })));
      return true;
    }
    this.#stream = stream;
    stream.on("headers", (headers: IncomingHttpHeaders, _flags: number, raw: unknown) =>
      this.#onInformational(headers, raw),
    );
    stream.on("response", (headers: IncomingHttpHeaders, flags: number, raw: unknown) =>
      this.#onResponse(headers, flags, raw),
    );
    stream.on(
      "trailers",
      (_headers: IncomingHttpHeaders, _flags: number, raw: unknown) => (this.trailers = trailerLines(rawOf(raw))),
    );
    stream.on("data", (chunk: Buffer) => this.#onData(chunk));
    stream.on("wantTrailers", () => {
      // A client's, checked by our parser; what Node does not like of them ends this stream and nothing else.
      try {
        stream.sendTrailers(trailerFields(this.#requestTrailers));
      } catch {
        stream.close(constants.NGHTTP2_INTERNAL_ERROR);
      }
    });
    stream.on("end", () => this.#onEnd());
    stream.on("drain", () => this.#sink?.onUpstreamDrain());
    stream.on("error", (error) =>
      this.#fail(new AppError(this.answered ? "PU02" : "PC03", undefined, { cause: error })),
    );
    stream.on("close", () => this.#onClose());
    let flowing = true;
    this.#requestTrailers = trailers;
    for (const chunk of body) flowing = stream.write(chunk);
    if (bodyDone && (body.length > 0 || trailers !== "")) stream.end();
    return flowing;
  }

  send(chunk: Buffer, bodyDone: boolean, trailers: string): boolean {
    const stream = this.#stream;
    if (stream === undefined || stream.destroyed || stream.writableEnded) return true;
    const flowing = chunk.length === 0 || stream.write(chunk);
    if (bodyDone) {
      this.#requestTrailers = trailers;
      stream.end();
    }
    return flowing;
  }

  endSends(): void {
    this.#stream?.end();
  }

  pause(): void {
    this.#stream?.pause();
  }

  resume(): void {
    this.#stream?.resume();
  }

  /** Ends the stream, cancelling it when it is not over; its session goes on. */
  destroy(): void {
    this.#sink = undefined;
    const stream = this.#stream;
    if (stream !== undefined && !stream.closed) {
      stream.close(this.#over ? constants.NGHTTP2_NO_ERROR : constants.NGHTTP2_CANCEL);
    }
    if (stream === undefined) this.#onClose();
  }

  #onInformational(headers: IncomingHttpHeaders, raw: unknown): void {
    this.answered = true;
    if (++this.#informational > MAX_INFORMATIONAL) return this.#fail(new AppError("PU02", "too many 1xx responses"));
    const text = responseText(headers, rawOf(raw), "length");
    const head = text === undefined ? undefined : parsed(text);
    if (head !== undefined && head.status !== 101) this.#sink?.onInformational(head);
  }

  #onResponse(headers: IncomingHttpHeaders, flags: number, raw: unknown): void {
    this.answered = true;
    this.#responded = true;
    const sink = this.#sink;
    if (sink === undefined) return;
    const status = Number(headers[":status"]);
    const over = (flags & constants.NGHTTP2_FLAG_END_STREAM) !== 0;
    const bodiless = this.#toHead || status === 204 || status === 304;
    const hasLength = headers["content-length"] !== undefined;
    const framing = over || bodiless ? (bodiless ? "length" : "none") : hasLength ? "length" : "chunked";
    const text = responseText(headers, rawOf(raw), framing);
    const head = text === undefined ? undefined : parsed(text);
    if (head === undefined) return this.#fail(new AppError("PU02", "the head of the response is malformed"));
    this.#chunkOut = framing === "chunked" && !sink.decodes(head);
    if (over) this.#finish();
    sink.onResponse(head, framing === "chunked" ? CHUNKED : 0, undefined, over);
  }

  #onData(chunk: Buffer): void {
    if (!this.#chunkOut) return this.#sink?.onBody(chunk, false);
    this.#sink?.onBody(chunked(chunk), false);
  }

  #onEnd(): void {
    const sink = this.#sink;
    if (!this.#responded || this.#over || sink === undefined) return;
    this.#finish();
    sink.onBody(this.#chunkOut ? Buffer.from(`0\r\n${this.trailers}\r\n`, "latin1") : EMPTY, true);
  }

  #finish(): void {
    this.#over = true;
  }

  #onClose(): void {
    this.#fail(new AppError(this.answered ? "PU02" : "PC03", "the Machine closed the stream"));
    if (this.#released) return;
    this.#released = true;
    this.#onDone();
  }

  #fail(error: AppError): void {
    const sink = this.#sink;
    this.#sink = undefined;
    if (this.#over) return;
    this.#over = true;
    const stream = this.#stream;
    if (stream !== undefined && !stream.closed) stream.close(constants.NGHTTP2_CANCEL);
    sink?.onUpstreamFailure(error);
  }
}

/** The HTTP/1.1 head that we write, as HTTP/2 fields. */
function requestFields(head: string): OutgoingHttpHeaders {
  const lines = head.split("\r\n");
  const [method, path] = (lines[0] ?? "").split(" ");
  const fields: Record<string, string> = { ":method": method ?? "", ":path": path ?? "", ":scheme": "http" };
  for (const line of lines.slice(1)) {
    const colon = line.indexOf(":");
    if (colon <= 0) continue;
    const name = line.slice(0, colon).toLowerCase();
    const value = line.slice(colon + 1).trim();
    if (name === "host") fields[":authority"] = value;
    else if (name === "connection" || name === "transfer-encoding" || name === "upgrade") continue;
    else {
      const before = fields[name];
      fields[name] = before === undefined ? value : `${before}, ${value}`;
    }
  }
  return fields;
}

function parsed(text: string): HeadParser | undefined {
  const bytes = Buffer.from(text, "latin1");
  const parser = new HeadParser();
  return parser.parseResponse(bytes, 0, bytes.length) === bytes.length ? parser : undefined;
}

/** Node hands raw fields as a list of names and values in turn; its types leave them out. */
function rawOf(raw: unknown): readonly string[] {
  return Array.isArray(raw) ? (raw as string[]) : [];
}
