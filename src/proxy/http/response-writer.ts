import type { Socket } from "node:net";
import type { HttpOptions } from "../../config/model.ts";
import type { ErrorCode } from "../../core/errors.ts";
import type { DateLine } from "./date-line.ts";
import { errorResponse } from "./error-response.ts";
import { CHUNKED, type Framing, UNTIL_CLOSE } from "./framing.ts";
import type { HeadParser } from "./head.ts";
import { NAME } from "./known-names.ts";
import { responseLines } from "./our-lines.ts";
import type { RequestHead } from "./request-head.ts";
import { writeResponseHead } from "./response-head.ts";
import { writeTogether } from "./write-together.ts";

/** Writes the answers of one connection of HTTP/1.x, one request's after the other's. */
export class ResponseWriter {
  /** The connection ends after the answer to this request. */
  closes = false;
  headSent = false;
  readonly #socket: Socket;
  readonly #date: DateLine;
  #options: HttpOptions;
  #request: RequestHead | undefined;
  #requestId = "";

  constructor(socket: Socket, options: HttpOptions, date: DateLine) {
    this.#socket = socket;
    this.#date = date;
    this.#options = options;
  }

  /** What is written from now on answers this request. */
  begin(request: RequestHead, requestId: string, options: HttpOptions, closes: boolean): void {
    this.#request = request;
    this.#requestId = requestId;
    this.#options = options;
    this.closes = closes;
    this.headSent = false;
  }

  get isOld(): boolean {
    return this.#request?.minor === 0;
  }

  inform(head: HeadParser): void {
    if (this.isOld) return; // RFC 9110 §15.2: a 1.0 client knows none
    this.#socket.write(this.#head(head, false), "latin1");
  }

  switchProtocols(head: HeadParser): void {
    this.headSent = true;
    this.#socket.write(this.#head(head, false), "latin1");
  }

  /** Returns false when it is time to pause. */
  respond(head: HeadParser, framing: Framing, body: Buffer | undefined): boolean {
    const decoded = framing === CHUNKED && this.isOld;
    if (framing === UNTIL_CLOSE || decoded) this.closes = true;
    this.headSent = true;
    return writeTogether(this.#socket, this.#head(head, decoded), body);
  }

  /** An answer of our own to the request. */
  fail(code: ErrorCode): void {
    const request = this.#request;
    const how = {
      close: this.closes,
      head: request?.method === "HEAD",
      lines: this.#date.text + (request === undefined ? "" : responseLines(this.#requestId, "1.1")),
    };
    this.#socket.write(errorResponse(code, how), "latin1");
  }

  /** An answer of our own to what is no request of anybody's app. */
  refuse(code: ErrorCode, status: number, toHead: boolean): void {
    this.closes = true;
    this.#socket.write(errorResponse(code, { status, close: true, head: toHead, lines: this.#date.text }), "latin1");
  }

  #head(head: HeadParser, decoded: boolean): string {
    return writeResponseHead(head, {
      lines: (head.has(NAME.date) ? "" : this.#date.text) + responseLines(this.#requestId, "1.1"),
      options: this.#options,
      close: this.closes,
      decoded,
    });
  }
}
