import { constants, type ServerHttp2Stream } from "node:http2";
import type { AppError } from "../../core/errors.ts";
import type { PortRoute } from "../../registry/view.ts";
import { responseTo } from "../respond.ts";
import { chunked, ChunkedReader } from "./chunked.ts";
import type { Downstream } from "./downstream.ts";
import { errorBody, retryAfterOf } from "./error-response.ts";
import type { Exchange } from "./exchange.ts";
import { CHUNKED, type Framing } from "./framing.ts";
import { responseFields, trailerFields, trailerLines } from "./h2-text.ts";
import { HeadParser } from "./head.ts";
import { responseLines } from "./our-lines.ts";
import { writeResponseHead } from "./response-head.ts";

/** The client's side of one exchange: one stream. */
export class ServedStream implements Downstream {
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
