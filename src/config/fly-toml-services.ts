import type { TomlValue } from "smol-toml";
import { ms } from "../core/units.ts";
import {
  httpCheck,
  httpServiceCheck,
  isEmptyTable,
  isHeaderName,
  isHeaderValue,
  machineChecks,
  tcpCheck,
} from "./fly-toml-checks.ts";
import { MAX_DURATION } from "./duration.ts";
import type { AutostopMode } from "./model.ts";
import { key, keyOr, kindOf, keyText, type Infer, type Type } from "./schema.ts";
import { flag, integer, oneOf, orAbsent, port, text } from "./schema-leaves.ts";
import { list, mapOf, mapped, table } from "./schema-tables.ts";

const DOCS = "superfly/docs `reference/configuration`, 2026-08-07";
const CODE = "superfly/flyctl `internal/appconfig/service.go`, 2026-08-21";
const API = "superfly/fly-go `machine_types.go`, 2026-08-21";

/** Absent: off. `"true"` and `"false"` in quotes are refused, as by the platform. */
const autostop: Type<AutostopMode> = {
  label: '`"off"`, `"stop"`, `"suspend"`, true or false',
  json: { enum: ["off", "stop", "suspend", true, false] },
  read(value, path, context) {
    if (typeof value === "boolean") return value ? "stop" : "off";
    if (value === "off" || value === "stop" || value === "suspend") return value;
    const shown = typeof value === "string" ? JSON.stringify(value.slice(0, 40)) : kindOf(value);
    const message = `${keyText(path)} is ${shown}`;
    const remedy = 'write "off", "stop" or "suspend"';
    context.report({ grade: "error", path, rule: "bad-autostop", message, remedy });
    return undefined;
  },
};

/** A whole number of seconds as a duration. */
const wholeSeconds = mapped(
  integer({ min: 0, max: 0xffff_ffff }),
  (value) => ms(Math.min(value * 1000, MAX_DURATION)),
  {
    label: "a whole number of seconds",
  },
);

/** `false` removes the header; a list sets several values. */
const responseHeader: Type<false | readonly string[]> = {
  label: "text, a list of text, or false",
  json: { anyOf: [{ type: "string" }, { type: "array", items: { type: "string" } }, { const: false }] },
  read(value, path, context) {
    if (value === false) return false;
    const values = Array.isArray(value) ? value : [value];
    const name = path.at(-1);
    const sound = values.every((item): item is string => typeof item === "string" && isHeaderValue(item));
    if (sound && typeof name === "string" && isHeaderName(name)) return values;
    const message = sound ? `${keyText(path)} is not a header that HTTP can carry` : `${keyText(path)} has a bad value`;
    const remedy = "write text to set the header, false to remove it, or a list of text";
    context.report({ grade: "error", path, rule: "bad-header", message, remedy });
    return undefined;
  },
};

const replayCacheRule = table(
  {
    path_prefix: key(text, { doc: "Requests whose path begins so are remembered. Required." }),
    ttl_seconds: key(integer({ min: 10 }), {
      doc: "How long a decision is remembered. Seconds, at least 10. Required.",
    }),
    type: key(oneOf(["cookie", "header"]), { doc: "What tells one client from another. Required." }),
    name: key(text, { doc: "Name of the cookie or header. Required." }),
    allow_bypass: keyOr(flag, false, { doc: "Whether `fly-replay-cache-control: skip` is obeyed." }),
  },
  { source: API },
);

const httpOptions = table(
  {
    compress: keyOr(flag, false, { doc: "Compress responses." }),
    h2_backend: keyOr(flag, false, { doc: "Speak HTTP/2 without TLS to the Machine (gRPC)." }),
    idle_timeout: key(wholeSeconds, { doc: "Close a connection that is idle for so long.", defaultDoc: "the node's" }),
    headers_read_timeout: key(wholeSeconds, { doc: "Time for a request's head.", defaultDoc: "`limits.head_timeout`" }),
    response: key(
      table({
        pristine: keyOr(flag, false, { doc: "Add no headers of the proxy's own." }),
        headers: keyOr(mapOf(responseHeader), new Map(), {
          doc: "Headers to set (text), add (list) or remove (false).",
        }),
      }),
      { doc: "Changes to every response." },
    ),
    replay_cache: keyOr(list(replayCacheRule, { single: true }), [], {
      doc: "Remember where requests were replayed to.",
    }),
  },
  { source: API },
);
export type RawHttpOptions = Infer<typeof httpOptions>;

const tlsOptions = table(
  {
    alpn: key(list(text), { doc: "Protocols to offer.", defaultDoc: "the proxy's choice" }),
    versions: key(list(oneOf(["TLSv1.2", "TLSv1.3"])), { doc: "TLS versions to speak.", defaultDoc: "both" }),
    default_self_signed: keyOr(flag, false, { doc: "Serve a self-signed certificate to clients that name no host." }),
  },
  { source: API },
);
export type RawTlsOptions = Infer<typeof tlsOptions>;

/** Old: `"20,25"` is soft, then hard limit, of *requests*. */
const limitsTable = table(
  {
    type: keyOr(orAbsent(oneOf(["connections", "requests"])), "connections", { doc: "What is counted." }),
    soft_limit: key(integer({ min: 0 }), {
      doc: "Above it other Machines are preferred and started. 0 means unset.",
      defaultDoc: "20, or the hard limit if that is lower",
    }),
    hard_limit: key(integer({ min: 0 }), { doc: "A Machine never gets more. 0 means unset.", defaultDoc: "none" }),
  },
  { source: DOCS },
);
export type RawConcurrency = Infer<typeof limitsTable>;

const concurrency: Type<RawConcurrency> = {
  label: 'a table, or old text such as "20,25"',
  json: { anyOf: [limitsTable.json, { type: "string" }] },
  inner: limitsTable,
  read(value: TomlValue, path, context) {
    if (typeof value !== "string" && !Array.isArray(value)) return limitsTable.read(value, path, context);
    const limits = typeof value === "string" ? /^\s*(\d{1,9})\s*,\s*(\d{1,9})\s*$/.exec(value) : null;
    if (limits !== null) {
      const old: RawConcurrency = { type: "requests", soft_limit: Number(limits[1]), hard_limit: Number(limits[2]) };
      context.origins.set(old, path);
      return old;
    }
    const shown = typeof value === "string" ? JSON.stringify(value.slice(0, 40)) : "a list";
    const message = `${keyText(path)} is ${shown}, not a table`;
    const remedy = "write it as a table with type, soft_limit and hard_limit";
    context.report({ grade: "error", path, rule: "bad-concurrency", message, remedy });
    return undefined;
  },
};

const servicePort = table(
  {
    port: key(port({ cast: true }), { doc: "External port: what clients of `APP.flycast` dial." }),
    start_port: key(integer({ min: 0, max: 65535 }), {
      doc: "First port of a range, inclusive.",
      defaultDoc: "1, with `end_port`",
    }),
    end_port: key(integer({ min: 0, max: 65535 }), {
      doc: "Last port of a range, inclusive.",
      defaultDoc: "65535, with `start_port`",
    }),
    handlers: keyOr(list(text), [], {
      doc: "`http`, `tls`, `pg_tls`, `proxy_proto`, as a set: their order means nothing. None: raw TCP.",
    }),
    force_https: keyOr(flag, false, { doc: "Refused when true: Flycast is HTTP only. See `--allow force_https`." }),
    tls_options: key(tlsOptions, { doc: "Settings of `tls`." }),
    http_options: key(httpOptions, { doc: "Settings of `http`; refused without it." }),
    proxy_proto_options: key(
      table({ version: key(text, { doc: '`"v2"`; anything else is v1.', defaultDoc: '`"v1"`' }) }),
      { doc: "Settings of `proxy_proto`." },
    ),
  },
  { source: DOCS },
);
export type RawPort = Infer<typeof servicePort>;

const scaling = {
  auto_stop_machines: keyOr(autostop, "off", { doc: "What happens to Machines that nobody needs." }),
  auto_start_machines: keyOr(flag, true, { doc: "Start a Machine when a connection needs one." }),
  min_machines_running: keyOr(integer({ min: 0 }), 0, {
    doc: "Machines that autostop leaves running in the primary region.",
  }),
  processes: keyOr(list(text), [], {
    doc: "Process groups that offer the service. Required where `[processes]` exists.",
  }),
};

const NOT_SCALING = {
  max_machines_running: { grade: "warning", why: "the number of Machines is what was created" },
  script_checks: { grade: "warning", why: "script checks are gone; use tcp_checks or http_checks" },
  restart_limit: { grade: "note", why: "checks never restart a Machine" },
  force_instance_key: { grade: "warning", why: "it was never published" },
} as const;

export const httpService = table(
  {
    internal_port: key(port(), { doc: "Port that the app listens on.", defaultDoc: "`8080`" }),
    force_https: keyOr(flag, false, { doc: "Refused when true: Flycast is HTTP only. See `--allow force_https`." }),
    ...scaling,
    concurrency: key(limitsTable, { doc: "Limits of each Machine." }),
    tls_options: key(tlsOptions, { doc: "Settings of TLS on port 443." }),
    http_options: key(httpOptions, { doc: "Settings of HTTP on ports 80 and 443." }),
    checks: keyOr(list(httpServiceCheck), [], { doc: "HTTP checks; a Machine that fails one gets no traffic." }),
    machine_checks: machineChecks,
  },
  {
    source: CODE,
    retired: {
      ...NOT_SCALING,
      ports: { grade: "warning", why: "[http_service] is always ports 80 and 443; use [[services]] for others" },
      protocol: { grade: "note", why: "[http_service] is always TCP" },
      http_checks: { grade: "warning", why: "the key is [[http_service.checks]]" },
      tcp_checks: { grade: "warning", why: "[http_service] has HTTP checks only; use [[services]]" },
    },
  },
);
export type RawHttpService = Infer<typeof httpService>;

const service = table(
  {
    protocol: keyOr(orAbsent(oneOf(["tcp", "udp"])), "tcp", {
      doc: "UDP is not on Flycast: such a service is skipped.",
    }),
    internal_port: key(port({ cast: true }), { doc: "Port that the app listens on.", defaultDoc: "`8080`" }),
    ...scaling,
    ports: keyOr(list(servicePort, { single: true }), [], { doc: "External ports and what is done to their bytes." }),
    concurrency: key(concurrency, { doc: "Limits of each Machine." }),
    tcp_checks: keyOr(list(tcpCheck, { single: true }), [], { doc: "Checks that connect." }),
    http_checks: keyOr(list(httpCheck, { single: true }), [], { doc: "Checks that send a request." }),
    machine_checks: machineChecks,
  },
  {
    source: CODE,
    retired: {
      ...NOT_SCALING,
      handlers: { grade: "warning", why: "handlers stand in [[services.ports]]" },
      port: { grade: "warning", why: "external ports stand in [[services.ports]]" },
      force_https: { grade: "warning", why: "it stands in [[services.ports]], and is refused there" },
      checks: { grade: "warning", why: "the keys are tcp_checks and http_checks" },
    },
  },
);
export type RawService = Infer<typeof service>;

const serviceList = list(service, { single: true });

/** `[[services]]`, one `[services]`; an empty section is nothing. */
export const services: Type<readonly RawService[]> = {
  ...serviceList,
  read(value, path, context) {
    const items = Array.isArray(value) ? value : [value];
    if (items.every(isEmptyTable)) return [];
    return serviceList.read(value, path, context)?.filter((item) => {
      const at = context.origins.get(item)?.at(-1);
      return typeof at !== "number" || !isEmptyTable(items[at] ?? {});
    });
  },
};
