/** HTTP/2 fields as the HTTP/1.1 head that says the same, and back: one strict parser and one set of rules for both. */
import type { IncomingHttpHeaders, OutgoingHttpHeaders } from "node:http2";
import { VALUE } from "./characters.ts";

/** Fields that HTTP/2 has no use for; a message that has them is malformed (RFC 9113 §8.2.2). */
const CONNECTION_FIELDS: ReadonlySet<string> = new Set([
  "connection",
  "keep-alive",
  "proxy-connection",
  "transfer-encoding",
  "upgrade",
]);

/**
 * A request's head. Undefined when it has bytes or fields that it may not have. `endStream`: there is no body.
 * `raw`: names and values in turn, as they came.
 */
export function requestText(raw: readonly string[], endStream: boolean): string | undefined {
  let method: string | undefined;
  let path: string | undefined;
  let authority: string | undefined;
  let host: string | undefined;
  let cookies = "";
  let lines = "";
  let hasLength = false;
  for (let i = 0; i + 1 < raw.length; i += 2) {
    const name = raw[i] ?? "";
    const value = raw[i + 1] ?? "";
    if (!isValue(value)) return undefined;
    switch (name) {
      case ":method":
        method = value;
        break;
      case ":path":
        path = value;
        break;
      case ":authority":
        authority = value;
        break;
      case ":scheme":
        // As a target in absolute form would have to be.
        if (!/^https?$/i.test(value)) return undefined;
        break;
      case "host":
        host = value;
        break;
      case "cookie":
        // RFC 9113 §8.2.3: may come in pieces, goes on in one.
        cookies += cookies === "" ? value : `; ${value}`;
        break;
      default:
        if (name.startsWith(":") || CONNECTION_FIELDS.has(name) || !/^[!#$%&'*+\-.^_`|~0-9a-z]+$/.test(name))
          return undefined;
        if (name === "te" && value !== "trailers") return undefined;
        if (name === "content-length") hasLength = true;
        lines += `${name}: ${value}\r\n`;
    }
  }
  if (method === undefined || path === undefined) return undefined;
  if (authority !== undefined && host !== undefined && authority.toLowerCase() !== host.toLowerCase()) return undefined;
  if (cookies !== "") lines += `cookie: ${cookies}\r\n`;
  if (!endStream && !hasLength) lines += "transfer-encoding: chunked\r\n";
  const target = authority ?? host;
  return `${method} ${path} HTTP/1.1\r\n${target === undefined ? "" : `host: ${target}\r\n`}${lines}\r\n`;
}

/** Status and fields of an HTTP/1.1 head text, for `respond`. */
export function responseFields(text: string): OutgoingHttpHeaders {
  const firstEnd = text.indexOf("\r\n");
  const fields: Record<string, number | string | string[]> = { ":status": Number(text.slice(9, 12)) };
  addLines(fields, text.slice(firstEnd + 2, -2));
  return fields;
}

/** Trailer lines as fields. */
export function trailerFields(lines: string): OutgoingHttpHeaders {
  const fields: Record<string, number | string | string[]> = {};
  addLines(fields, lines);
  return fields;
}

function addLines(fields: Record<string, number | string | string[]>, lines: string): void {
  for (const line of lines.split("\r\n")) {
    const colon = line.indexOf(":");
    if (colon <= 0) continue;
    const name = line.slice(0, colon).toLowerCase();
    if (CONNECTION_FIELDS.has(name) || name === "http2-settings") continue;
    const value = line.slice(colon + 1).trim();
    const before = fields[name];
    if (before === undefined) fields[name] = value;
    else if (Array.isArray(before)) before.push(value);
    // RFC 9110 §5.3 lets all others be one list; Node throws at a list of those that should come once.
    else if (name === "set-cookie") fields[name] = [String(before), value];
    else fields[name] = `${before}, ${value}`;
  }
}

/** The head of a Machine's HTTP/2 response. `endStream`: there is no body. Undefined when it is malformed. */
export function responseText(
  headers: IncomingHttpHeaders,
  raw: readonly string[],
  framing: "none" | "chunked" | "length",
): string | undefined {
  let lines = "";
  for (let i = 0; i + 1 < raw.length; i += 2) {
    const name = raw[i] ?? "";
    const value = raw[i + 1] ?? "";
    if (!isValue(value) || CONNECTION_FIELDS.has(name)) return undefined;
    if (!name.startsWith(":")) lines += `${name}: ${value}\r\n`;
  }
  if (framing === "chunked") lines += "transfer-encoding: chunked\r\n";
  else if (framing === "none" && headers["content-length"] === undefined) lines += "content-length: 0\r\n";
  return `HTTP/1.1 ${String(headers[":status"] ?? 0)} \r\n${lines}\r\n`;
}

/** Trailer lines of raw HTTP/2 fields; malformed and connection fields are left out. */
export function trailerLines(raw: readonly string[]): string {
  let lines = "";
  for (let i = 0; i + 1 < raw.length; i += 2) {
    const name = raw[i] ?? "";
    const value = raw[i + 1] ?? "";
    if (name.startsWith(":") || CONNECTION_FIELDS.has(name) || !isValue(value)) continue;
    lines += `${name}: ${value}\r\n`;
  }
  return lines;
}

function isValue(value: string): boolean {
  for (let i = 0; i < value.length; i++) if (VALUE[value.charCodeAt(i)] !== 1) return false;
  return true;
}
