/** Compression of responses where the service asks for it (reference §4.3): the app's own encodings are never touched. */
import { constants, createBrotliCompress, createDeflate, createGzip } from "node:zlib";
import type { Transform } from "node:stream";
import { type Encoding, preferredEncoding } from "./accept-encoding.ts";
import { chunked } from "./chunked.ts";
import type { Downstream } from "./downstream.ts";
import { CHUNKED, type Framing } from "./framing.ts";
import { HeadParser } from "./head.ts";
import { NAME } from "./known-names.ts";
import type { RequestHead } from "./request-head.ts";

/** Smaller bodies grow, or gain less than a packet. */
const MIN_BYTES = 1024;
const COMPRESSIBLE =
  /^(?:text\/(?!event-stream)|application\/(?:json|javascript|xml|wasm|[\w.-]+\+(?:json|xml))|image\/svg)/i;
const EMPTY = Buffer.alloc(0);
/** Brotli's best is for files; 4 compresses better than gzip in about its time. */
const BROTLI_QUALITY = 4;

/**
 * How to compress this response to this request. "identity": not for this client, but for others. Undefined: for nobody. For HEAD it
 * is what it would be for GET.
 */
export function encodingFor(
  request: RequestHead,
  head: HeadParser,
  framing: Framing,
): Encoding | "identity" | undefined {
  if (request.minor === 0) return undefined;
  if (head.status < 200 || head.status === 204 || head.status === 206 || head.status === 304) return undefined;
  if (framing > 0 && framing < MIN_BYTES) return undefined;
  if (framing === 0 && request.method !== "HEAD") return undefined;
  if (head.has(NAME["content-encoding"]) || head.has(NAME["content-range"])) return undefined;
  let compressible = false;
  for (let i = 0; i < head.count; i++) {
    if (head.kinds[i] === NAME["content-type"]) compressible = COMPRESSIBLE.test(head.value(i));
    else if (head.kinds[i] === NAME["content-length"] && Number(head.value(i)) < MIN_BYTES) return undefined;
    else if (head.kinds[i] === NAME["cache-control"] && /no-transform/i.test(head.value(i))) return undefined;
  }
  return compressible ? preferredEncoding(request.raw) : undefined;
}

/** The client's side of a response that is compressed on its way. */
export class Compressor {
  readonly #inner: Downstream;
  readonly #encoder: Transform;
  #trailers = "";

  /** `onDrain`: more may be written. */
  constructor(inner: Downstream, encoding: Encoding, framing: Framing, onDrain: () => void) {
    this.#inner = inner;
    // A response without a length may be one that is read as it comes: nothing may stay behind in the encoder.
    const streamed = framing < 0;
    this.#encoder = createEncoder(encoding, streamed);
    this.#encoder.on("data", (chunk: Buffer) => {
      if (!inner.write(inner.decodes ? chunk : chunked(chunk), false, "")) this.#encoder.pause();
    });
    this.#encoder.on("end", () => {
      inner.write(inner.decodes ? EMPTY : Buffer.from(`0\r\n${this.#trailers}\r\n`, "latin1"), true, this.#trailers);
    });
    this.#encoder.on("drain", onDrain);
  }

  respond(head: HeadParser, encoding: Encoding, body: Buffer | undefined, done: boolean, trailers: string): boolean {
    const changed = encodedHead(head, encoding);
    const flowing = this.#inner.respond(changed, CHUNKED, undefined, false, "");
    if (!flowing) this.#encoder.pause();
    return this.write(body ?? EMPTY, done, trailers);
  }

  write(chunk: Buffer, done: boolean, trailers: string): boolean {
    const flowing = chunk.length === 0 || this.#encoder.write(chunk);
    if (done) {
      this.#trailers = trailers;
      this.#encoder.end();
    }
    return flowing;
  }

  /** The client took what it was sent. */
  resume(): void {
    this.#encoder.resume();
  }

  destroy(): void {
    this.#encoder.destroy();
  }
}

function createEncoder(encoding: Encoding, streamed: boolean): Transform {
  switch (encoding) {
    case "br":
      return createBrotliCompress({
        params: { [constants.BROTLI_PARAM_QUALITY]: BROTLI_QUALITY },
        ...(streamed && { flush: constants.BROTLI_OPERATION_FLUSH }),
      });
    case "gzip":
      return createGzip(streamed ? { flush: constants.Z_SYNC_FLUSH } : {});
    case "deflate":
      return createDeflate(streamed ? { flush: constants.Z_SYNC_FLUSH } : {});
  }
}

/**
 * The head of a response whose encoding depends on what its client accepts, and says so (RFC 9110 §12.5.5). Compressed, it is without
 * what was true of the uncompressed bytes (§8.8.3: a strong ETag names exact bytes).
 */
export function encodedHead(head: HeadParser, encoding: Encoding | "identity"): HeadParser {
  const isEncoded = encoding !== "identity";
  let lines = "";
  let vary = "";
  for (let i = 0; i < head.count; i++) {
    const kind = head.kinds[i];
    if (kind === NAME.vary) {
      vary += `${head.value(i)}, `;
      continue;
    }
    const ofBytes =
      kind === NAME["content-length"] || kind === NAME["transfer-encoding"] || kind === NAME["accept-ranges"];
    if (isEncoded && ofBytes) continue;
    const value = head.value(i);
    const weak = isEncoded && kind === NAME.etag && value.startsWith('"') ? `W/${value}` : value;
    lines += `${head.text.slice(head.nameStart[i], head.nameEnd[i])}: ${weak}\r\n`;
  }
  if (isEncoded) lines += `Content-Encoding: ${encoding}\r\n`;
  lines += `Vary: ${varyWith(vary)}\r\n`;
  if (isEncoded) lines += "Transfer-Encoding: chunked\r\n";
  const bytes = Buffer.from(`HTTP/1.1 ${head.status} ${head.reason}\r\n${lines}\r\n`, "latin1");
  const parser = new HeadParser();
  parser.parseResponse(bytes, 0, bytes.length);
  return parser;
}

/** `before`: what the Machine says, with a comma at its end. */
function varyWith(before: string): string {
  if (before.includes("*")) return "*";
  return /(?:^|[,\s])accept-encoding,/i.test(before) ? before.slice(0, -2) : `${before}Accept-Encoding`;
}
