import type { AppError } from "../../core/errors.ts";

/** What a Postgres client says first (PostgreSQL 17, "Message Formats"; protocol 3.2 allows keys of up to 256 bytes). */
export type FirstMessage =
  | { readonly kind: "startup"; readonly user: string | undefined; readonly database: string | undefined }
  | { readonly kind: "ssl-request" }
  | { readonly kind: "gss-request" }
  /** `key`: process id and secret as the client got them in BackendKeyData. */
  | { readonly kind: "cancel"; readonly key: Buffer }
  /** TLS without asking. */
  | { readonly kind: "direct-tls" }
  /** Not Postgres. */
  | { readonly kind: "other" };

/** The server's own limit for a StartupMessage (MAX_STARTUP_PACKET_LENGTH). */
export const LONGEST_STARTUP = 10_000;

const CANCEL = 80877102;
const SSL = 80877103;
const GSS = 80877104;
const TLS_HANDSHAKE = 0x16;

/** Undefined while more bytes are needed. `length`: bytes of the message; 0 for what stays in the stream. */
export function parseFirstMessage(
  bytes: Buffer,
): { readonly value: FirstMessage; readonly length: number } | undefined {
  if (bytes.length === 0) return undefined;
  if (bytes[0] === TLS_HANDSHAKE) return { value: { kind: "direct-tls" }, length: 0 };
  // All lengths are below 64 KiB, so the first two bytes decide early.
  if (bytes[0] !== 0 || (bytes.length > 1 && bytes[1] !== 0)) return OTHER;
  if (bytes.length < 8) return undefined;
  const length = bytes.readUInt32BE(0);
  const code = bytes.readUInt32BE(4);
  if (code === SSL) return length === 8 ? { value: { kind: "ssl-request" }, length } : OTHER;
  if (code === GSS) return length === 8 ? { value: { kind: "gss-request" }, length } : OTHER;
  const isCancel = code === CANCEL;
  if (isCancel ? length < 16 || length > 12 + 256 : code >>> 16 !== 3 || length < 9 || length > LONGEST_STARTUP)
    return OTHER;
  if (bytes.length < length) return undefined;
  const body = bytes.subarray(8, length);
  if (isCancel) return { value: { kind: "cancel", key: Buffer.from(body) }, length };
  return { value: { kind: "startup", ...parameters(body) }, length };
}

const OTHER = { value: { kind: "other" }, length: 0 } as const;

function parameters(body: Buffer): { readonly user: string | undefined; readonly database: string | undefined } {
  const words = body.toString("utf8").split("\0");
  const found = new Map<string, string>();
  for (let i = 0; i + 1 < words.length && words[i] !== ""; i += 2) found.set(words[i] ?? "", words[i + 1] ?? "");
  return { user: found.get("user"), database: found.get("database") };
}

/** What `pg_isready` sends: a StartupMessage for protocol 3.0. */
export function startupMessage(user: string, database: string): Buffer {
  const body = Buffer.from(`user\0${user}\0database\0${database}\0\0`, "utf8");
  const head = Buffer.alloc(8);
  head.writeUInt32BE(8 + body.length, 0);
  head.writeUInt32BE(3 << 16, 4);
  return Buffer.concat([head, body]);
}

/** A FATAL error in the client's own protocol, which every client shows to its user. */
export function fatalError(error: {
  readonly sqlState: string;
  readonly message: string;
  readonly hint: string;
}): Buffer {
  const fields = [
    ["S", "FATAL"],
    ["V", "FATAL"],
    ["C", error.sqlState],
    ["M", error.message],
    ["H", error.hint],
  ];
  const body = Buffer.from(`${fields.map(([type, text]) => `${type}${text}\0`).join("")}\0`, "utf8");
  return message("E", body);
}

function message(type: string, body: Buffer): Buffer {
  const head = Buffer.alloc(5);
  head.write(type, 0, "latin1");
  head.writeUInt32BE(4 + body.length, 1);
  return Buffer.concat([head, body]);
}

/** SQLSTATE of an ErrorResponse's body. */
export function sqlStateOf(body: Buffer): string | undefined {
  for (let at = 0; at < body.length && body[at] !== 0;) {
    const end = body.indexOf(0, at + 1);
    if (end < 0) return undefined;
    if (body[at] === 0x43) return body.subarray(at + 1, end).toString("latin1");
    at = end + 1;
  }
  return undefined;
}

/** `cannot_connect_now`: starting up, shutting down, recovering. */
export const CANNOT_CONNECT_NOW = "57P03";

/** How a failed connection is told to a Postgres client. */
export function explain(error: AppError): Buffer {
  return fatalError({
    sqlState: error.code === "FP03" || error.code === "FP04" || error.code === "FP05" ? "53300" : CANNOT_CONNECT_NOW,
    message: `the database cannot be reached: ${error.message}`,
    hint: `Flycast ${error.code}; try again in a moment, or ask its operator what "flycast why" says.`,
  });
}
