import type { Findings } from "./findings.ts";
import { isHeaderName } from "./fly-toml-checks.ts";
import type { RawPort } from "./fly-toml-services.ts";
import type { Handler } from "./model.ts";
import { nearest } from "./nearest.ts";
import type { Path } from "./toml-document.ts";

export const HANDLERS: readonly Handler[] = ["http", "tls", "pg_tls", "proxy_proto"];

export function isHandler(name: string): name is Handler {
  return HANDLERS.some((handler) => handler === name);
}

/** What an entry of `[[services.ports]]` can get wrong. */
export function checkPort(port: RawPort, findings: Findings, options: { allowForceHttps: boolean }): void {
  checkNumbers(port, findings);
  checkHandlers(port, findings);
  const handlers = new Set(port.handlers);
  if (port.force_https) checkForceHttps(port, handlers.has("http"), findings, options.allowForceHttps);
  if (port.http_options !== undefined && !handlers.has("http")) {
    const message = 'http_options needs the handler "http"';
    const remedy = 'add "http" to handlers, or remove http_options';
    findings.error(findings.at(port.http_options), "http-options-without-http", message, remedy);
  }
  if (port.tls_options !== undefined && !handlers.has("tls") && !handlers.has("pg_tls")) {
    const message = 'tls_options does nothing without the handler "tls"';
    findings.warning(findings.at(port.tls_options), "tls-options-without-tls", message);
  }
  if (port.proxy_proto_options !== undefined && !handlers.has("proxy_proto")) {
    const message = 'proxy_proto_options does nothing without the handler "proxy_proto"';
    findings.warning(findings.at(port.proxy_proto_options), "proxy-proto-options-without-it", message);
  }
  checkResponseHeaders(port, findings);
  checkAlpn(port, findings);
  for (const rule of port.http_options?.replay_cache ?? []) {
    if (rule.name !== undefined && !isHeaderName(rule.name)) {
      const message = `${JSON.stringify(rule.name.slice(0, 80))} is not a name of a cookie or header`;
      findings.error(findings.at(rule, "name"), "bad-header", message);
    }
    for (const name of ["path_prefix", "ttl_seconds", "type", "name"] as const) {
      if (rule[name] !== undefined || findings.isRefused(rule, name)) continue;
      findings.error(findings.at(rule), "missing-key", `the rule of replay_cache has no ${name}`, `write ${name} = …`);
    }
  }
}

/** What tells where a message ends belongs to the proxy: changing it would let one response run into the next. */
const FRAMING = new Set([
  "connection",
  "content-length",
  "keep-alive",
  "proxy-connection",
  "te",
  "trailer",
  "transfer-encoding",
  "upgrade",
]);

function checkResponseHeaders(port: RawPort, findings: Findings): void {
  const headers = port.http_options?.response?.headers;
  if (headers === undefined) return;
  for (const name of headers.keys()) {
    if (!FRAMING.has(name.toLowerCase())) continue;
    const message = `${name} says where a response ends; it cannot be set or removed`;
    findings.error([...findings.at(headers), name], "framing-header", message, "remove it");
  }
}

function checkAlpn(port: RawPort, findings: Findings): void {
  const options = port.tls_options;
  options?.alpn?.forEach((protocol, i) => {
    // RFC 7301, 3.1: one length byte; an empty name is not allowed.
    if (/^[\x21-\x7e]{1,255}$/.test(protocol)) return;
    const message = `${JSON.stringify(protocol.slice(0, 40))} is not a protocol name`;
    findings.error(findings.at(options, "alpn", i), "bad-value", message, 'write "h2" or "http/1.1"');
  });
}

function checkNumbers(port: RawPort, findings: Findings): void {
  const { port: single, start_port: start, end_port: end } = port;
  const refused = (["port", "start_port", "end_port"] as const).some((key) => findings.isRefused(port, key));
  if (single === undefined && start === undefined && end === undefined && !refused) {
    findings.error(findings.at(port), "no-port", "the entry of ports names no port", "write port = …");
  }
  if (start !== undefined && end !== undefined && start > end) {
    const message = `start_port ${start} is above end_port ${end}`;
    findings.error(findings.at(port, "start_port"), "bad-range", message, "swap them");
  }
}

function checkHandlers(port: RawPort, findings: Findings): void {
  port.handlers.forEach((name, i) => {
    if (isHandler(name)) return;
    const path = findings.at(port, "handlers", i);
    const message = `there is no handler ${JSON.stringify(name.slice(0, 80))}`;
    findings.error(path, "unknown-handler", message, handlerRemedy(name));
  });
  const has = new Set(port.handlers);
  if (has.has("tls") && has.has("pg_tls")) {
    const remedy = 'keep "pg_tls" for Postgres, "tls" for anything else';
    findings.error(findings.at(port, "handlers"), "tls-and-pg-tls", "tls and pg_tls exclude each other", remedy);
  }
  if (has.has("http") && has.has("pg_tls")) {
    const message = "http and pg_tls exclude each other";
    findings.error(findings.at(port, "handlers"), "http-and-pg-tls", message, "a port speaks HTTP or Postgres");
  }
}

function handlerRemedy(name: string): string {
  const known = HANDLERS.map((handler) => `"${handler}"`).join(", ");
  if (name.toLowerCase() === "tcp") return "leave handlers out: a port without handlers is raw TCP";
  if (name.toLowerCase() === "https") return 'write handlers = ["http", "tls"]';
  if (name.toLowerCase() === "edge_http") return 'write handlers = ["http"]';
  const guess = nearest(name, HANDLERS);
  return guess === undefined ? `the handlers are ${known}` : `write "${guess}" (the handlers are ${known})`;
}

function checkForceHttps(port: RawPort, hasHttp: boolean, findings: Findings, allowed: boolean): void {
  const path = findings.at(port, "force_https");
  if (!hasHttp) {
    const message = 'force_https needs the handler "http"';
    findings.error(path, "force-https-without-http", message, "remove force_https");
    return;
  }
  if (allowed) {
    findings.warning(path, "force-https", "force_https = true is ignored: Flycast is HTTP only");
    return;
  }
  const message =
    "force_https = true would redirect clients of Flycast to a port for which they hold no certificate: Flycast is HTTP only";
  const remedy =
    'write force_https = false; to keep the line for the platform, use --allow force_https or [compat] allow = ["force_https"]';
  findings.error(path, "force-https", message, remedy);
}

/** One claim of an entry: its `port`, or its range. */
export interface ClaimedRange {
  readonly start: number;
  readonly end: number;
  readonly path: Path;
  readonly entry: RawPort;
  /** Position in the file: the later claim is the one that is reported. */
  readonly order: number;
}

export function claimedRanges(port: RawPort, order: number, findings: Findings): readonly ClaimedRange[] {
  const ranges: ClaimedRange[] = [];
  const add = (start: number, end: number, key: string) => {
    ranges.push({ start, end, path: findings.at(port, key), entry: port, order });
  };
  if (port.port !== undefined) add(port.port, port.port, "port");
  const range = portRange(port);
  if (range !== undefined) add(range.start, range.end, port.start_port === undefined ? "end_port" : "start_port");
  return ranges;
}

/** The range of an entry, inclusive. A missing start counts as 1 and a missing end as 65535; none of both: no range. */
export function portRange(port: RawPort): { readonly start: number; readonly end: number } | undefined {
  if (port.start_port === undefined && port.end_port === undefined) return undefined;
  return { start: Math.max(1, port.start_port ?? 1), end: port.end_port ?? 65535 };
}
