import type { Port } from "../core/units.ts";
import { port, seconds } from "../core/units.ts";
import { clampCheck } from "./check-checks.ts";
import { isHandler, portRange } from "./check-ports.ts";
import { allServices } from "./desugar.ts";
import type { TopLevelCheck } from "./fly-toml-checks.ts";
import type { RawFlyToml } from "./fly-toml-schema.ts";
import type { RawConcurrency, RawHttpOptions, RawPort, RawService, RawTlsOptions } from "./fly-toml-services.ts";
import type { Check, Concurrency, HttpOptions, Service, ServicePort, TlsOptions } from "./model.ts";

// Documented default of internal_port (superfly/docs reference/configuration).
const DEFAULT_INTERNAL_PORT = port(8080);
const DEFAULT_SOFT_LIMIT = 20;

/** TCP services in one spelling. Cannot fail. */
export function normaliseServices(raw: RawFlyToml, defaultGroup: string): readonly Service[] {
  // Where things were written matters only for problems, and there are none any more.
  const services = allServices(raw, new WeakMap()).filter(({ service }) => service.protocol === "tcp");
  // Numbered over the whole file, so that no two checks of one Machine share a name.
  let number = 0;
  return services.map(({ service }): Service => {
    const internalPort = service.internal_port ?? DEFAULT_INTERNAL_PORT;
    const checks: Check[] = [];
    const add = (type: "tcp" | "http", check: RawCheck) => {
      const name = `servicecheck-${String(number).padStart(2, "0")}-${type}-${internalPort}`;
      number += 1;
      checks.push(normaliseCheck({ name, type, port: internalPort, check, clamp: true }));
    };
    for (const check of service.tcp_checks) add("tcp", check);
    for (const check of service.http_checks) add("http", check);
    return {
      protocol: "tcp",
      internalPort,
      ports: service.ports.flatMap(normalisePort),
      processes: service.processes.length > 0 ? [...new Set(service.processes)] : [defaultGroup],
      autostop: service.auto_stop_machines,
      autostart: service.auto_start_machines,
      minMachinesRunning: service.min_machines_running,
      concurrency: normaliseConcurrency(service.concurrency),
      checks,
    };
  });
}

function normaliseConcurrency(raw: RawConcurrency | undefined): Concurrency {
  // 0 is dropped on the way to the platform's API: it means unset.
  const hardLimit = raw?.hard_limit === 0 ? undefined : raw?.hard_limit;
  const soft = raw?.soft_limit === 0 ? undefined : raw?.soft_limit;
  const softLimit = soft ?? Math.min(DEFAULT_SOFT_LIMIT, hardLimit ?? DEFAULT_SOFT_LIMIT);
  return { type: raw?.type ?? "connections", softLimit, hardLimit };
}

function normalisePort(raw: RawPort): readonly ServicePort[] {
  const shared = {
    handlers: new Set(raw.handlers.filter(isHandler)),
    forceHttps: raw.force_https,
    httpOptions: normaliseHttpOptions(raw.http_options),
    tlsOptions: normaliseTlsOptions(raw.tls_options),
    proxyProtocol: raw.proxy_proto_options?.version === "v2" ? "v2" : "v1",
  } as const;
  const ranges: { start: Port; end: Port }[] = [];
  const range = portRange(raw);
  if (range !== undefined) ranges.push({ start: port(range.start), end: port(Math.max(1, range.end)) });
  const single = raw.port;
  const covered = single !== undefined && range !== undefined && single >= range.start && single <= range.end;
  if (single !== undefined && !covered) ranges.unshift({ start: single, end: single });
  return ranges.map((part) => ({ ...part, ...shared }));
}

function normaliseHttpOptions(raw: RawHttpOptions | undefined): HttpOptions {
  const headers = [...(raw?.response?.headers ?? [])].map(([name, value]) => ({ name, value }));
  const replayCache = (raw?.replay_cache ?? []).flatMap((rule) => {
    const { path_prefix: pathPrefix, ttl_seconds: ttl, type, name } = rule;
    if (pathPrefix === undefined || ttl === undefined || type === undefined || name === undefined) return [];
    return [{ pathPrefix, ttl: seconds(ttl), type, name, allowBypass: rule.allow_bypass }];
  });
  return {
    compress: raw?.compress ?? false,
    h2Backend: raw?.h2_backend ?? false,
    idleTimeout: raw?.idle_timeout,
    headersReadTimeout: raw?.headers_read_timeout,
    pristine: raw?.response?.pristine ?? false,
    responseHeaders: headers,
    replayCache,
  };
}

function normaliseTlsOptions(raw: RawTlsOptions | undefined): TlsOptions {
  const versions = raw?.versions ?? [];
  return {
    alpn: raw?.alpn,
    versions: versions.length > 0 ? [...new Set(versions)] : ["TLSv1.2", "TLSv1.3"],
    defaultSelfSigned: raw?.default_self_signed ?? false,
  };
}

type RawCheck = RawService["tcp_checks"][number] & Partial<RawService["http_checks"][number]>;

/** `clamp`: the durations of service checks are kept between 1 s and 1 min; those of top-level checks are not. */
export function normaliseCheck(options: {
  readonly name: string;
  readonly type: "tcp" | "http";
  readonly port: Port;
  readonly check: RawCheck;
  readonly clamp: boolean;
  readonly upperCaseMethod?: boolean;
}): Check {
  const { check, clamp } = options;
  const used = (name: "interval" | "timeout" | "grace_period", otherwise: number) => {
    const value = check[name] ?? seconds(otherwise);
    return clamp ? clampCheck(value, name) : value;
  };
  const method = check.method ?? "GET";
  return {
    name: options.name,
    type: options.type,
    port: options.port,
    // Documented defaults of a check: 15 s, 2 s, 1 s.
    interval: used("interval", 15),
    timeout: used("timeout", 2),
    gracePeriod: used("grace_period", 1),
    http:
      options.type === "tcp"
        ? undefined
        : {
            method: options.upperCaseMethod === true ? method.toUpperCase() : method,
            path: absolute(check.path ?? "/"),
            protocol: check.protocol ?? "http",
            tlsSkipVerify: check.tls_skip_verify ?? false,
            tlsServerName: check.tls_server_name,
            headers: check.headers ?? [],
          },
  };
}

function absolute(path: string): string {
  return path.startsWith("/") ? path : `/${path}`;
}

/** The top-level checks of one group. */
export function normaliseTopLevelChecks(raw: RawFlyToml, group: string, defaultGroup: string): readonly Check[] {
  const checks: Check[] = [];
  for (const [name, check] of raw.checks) {
    const groups = check.processes.length > 0 ? check.processes : [defaultGroup];
    if (!groups.includes(group) || (check.type !== "http" && check.type !== "tcp")) continue;
    const own: Pick<TopLevelCheck, "type"> = check;
    const type = own.type === "http" ? "http" : "tcp";
    const checkPort = check.port ?? raw.http_service?.internal_port ?? DEFAULT_INTERNAL_PORT;
    checks.push(normaliseCheck({ name, type, port: checkPort, check, clamp: false, upperCaseMethod: true }));
  }
  return checks;
}
