/** A request's head as it goes on to the Machine: what is checked, removed and added (reference §4.1, design §4.7). Pure. */
import type { ErrorCode } from "../../core/errors.ts";
import { parseMachineId, type MachineId, type RegionCode } from "../../core/ids.ts";
import { NO_WISHES, type Wishes } from "../context.ts";
import { HOST } from "./characters.ts";
import { AMBIGUOUS, type Framing, requestFraming, UNKNOWN_CODING } from "./framing.ts";
import { type HeadParser, isHopByHop } from "./head.ts";
import { NAME } from "./known-names.ts";
import { expandRegions } from "./region-list.ts";

/** What is the same for every request of one client connection. */
export interface ClientFacts {
  /** Lines that are added to each request, with CR LF: Fly-Client-IP, X-Forwarded-Proto and so on. */
  readonly lines: string;
  /** The client as reported. */
  readonly client: string;
  /** The Flycast address that was dialled. */
  readonly destination: string;
  readonly port: number;
  /** `lines` with the fields that a client may have a say in, for the requests of those that say nothing. */
  readonly all: string;
}

export interface RequestHead {
  readonly method: string;
  /** In origin form, or `*`. */
  readonly target: string;
  readonly host: string;
  readonly minor: number;
  readonly framing: Framing;
  /** What the client asked for; 1.0 clients always get `close`. */
  readonly keepAlive: boolean;
  /** Value of `Upgrade`, when the client may be given one: HTTP/1.1, no body, not h2c. */
  readonly upgrade: string | undefined;
  /** Request line and fields for the Machine, without those that depend on it and without the empty line. */
  readonly text: string;
  readonly wishes: Wishes;
  /** The head as the client sent it, for replays that change it. */
  readonly raw: string;
}

export interface Refusal {
  readonly code: ErrorCode;
  /** Where the code alone does not tell. */
  readonly status?: number;
  /** For the log. */
  readonly detail: string;
}

export function isRefusal(result: RequestHead | Refusal): result is Refusal {
  return "code" in result;
}

/** Lines that are the same for all requests of a connection. `region` is that of the node that accepted it. */
export function clientFacts(from: {
  client: string;
  destination: string;
  port: number;
  secure: boolean;
  region: RegionCode;
  httpVersion: "1.1" | "2";
}): ClientFacts {
  const lines =
    `Fly-Client-IP: ${from.client}\r\n` +
    `X-Forwarded-Proto: ${from.secure ? "https" : "http"}\r\n` +
    `X-Forwarded-SSL: ${from.secure ? "on" : "off"}\r\n` +
    `Fly-Forwarded-Port: ${from.port}\r\n` +
    `Fly-Region: ${from.region}\r\n` +
    `Via: ${from.httpVersion} fly.io\r\n`;
  const { client, destination, port } = from;
  const all = `X-Forwarded-Port: ${port}\r\n${lines}X-Forwarded-For: ${client}, ${destination}\r\n`;
  return { client, destination, port, lines, all };
}

/** Reads the head that the parser holds. */
export function readRequestHead(head: HeadParser, facts: ClientFacts): RequestHead | Refusal {
  const { method } = head;
  if (method === "CONNECT") return { code: "FP14", status: 405, detail: "CONNECT" };
  const framing = requestFraming(head);
  if (framing === AMBIGUOUS) return { code: "FP07", detail: "the length of the body is ambiguous" };
  if (framing === UNKNOWN_CODING) return { code: "FP14", detail: "a transfer coding other than chunked" };
  if (head.minor === 0 && framing !== 0 && (method === "GET" || method === "HEAD" || method === "DELETE")) {
    // Old servers take what follows for the next request (RFC 9112 §11.2; HAProxy refuses it too).
    return { code: "FP07", detail: `a body with ${method} in HTTP/1.0` };
  }

  const text = head.text;
  const fieldsEnd = text.length - 2;
  let out = "";
  let kept = head.lineEnd + 2;
  let keepAlive = head.minor === 1;
  let host: string | undefined;
  let upgrade: string | undefined;
  let wantsUpgrade = false;
  let expectations = 0;
  let forwardedFor = "";
  let hasForwardedPort = false;
  let nominated: Set<string> | undefined;
  let wishes: Wishes = NO_WISHES;

  for (let i = 0; i < head.count; i++) {
    const kind = head.kinds[i];
    if (kind === NAME.other) continue;
    let drop = false;
    switch (kind) {
      case NAME.host:
        if (host !== undefined) return { code: "FP07", detail: "more than one Host" };
        host = head.value(i);
        if (!isHost(host)) return { code: "FP07", detail: "Host is empty or has bytes that it may not have" };
        break;
      case NAME.connection: {
        drop = true;
        const value = head.value(i);
        if (value === "keep-alive") break;
        for (const item of value.split(",")) {
          const token = item.trim().toLowerCase().replaceAll("_", "-");
          if (token === "" || token === "keep-alive") continue;
          if (token === "close") keepAlive = false;
          else if (token === "upgrade") wantsUpgrade = true;
          else if (token === "host" || token === "content-length" || token === "transfer-encoding") {
            return { code: "FP07", detail: `Connection names ${token}` };
          } else if (token !== "te") (nominated ??= new Set()).add(token);
        }
        break;
      }
      case NAME.upgrade:
        drop = true;
        upgrade = upgrade === undefined ? head.value(i) : `${upgrade}, ${head.value(i)}`;
        break;
      case NAME.expect:
        if (expectations++ > 0) return { code: "FP07", detail: "more than one expectation" };
        if (head.minor === 0) drop = true;
        else if (head.value(i).toLowerCase() !== "100-continue") {
          return { code: "FP14", status: 417, detail: "an unknown expectation" };
        }
        break;
      case NAME["transfer-encoding"]:
        // One spelling for all: a server that knows only lower case must not see no coding here.
        drop = true;
        break;
      case NAME.te:
        drop = head.value(i).toLowerCase() !== "trailers" || head.minor === 0;
        break;
      case NAME["x-forwarded-for"]:
        drop = true;
        if (!hasUnderscore(head, i) && head.valueStart[i] !== head.valueEnd[i]) forwardedFor += `${head.value(i)}, `;
        break;
      case NAME["x-forwarded-proto"]:
      case NAME["x-forwarded-ssl"]:
        drop = true;
        break;
      case NAME["x-forwarded-port"]:
        if (hasUnderscore(head, i) || hasForwardedPort) drop = true;
        else hasForwardedPort = true;
        break;
      case NAME.fly: {
        const name = head.name(i);
        if (!PASSED_FLY_FIELDS.has(name) || hasUnderscore(head, i)) {
          drop = true;
          break;
        }
        const withWish = readWish(wishes, name, head.value(i));
        if (withWish === undefined) return { code: "FP07", detail: `${name} is malformed` };
        wishes = withWish;
        break;
      }
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
  if (nominated !== undefined) out = withoutNominated(out, nominated);

  const target = readTarget(head.target, method);
  if (target === undefined) return { code: "FP07", detail: "the request target has no known form" };
  if (host === undefined && head.minor === 1) return { code: "FP07", detail: "Host is missing" };
  if (target.authority !== undefined) {
    // RFC 9112 §3.2.2 lets the target's authority win; HAProxy refuses two that differ, and so do we.
    if (host !== undefined && host.toLowerCase() !== target.authority.toLowerCase()) {
      return { code: "FP07", detail: "Host is not that of the target" };
    }
    if (host !== undefined) out = withoutNominated(out, HOST_NAME);
    host = target.authority;
    out = `Host: ${host}\r\n${out}`;
  } else if (host === undefined) {
    host = `[${facts.destination}]${facts.port === 80 ? "" : `:${facts.port}`}`;
    out = `Host: ${host}\r\n${out}`;
  }

  // Bytes after the head belong to the new protocol only if there is no body between.
  const mayUpgrade =
    wantsUpgrade && upgrade !== undefined && head.minor === 1 && framing === 0 && !/(?:^|[,\s])h2c/i.test(upgrade);
  if (framing < 0) out += "Transfer-Encoding: chunked\r\n";
  if (mayUpgrade) out += `Upgrade: ${upgrade}\r\n`;
  if (!hasForwardedPort && forwardedFor === "") out += facts.all;
  else {
    if (!hasForwardedPort) out += `X-Forwarded-Port: ${facts.port}\r\n`;
    out += `${facts.lines}X-Forwarded-For: ${forwardedFor}${facts.client}, ${facts.destination}\r\n`;
  }
  const line =
    head.minor === 1 && target.authority === undefined
      ? text.slice(0, head.lineEnd + 2)
      : `${method} ${target.path} HTTP/1.1\r\n`;
  return {
    method,
    target: target.path,
    host,
    minor: head.minor,
    framing,
    keepAlive,
    upgrade: mayUpgrade ? upgrade : undefined,
    text: line + out,
    wishes,
    raw: text,
  };
}

const HOST_NAME: ReadonlySet<string> = new Set(["host"]);

/** What the proxy tells a Machine about the client, a client must not be able to say. These it may say. */
export const PASSED_FLY_FIELDS: ReadonlySet<string> = new Set([
  "fly-prefer-region",
  "fly-force-region",
  "fly-prefer-instance-id",
  "fly-force-instance-id",
  "fly-replay-cache-control",
]);

/** `host`, `host:port`, `[address]:port`; never empty. */
export function isHost(value: string): boolean {
  if (value === "") return false;
  let plain = true;
  for (let i = 0; i < value.length; i++) {
    const byte = value.charCodeAt(i);
    if (HOST[byte] !== 1) return false;
    if (byte === 0x3a || byte === 0x5b || byte === 0x5d) plain = false;
  }
  return plain || HOST_AND_PORT.test(value);
}

const HOST_AND_PORT = /^(?:[^:[\]]+|\[[0-9a-f:.]+\])(?::\d{0,5})?$/i;

export function hasUnderscore(head: HeadParser, index: number): boolean {
  const at = head.text.indexOf("_", head.nameStart[index]);
  return at !== -1 && at < (head.nameEnd[index] ?? 0);
}

/** Field lines without those whose name is in the set. */
export function withoutNominated(lines: string, names: ReadonlySet<string>): string {
  let out = "";
  for (let start = 0; start < lines.length;) {
    const end = lines.indexOf("\r\n", start) + 2;
    const name = lines.slice(start, lines.indexOf(":", start)).toLowerCase().replaceAll("_", "-");
    if (!names.has(name)) out += lines.slice(start, end);
    start = end;
  }
  return out;
}

/** RFC 9112 §3.2: origin form, absolute form of http and https, and `*` for OPTIONS. */
function readTarget(target: string, method: string): { path: string; authority: string | undefined } | undefined {
  if (target.charCodeAt(0) === 0x2f) return { path: target, authority: undefined };
  if (target === "*") return method === "OPTIONS" ? { path: target, authority: undefined } : undefined;
  const match = /^https?:\/\/([^/?]+)(.*)$/i.exec(target);
  const authority = match?.[1];
  const rest = match?.[2];
  if (authority === undefined || rest === undefined || !isHost(authority)) return undefined;
  if (rest === "") return { path: method === "OPTIONS" ? "*" : "/", authority };
  return { path: rest.startsWith("?") ? `/${rest}` : rest, authority };
}

/** The client's wish added to the others; undefined when it is malformed. */
export function readWish(wishes: Wishes, name: string, value: string): Wishes | undefined {
  switch (name) {
    case "fly-prefer-region":
    case "fly-force-region": {
      const regions = expandRegions(value);
      if (regions === undefined) return undefined;
      if (regions === "any") return wishes;
      return name === "fly-prefer-region"
        ? { ...wishes, preferRegions: regions }
        : { ...wishes, forceRegions: regions };
    }
    case "fly-prefer-instance-id":
    case "fly-force-instance-id": {
      const id = parseMachineId(value);
      // An id of another shape is a Machine that does not exist: no harm when preferred, no answer when forced.
      if (!id.ok) return name === "fly-prefer-instance-id" ? wishes : { ...wishes, forceMachine: value as MachineId };
      return name === "fly-prefer-instance-id"
        ? { ...wishes, preferMachine: id.value }
        : { ...wishes, forceMachine: id.value };
    }
    default:
      return wishes;
  }
}
