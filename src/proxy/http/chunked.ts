/**
 * Strict reader of the chunked coding (RFC 9112 §7.1). Chunks pass through as they came; extensions, which nobody
 * needs and some servers misread, are left out; trailers are checked like a head, and filtered.
 */
import { VALUE } from "./characters.ts";
import { type HeadParser, INCOMPLETE, isHopByHop, MAX_HEAD_BYTES, REFUSED } from "./head.ts";
import { NAME } from "./known-names.ts";

const SIZE = 0;
const EXTENSION = 1;
const SIZE_LF = 2;
const DATA = 3;
const DATA_CR = 4;
const DATA_LF = 5;
const TRAILERS = 6;
const DONE = 7;

const CR = 0x0d;
const LF = 0x0a;
const SEMICOLON = 0x3b;
const MAX_SIZE_DIGITS = 13; // 52 bits
const MAX_EXTENSION_BYTES = 16 * 1024; // of one message
const EMPTY = Buffer.alloc(0);

export class ChunkedReader {
  /** What the last `read` handed on: chunks with their framing, or only the data when decoding. */
  output: Buffer = EMPTY;
  done = false;
  /** Set when the coding is broken: nothing after it can be trusted. */
  problem: string | undefined;
  /** Trailer lines that may be passed on, each with CR LF. Complete when `done`. */
  trailers = "";

  #state = SIZE;
  #size = 0;
  #digits = 0;
  #extension = 0;
  #trailerBytes: Buffer[] = [];
  #trailerLength = 0;
  readonly #decode: boolean;
  readonly #parser: HeadParser;

  constructor(decode: boolean, parser: HeadParser) {
    this.#decode = decode;
    this.#parser = parser;
  }

  /** Reads `bytes` from `start`. Returns the offset after the last byte that belongs to the message. */
  read(bytes: Buffer, start: number): number {
    const end = bytes.length;
    const parts: Buffer[] = [];
    let i = start;
    let kept = start; // start of the run of bytes that goes out as it is
    if (this.#decode && this.#state !== DATA) kept = -1;
    while (i < end) {
      switch (this.#state) {
        case SIZE: {
          const byte = bytes[i] as number;
          const digit = hexDigit(byte);
          if (digit >= 0) {
            if (++this.#digits > MAX_SIZE_DIGITS) return this.#fail("a chunk size that is too long", i);
            this.#size = this.#size * 16 + digit;
            i++;
          } else if (this.#digits === 0) {
            return this.#fail("a chunk size is missing", i);
          } else if (byte === CR) {
            this.#state = SIZE_LF;
            i++;
          } else if (byte === SEMICOLON) {
            if (kept >= 0 && i > kept) parts.push(bytes.subarray(kept, i));
            kept = -1;
            this.#state = EXTENSION;
            i++;
          } else {
            return this.#fail("a chunk size is not a hexadecimal number", i);
          }
          break;
        }
        case EXTENSION: {
          const byte = bytes[i] as number;
          if (byte === CR) {
            if (!this.#decode) kept = i;
            this.#state = SIZE_LF;
          } else if (VALUE[byte] !== 1) {
            return this.#fail("a control byte in a chunk extension", i);
          } else if (++this.#extension > MAX_EXTENSION_BYTES) {
            return this.#fail("chunk extensions are too long", i);
          }
          i++;
          break;
        }
        case SIZE_LF:
          if (bytes[i] !== LF) return this.#fail("a chunk size line does not end in CR LF", i);
          i++;
          this.#digits = 0;
          if (this.#size === 0) {
            if (kept >= 0 && i > kept) parts.push(bytes.subarray(kept, i));
            kept = -1;
            this.#state = TRAILERS;
          } else {
            if (this.#decode) kept = i;
            this.#state = DATA;
          }
          break;
        case DATA: {
          const take = Math.min(this.#size, end - i);
          this.#size -= take;
          i += take;
          if (this.#size === 0) {
            if (this.#decode) {
              parts.push(bytes.subarray(kept, i));
              kept = -1;
            }
            this.#state = DATA_CR;
          }
          break;
        }
        case DATA_CR:
          if (bytes[i] !== CR) return this.#fail("a chunk is longer than its size", i);
          this.#state = DATA_LF;
          i++;
          break;
        case DATA_LF:
          if (bytes[i] !== LF) return this.#fail("a chunk does not end in CR LF", i);
          this.#state = SIZE;
          i++;
          break;
        case TRAILERS: {
          const after = this.#readTrailers(bytes, i);
          if (this.problem !== undefined) return after;
          if (this.done && !this.#decode) parts.push(Buffer.from(`${this.trailers}\r\n`, "latin1"));
          this.#finish(parts, bytes, start, -1, after);
          return after;
        }
        default:
          return i;
      }
    }
    this.#finish(parts, bytes, start, kept, i);
    return i;
  }

  #finish(parts: Buffer[], bytes: Buffer, start: number, kept: number, end: number): void {
    if (kept >= 0 && end > kept) {
      if (parts.length === 0) {
        // The common case: everything goes on as it came.
        this.output = kept === 0 && end === bytes.length ? bytes : bytes.subarray(kept, end);
        return;
      }
      parts.push(bytes.subarray(kept, end));
    }
    if (parts.length === 0) this.output = EMPTY;
    else if (parts.length === 1) this.output = parts[0] ?? EMPTY;
    else if (this.done && !this.#decode && this.trailers === "" && this.#extension === 0 && this.#trailerLength <= 2) {
      // Nothing was left out: one view instead of a copy, as long as the final CR LF is in these bytes.
      const whole = parts.reduce((sum, part) => sum + part.length, 0);
      this.output = end - start === whole ? bytes.subarray(start, end) : Buffer.concat(parts);
    } else this.output = Buffer.concat(parts);
  }

  #readTrailers(bytes: Buffer, start: number): number {
    // Nearly always there are none, and the empty line is in the same packet.
    if (this.#trailerLength === 0 && bytes[start] === CR && bytes[start + 1] === LF) {
      this.#trailerLength = 2;
      return this.#end(start + 2);
    }
    const before = this.#trailerLength;
    const held = before === 0 ? bytes.subarray(start) : Buffer.concat([...this.#trailerBytes, bytes.subarray(start)]);
    const after = this.#parser.parseTrailers(held, 0, held.length);
    if (after === REFUSED) return this.#fail(`trailers: ${this.#parser.reasonRefused}`, start);
    if (after === INCOMPLETE) {
      if (held.length > MAX_HEAD_BYTES) return this.#fail("trailers are too large", start);
      this.#trailerBytes = [held];
      this.#trailerLength = held.length;
      return bytes.length;
    }
    const trailers = passableTrailers(this.#parser);
    if (trailers === undefined) return this.#fail("a trailer that changes the framing", start);
    this.trailers = trailers;
    this.#trailerBytes = [];
    this.#trailerLength = after;
    return this.#end(start + after - before);
  }

  #end(offset: number): number {
    this.#state = DONE;
    this.done = true;
    return offset;
  }

  #fail(problem: string, offset: number): number {
    this.problem = problem;
    this.output = EMPTY;
    return offset;
  }
}

/**
 * Trailers without what would change the message's routing or our own statements (RFC 9110 §6.5.1). Undefined when one
 * of them speaks of the framing: that is an attack, or a Machine that has lost count.
 */
function passableTrailers(head: HeadParser): string | undefined {
  let lines = "";
  for (let i = 0; i < head.count; i++) {
    const kind = head.kind(i);
    if (kind === NAME["content-length"] || kind === NAME["transfer-encoding"] || kind === NAME.host) return undefined;
    if (kind !== NAME.other && (isHopByHop(kind) || FORBIDDEN_IN_TRAILERS.has(kind))) continue;
    lines += `${head.text.slice(head.nameStart[i], head.nameEnd[i])}: ${head.value(i)}\r\n`;
  }
  return lines;
}

const FORBIDDEN_IN_TRAILERS: ReadonlySet<number> = new Set([
  NAME.fly,
  NAME["content-encoding"],
  NAME["content-type"],
  NAME["content-range"],
  NAME["cache-control"],
  NAME.expect,
  NAME.te,
  NAME.trailer,
  NAME.cookie,
  NAME.via,
  NAME["x-forwarded-for"],
  NAME["x-forwarded-proto"],
  NAME["x-forwarded-ssl"],
  NAME["x-forwarded-port"],
]);

function hexDigit(byte: number): number {
  if (byte >= 0x30 && byte <= 0x39) return byte - 0x30;
  const lower = byte | 0x20;
  return lower >= 0x61 && lower <= 0x66 ? lower - 0x57 : -1;
}

/** Data as one chunk. */
export function chunked(data: Buffer): Buffer {
  return Buffer.concat([Buffer.from(`${data.length.toString(16)}\r\n`, "latin1"), data, CRLF]);
}

const CRLF = Buffer.from("\r\n");
