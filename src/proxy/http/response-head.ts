/** A response's head as it goes to the client (reference §4.1, last paragraph). Pure. */
import type { HttpOptions } from "../../config/model.ts";
import { type HeadParser, isHopByHop } from "./head.ts";
import { NAME } from "./known-names.ts";

export interface ResponseEdit {
  /** Lines to add, with CR LF: Server, Via, Fly-Request-Id. Empty when the app asked for pristine responses. */
  readonly lines: string;
  readonly options: HttpOptions;
  /** The connection ends after this response. */
  readonly close: boolean;
  /** Chunks are taken apart on the way (HTTP/1.0 clients): no coding may be announced. */
  readonly decoded: boolean;
}

/** Status line and fields, empty line included, of the head that the parser holds. Latin-1. */
export function writeResponseHead(head: HeadParser, edit: ResponseEdit): string {
  const text = head.text;
  const { status } = head;
  const fieldsEnd = text.length - 2;
  const bodiless = status < 200 || status === 204;
  const { pristine, responseHeaders } = edit.options;
  let out = "";
  let kept = head.lineEnd + 2;
  let nominated: Set<string> | undefined;
  let upgrade: string | undefined;

  for (let i = 0; i < head.count; i++) {
    const kind = head.kinds[i];
    if (kind === NAME.other) continue;
    let drop = false;
    switch (kind) {
      case NAME.connection: {
        drop = true;
        const value = head.value(i);
        if (value === "keep-alive") break; // what nearly every server says
        for (const item of value.split(",")) {
          const token = item.trim().toLowerCase();
          if (!KNOWN_TOKENS.has(token)) (nominated ??= new Set()).add(token.replaceAll("_", "-"));
        }
        break;
      }
      case NAME.upgrade:
        drop = true;
        upgrade = head.value(i);
        break;
      case NAME["content-length"]:
        drop = bodiless;
        break;
      case NAME["transfer-encoding"]:
        drop = bodiless || edit.decoded;
        break;
      case NAME.server:
        drop = !pristine;
        break;
      case NAME.fly:
        drop = !pristine && head.name(i) === "fly-request-id";
        break;
      default:
        drop = kind !== undefined && isHopByHop(head.kind(i));
    }
    if (drop) {
      const lineStart = head.nameStart[i] ?? 0;
      if (lineStart > kept) out += text.slice(kept, lineStart);
      kept = i + 1 < head.count ? (head.nameStart[i + 1] ?? 0) : fieldsEnd;
    }
  }
  if (kept < fieldsEnd) out += text.slice(kept, fieldsEnd);
  if (nominated !== undefined) out = withoutFields(out, nominated);
  if (status >= 200 || status === 101) {
    if (!pristine) out += edit.lines;
    if (responseHeaders.length > 0) out = withResponseHeaders(out, responseHeaders);
  }
  if (status === 101) out += `Connection: Upgrade\r\n${upgrade === undefined ? "" : `Upgrade: ${upgrade}\r\n`}`;
  else if (status === 426 && upgrade !== undefined) {
    out += `Upgrade: ${upgrade}\r\nConnection: upgrade${edit.close ? ", close" : ""}\r\n`;
  } else if (edit.close && status >= 200) out += "Connection: close\r\n";
  // "HTTP/1.1 200 OK" as it came; other versions and a missing space become ours.
  const line =
    head.minor === 1 && head.lineEnd > 12 ? text.slice(0, head.lineEnd) : `HTTP/1.1 ${status} ${head.reason}`;
  return `${line}\r\n${out}\r\n`;
}

const KNOWN_TOKENS: ReadonlySet<string> = new Set([
  "",
  "close",
  "keep-alive",
  "upgrade",
  "host",
  "content-length",
  "transfer-encoding",
]);

/** Whether the Machine lets the connection be used again. */
export function responseKeepsAlive(head: HeadParser): boolean {
  let keepAlive = head.minor === 1;
  for (let i = 0; i < head.count; i++) {
    if (head.kinds[i] !== NAME.connection) continue;
    const value = head.value(i);
    if (value !== "keep-alive" && /(?:^|,)[ \t]*close[ \t]*(?:,|$)/i.test(value)) keepAlive = false;
  }
  return keepAlive;
}

/** `http_options.response.headers`, applied to the final response. */
function withResponseHeaders(lines: string, edits: HttpOptions["responseHeaders"]): string {
  const names = new Set(edits.map((edit) => edit.name.toLowerCase()));
  let out = withoutFields(lines, names);
  for (const edit of edits) {
    if (edit.value === false) continue;
    for (const value of edit.value) out += `${edit.name}: ${value}\r\n`;
  }
  return out;
}

function withoutFields(lines: string, names: ReadonlySet<string>): string {
  let out = "";
  for (let start = 0; start < lines.length;) {
    const end = lines.indexOf("\r\n", start) + 2;
    const name = lines.slice(start, lines.indexOf(":", start)).toLowerCase();
    if (!names.has(name)) out += lines.slice(start, end);
    start = end;
  }
  return out;
}
