/** The bytes of a client that speaks HTTP/1.1, as heads and bodies. What came too early waits here for its turn. */
import { ChunkedReader } from "./chunked.ts";
import { CHUNKED, type Framing } from "./framing.ts";
import { type HeadParser, INCOMPLETE, MAX_HEAD_BYTES, REFUSED } from "./head.ts";
import { type ClientFacts, readRequestHead, type Refusal, type RequestHead } from "./request-head.ts";

const EMPTY = Buffer.alloc(0);
const HEAD_END = Buffer.from("\r\n\r\n");

export class RequestReader {
  /** Of `readBody`: what goes on, in the framing in which it goes on. */
  output: Buffer = EMPTY;
  /** Of `readBody`, when the body is over and was decoded: lines with CR LF. */
  trailers = "";
  /** Of `readBody`: why the body cannot be read on. */
  problem: string | undefined;
  /** Whether the first bytes of a head have come, and not all of it. */
  begun = false;

  readonly #parser: HeadParser;
  readonly #facts: ClientFacts;
  /** Bytes that came and were not looked at yet: an unfinished head, or requests that wait for their turn. */
  #pending: Buffer = EMPTY;
  /** How much of `#pending` is known to hold no end of a head. */
  #searched = 0;
  /** Body bytes that have not come yet; CHUNKED while the chunks last. */
  #bodyLeft: Framing = 0;
  #chunks: ChunkedReader | undefined;
  #first = true;

  constructor(parser: HeadParser, facts: ClientFacts) {
    this.#parser = parser;
    this.#facts = facts;
  }

  /** Bytes that wait. */
  get waiting(): number {
    return this.#pending.length;
  }

  get isWithinBody(): boolean {
    return this.#bodyLeft !== 0;
  }

  add(bytes: Buffer): void {
    this.#pending = this.#pending.length === 0 ? bytes : Buffer.concat([this.#pending, bytes]);
  }

  /** What waits, which is then somebody else's. */
  takeWaiting(): Buffer {
    const pending = this.#pending;
    this.#pending = EMPTY;
    return pending;
  }

  /** Reads a head from what waits. "http2": the connection begins with its preface; the bytes still wait. */
  readHead(): RequestHead | Refusal | "incomplete" | "http2" {
    const bytes = this.#pending;
    if (this.#first) {
      const http2 = startsPreface(bytes);
      if (http2 === true) return "http2";
      if (http2 === undefined) return this.#incomplete();
      this.#first = false;
    }
    // RFC 9112 §2.2: old clients send an empty line after a body.
    const start = bytes[0] === 0x0d && bytes[1] === 0x0a ? 2 : 0;
    if (this.#searched > 0 && bytes.length > 4096 && bytes.length < MAX_HEAD_BYTES) {
      // A head that comes in many small pieces is not parsed from its beginning for each of them.
      if (bytes.indexOf(HEAD_END, Math.max(0, this.#searched - 3)) === -1) {
        this.#searched = bytes.length;
        return this.#incomplete();
      }
    }
    const parser = this.#parser;
    const after = parser.parseRequest(bytes, start, bytes.length);
    if (after === INCOMPLETE) {
      this.#searched = bytes.length;
      return this.#incomplete();
    }
    this.#searched = 0;
    this.begun = false;
    if (after === REFUSED) return refusalOf(parser);
    this.#pending = after === bytes.length ? EMPTY : bytes.subarray(after);
    return readRequestHead(parser, this.#facts);
  }

  #incomplete(): "incomplete" {
    this.begun = true;
    return "incomplete";
  }

  /** What follows is the body of this request. `decode`: chunks are handed on as data only. */
  beginBody(framing: Framing, decode: boolean): void {
    this.#bodyLeft = framing;
    this.#chunks = framing === CHUNKED ? new ChunkedReader(decode, this.#parser) : undefined;
  }

  /** Reads body bytes into `output`; what follows the body waits. Returns whether it is complete. */
  readBody(bytes: Buffer): boolean {
    const chunks = this.#chunks;
    if (chunks !== undefined) {
      const after = chunks.read(bytes, 0);
      this.problem = chunks.problem;
      if (chunks.problem !== undefined) return false;
      this.output = chunks.output;
      if (!chunks.done) return false;
      this.trailers = chunks.trailers;
      this.#endBody(after < bytes.length ? bytes.subarray(after) : EMPTY);
      return true;
    }
    if (bytes.length < this.#bodyLeft) {
      this.#bodyLeft -= bytes.length;
      this.output = bytes;
      return false;
    }
    this.output = bytes.length === this.#bodyLeft ? bytes : bytes.subarray(0, this.#bodyLeft);
    this.trailers = "";
    this.#endBody(bytes.subarray(this.#bodyLeft));
    return true;
  }

  #endBody(rest: Buffer): void {
    this.#bodyLeft = 0;
    this.#chunks = undefined;
    this.#pending = rest;
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
