/**
 * Strict parser of HTTP/1.1 heads (RFC 9112 §2 to §5): one pass over the bytes, nothing repaired. Bare LF, folded
 * lines, a space before the colon, control bytes, and versions other than 1.0 and 1.1 are refused.
 */
import { TARGET, TOKEN, VALUE } from "./characters.ts";
import { classify, type KnownName, NAME } from "./known-names.ts";

/** Bytes of a head, request or status line included. */
export const MAX_HEAD_BYTES = 64 * 1024;
export const MAX_FIELDS = 128;

/** Results of parsing other than "ends at this offset". */
export const INCOMPLETE = 0;
export const REFUSED = -1;

export type HeadProblem = "malformed" | "too-large" | "too-many-fields" | "version";

const SP = 0x20;
const HTAB = 0x09;
const CR = 0x0d;
const LF = 0x0a;
const COLON = 0x3a;

/**
 * The parser, and the head that it parsed last: valid until the next call. One is enough for all connections of a
 * thread, since nothing is awaited between parsing a head and using it; so a request allocates no arrays.
 */
export class HeadParser {
  /** The whole head as Latin-1, CR LF CR LF included. Offsets below count from its start. */
  text = "";
  /** Where the first line ends (its CR). */
  lineEnd = 0;
  method = "";
  target = "";
  status = 0;
  reason = "";
  /** Minor version: 0 or 1. */
  minor = 1;
  /** Number of fields. */
  count = 0;
  /** Bit n is set when a field of kind n is there. */
  seen = 0;
  readonly kinds = new Uint8Array(MAX_FIELDS);
  readonly nameStart = new Int32Array(MAX_FIELDS);
  readonly nameEnd = new Int32Array(MAX_FIELDS);
  readonly valueStart = new Int32Array(MAX_FIELDS);
  readonly valueEnd = new Int32Array(MAX_FIELDS);
  /** Set when the last call refused. */
  problem: HeadProblem = "malformed";
  /** What was wrong, for the log: never the bytes themselves. */
  reasonRefused = "";

  /** Parses a request head in `bytes` from `start`. Returns the offset after it, INCOMPLETE or REFUSED. */
  parseRequest(bytes: Buffer, start: number, end: number): number {
    let i = start;
    while (i < end && TOKEN[bytes[i] as number] !== 0) i++;
    const methodEnd = i;
    if (i >= end) return this.#unfinished(start, end);
    if (bytes[i] !== SP || i === start) return this.#refuse("the method is not a token");
    const targetStart = ++i;
    while (i < end && TARGET[bytes[i] as number] === 1) i++;
    const targetEnd = i;
    if (i >= end) return this.#unfinished(start, end);
    if (bytes[i] !== SP || i === targetStart) return this.#refuse("the request target has bytes that it may not have");
    const version = this.#version(bytes, i + 1, end);
    if (version <= 0) return version === REFUSED ? REFUSED : this.#unfinished(start, end);
    i = version;
    if (i + 1 >= end) return bytes[i] === CR || i >= end ? this.#unfinished(start, end) : this.#refuse("bare LF");
    if (bytes[i] !== CR || bytes[i + 1] !== LF) return this.#refuse("the request line does not end in CR LF");
    const headEnd = this.#fields(bytes, i + 2, start, end);
    if (headEnd <= 0) return headEnd;
    const text = bytes.toString("latin1", start, headEnd);
    this.text = text;
    this.lineEnd = i - start;
    this.method = text.slice(0, methodEnd - start);
    this.target = text.slice(targetStart - start, targetEnd - start);
    return headEnd;
  }

  /** Parses a response head in `bytes` from `start`. Returns the offset after it, INCOMPLETE or REFUSED. */
  parseResponse(bytes: Buffer, start: number, end: number): number {
    let i = this.#version(bytes, start, end);
    if (i <= 0) return i === REFUSED ? REFUSED : this.#unfinished(start, end);
    if (i + 4 >= end) return this.#unfinished(start, end);
    if (bytes[i] !== SP) return this.#refuse("no space after the version");
    let status = 0;
    for (let k = 1; k <= 3; k++) {
      const digit = (bytes[i + k] as number) - 0x30;
      if (digit < 0 || digit > 9) return this.#refuse("the status is not three digits");
      status = status * 10 + digit;
    }
    if (status < 100) return this.#refuse("the status is below 100");
    i += 4;
    const reasonStart = i;
    // RFC 9112 §4 wants a space even before an empty reason; many servers leave it out, and nothing can be misread.
    if (bytes[i] === SP) while (i < end && VALUE[bytes[i] as number] === 1) i++;
    if (i + 1 >= end) return i >= end || bytes[i] === CR ? this.#unfinished(start, end) : this.#refuse("bare LF");
    if (bytes[i] !== CR || bytes[i + 1] !== LF) return this.#refuse("the status line does not end in CR LF");
    const headEnd = this.#fields(bytes, i + 2, start, end);
    if (headEnd <= 0) return headEnd;
    this.text = bytes.toString("latin1", start, headEnd);
    this.lineEnd = i - start;
    this.status = status;
    this.reason = i > reasonStart ? this.text.slice(reasonStart - start + 1, i - start) : "";
    return headEnd;
  }

  /** Parses a trailer section: fields up to the empty line. Returns the offset after it, INCOMPLETE or REFUSED. */
  parseTrailers(bytes: Buffer, start: number, end: number): number {
    const trailersEnd = this.#fields(bytes, start, start, end);
    if (trailersEnd <= 0) return trailersEnd;
    this.text = bytes.toString("latin1", start, trailersEnd);
    this.lineEnd = 0;
    return trailersEnd;
  }

  has(kind: KnownName): boolean {
    return (this.seen & (1 << kind)) !== 0;
  }

  value(index: number): string {
    return this.text.slice(this.valueStart[index], this.valueEnd[index]);
  }

  /** The name in lower case with `_` as `-`. */
  name(index: number): string {
    return this.text.slice(this.nameStart[index], this.nameEnd[index]).toLowerCase().replaceAll("_", "-");
  }

  kind(index: number): KnownName {
    return this.kinds[index] as KnownName;
  }

  #version(bytes: Buffer, start: number, end: number): number {
    // "HTTP/1." then 0 or 1; whatever of it is there must fit, so that garbage is refused before it is long.
    for (let k = 0; k < 7; k++) {
      if (start + k >= end) return INCOMPLETE;
      if (bytes[start + k] !== VERSION[k]) {
        if (k < 5) return this.#refuse("no HTTP version");
        return this.#refuse("an HTTP version that is neither 1.0 nor 1.1", "version");
      }
    }
    if (start + 7 >= end) return INCOMPLETE;
    const minor = (bytes[start + 7] as number) - 0x30;
    if (minor !== 0 && minor !== 1) return this.#refuse("an HTTP version that is neither 1.0 nor 1.1", "version");
    this.minor = minor;
    return start + 8;
  }

  #fields(bytes: Buffer, from: number, origin: number, end: number): number {
    let i = from;
    let count = 0;
    let seen = 0;
    for (;;) {
      if (i >= end) return this.#unfinished(origin, end);
      if (bytes[i] === CR) {
        if (i + 1 >= end) return this.#unfinished(origin, end);
        if (bytes[i + 1] !== LF) return this.#refuse("bare CR");
        break;
      }
      const nameStart = i;
      while (i < end && TOKEN[bytes[i] as number] !== 0) i++;
      if (i >= end) return this.#unfinished(origin, end);
      if (bytes[i] !== COLON || i === nameStart)
        return this.#refuse("a field name is not a token, or no colon follows");
      const nameEnd = i++;
      while (i < end && (bytes[i] === SP || bytes[i] === HTAB)) i++;
      const valueStart = i;
      while (i < end && VALUE[bytes[i] as number] === 1) i++;
      if (i >= end) return this.#unfinished(origin, end);
      if (bytes[i] !== CR) return this.#refuse("a field value has bytes that it may not have");
      if (i + 1 >= end) return this.#unfinished(origin, end);
      if (bytes[i + 1] !== LF) return this.#refuse("bare CR");
      let valueEnd = i;
      while (valueEnd > valueStart && (bytes[valueEnd - 1] === SP || bytes[valueEnd - 1] === HTAB)) valueEnd--;
      i += 2;
      if (count === MAX_FIELDS) return this.#refuse(`more than ${MAX_FIELDS} fields`, "too-many-fields");
      const kind = classify(bytes, nameStart, nameEnd);
      seen |= 1 << kind;
      this.kinds[count] = kind;
      this.nameStart[count] = nameStart - origin;
      this.nameEnd[count] = nameEnd - origin;
      this.valueStart[count] = valueStart - origin;
      this.valueEnd[count] = valueEnd - origin;
      count++;
    }
    if (i + 2 - origin > MAX_HEAD_BYTES) return this.#refuse("the head is too large", "too-large");
    this.count = count;
    this.seen = seen;
    return i + 2;
  }

  #unfinished(origin: number, end: number): number {
    if (end - origin >= MAX_HEAD_BYTES) return this.#refuse("the head is too large", "too-large");
    return INCOMPLETE;
  }

  #refuse(reason: string, problem: HeadProblem = "malformed"): number {
    this.problem = problem;
    this.reasonRefused = reason;
    return REFUSED;
  }
}

const VERSION = Uint8Array.from("HTTP/1.", (char) => char.charCodeAt(0));

/** Whether a field is among those that this proxy acts on hop by hop, and therefore never passes on as it came. */
export function isHopByHop(kind: KnownName): boolean {
  return (
    kind === NAME.connection ||
    kind === NAME["keep-alive"] ||
    kind === NAME["proxy-connection"] ||
    kind === NAME.upgrade ||
    kind === NAME["http2-settings"]
  );
}
