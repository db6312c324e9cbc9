import type {
  AutostopMode,
  Check,
  Handler,
  HttpOptions,
  ReplayCacheRule,
  Service,
  ServicePort,
} from "../config/model.ts";
import { AppError } from "../core/errors.ts";
import { seconds, type Milliseconds, type Port } from "../core/units.ts";
import type { PlatformCheck, PlatformPort, PlatformService } from "./platform-schemas.ts";
import { toDuration, toPort } from "./platform-values.ts";

const HANDLERS: ReadonlySet<string> = new Set<Handler>(["http", "tls", "pg_tls", "proxy_proto"]);
const DEFAULT_SOFT_LIMIT = 20;

/** A service that Flycast serves, or none: UDP is not on Flycast on the platform either. @errors invalid */
export function fromService(
  service: PlatformService,
  processGroup: string,
  disabled: boolean | null | undefined,
): Service[] {
  if (service.protocol === "udp") return [];
  const internalPort = toPort(service.internal_port);
  const soft = service.concurrency?.soft_limit || DEFAULT_SOFT_LIMIT;
  const hard = service.concurrency?.hard_limit || undefined;
  if (hard !== undefined && service.concurrency?.soft_limit && soft > hard) {
    throw new AppError("invalid", `service on port ${internalPort}: soft_limit ${soft} is above hard_limit ${hard}`);
  }
  return [
    {
      protocol: "tcp",
      internalPort,
      ports: (service.ports ?? []).map(fromPort),
      processes: [processGroup],
      autostop: toAutostop(service.autostop),
      autostart: service.autostart ?? !(disabled ?? false),
      minMachinesRunning: service.min_machines_running ?? 0,
      concurrency: {
        type: service.concurrency?.type ?? "connections",
        softLimit: hard === undefined ? soft : Math.min(soft, hard),
        hardLimit: hard,
      },
      checks: (service.checks ?? []).map((check, index) =>
        fromCheck(
          check,
          `servicecheck-${String(index).padStart(2, "0")}-${check.type ?? "tcp"}-${internalPort}`,
          internalPort,
        ),
      ),
    },
  ];
}

/** The platform writes off as `false`, stop as `true` (reference §1.7). */
function toAutostop(value: PlatformService["autostop"]): AutostopMode {
  if (value === true) return "stop";
  return value === false || value == null ? "off" : value;
}

function fromPort(port: PlatformPort): ServicePort {
  const start = port.port ?? (port.start_port || 1);
  const end = port.port ?? (port.end_port || (port.start_port === undefined ? start : 65_535));
  if (end < start) throw new AppError("invalid", `port range ${start} to ${end} ends before it starts`);
  const handlers = port.handlers ?? [];
  for (const handler of handlers) {
    if (!HANDLERS.has(handler)) {
      throw new AppError("invalid", `port ${start}: there is no handler "${handler}" (http, tls, pg_tls, proxy_proto)`);
    }
  }
  if (handlers.includes("tls") && handlers.includes("pg_tls")) {
    throw new AppError("invalid", `port ${start}: tls and pg_tls exclude each other`);
  }
  if (port.force_https === true) {
    throw new AppError(
      "invalid",
      `port ${start}: force_https must be false: Flycast is HTTP-only, and a redirect to HTTPS would lead nowhere`,
    );
  }
  const tls = port.tls_options ?? {};
  return {
    start: toPort(start),
    end: toPort(end),
    handlers: new Set(handlers as Handler[]),
    forceHttps: false,
    httpOptions: fromHttpOptions((port.http_options ?? {}) as Record<string, unknown>),
    tlsOptions: {
      alpn: tls.alpn ?? undefined,
      versions: (tls.versions ?? ["TLSv1.2", "TLSv1.3"]).filter(
        (version): version is "TLSv1.2" | "TLSv1.3" => version === "TLSv1.2" || version === "TLSv1.3",
      ),
      defaultSelfSigned: tls.default_self_signed ?? false,
    },
    proxyProtocol: port.proxy_proto_options?.version === "v2" ? "v2" : "v1",
  };
}

function fromHttpOptions(options: Record<string, unknown>): HttpOptions {
  const response = record(options["response"]);
  const secondsOf = (value: unknown): Milliseconds | undefined =>
    typeof value === "number" && value > 0 ? seconds(value) : undefined;
  return {
    compress: options["compress"] === true,
    h2Backend: options["h2_backend"] === true,
    idleTimeout: secondsOf(options["idle_timeout"]),
    headersReadTimeout: secondsOf(options["headers_read_timeout"]),
    pristine: response["pristine"] === true,
    responseHeaders: Object.entries(record(response["headers"])).map(([name, value]) => ({
      name,
      value: value === false ? false : Array.isArray(value) ? value.map(String) : [String(value)],
    })),
    replayCache: (Array.isArray(options["replay_cache"]) ? options["replay_cache"] : []).map(
      (entry): ReplayCacheRule => {
        const rule = record(entry);
        return {
          pathPrefix: typeof rule["path_prefix"] === "string" ? rule["path_prefix"] : "/",
          ttl: seconds(Math.max(10, Number(rule["ttl_seconds"]) || 10)),
          type: rule["type"] === "header" ? "header" : "cookie",
          name: typeof rule["name"] === "string" ? rule["name"] : "",
          allowBypass: rule["allow_bypass"] === true,
        };
      },
    ),
  };
}

/** @errors invalid */
export function fromCheck(check: PlatformCheck, name: string, port: Port): Check {
  const type = check.type === "http" ? "http" : "tcp";
  return {
    name,
    type,
    port: check.port == null ? port : toPort(check.port),
    interval: toDuration(check.interval, seconds(15), `${name}.interval`),
    timeout: toDuration(check.timeout, seconds(2), `${name}.timeout`),
    gracePeriod: toDuration(check.grace_period, seconds(1), `${name}.grace_period`),
    http:
      type === "tcp"
        ? undefined
        : {
            method: (check.method ?? "GET").toUpperCase(),
            path: check.path ?? "/",
            protocol: check.protocol === "https" ? "https" : "http",
            tlsSkipVerify: check.tls_skip_verify ?? false,
            tlsServerName: check.tls_server_name ?? undefined,
            headers: (check.headers ?? []).flatMap(({ name: header, values }) =>
              values.map((value) => ({ name: header, value })),
            ),
          },
  };
}

function record(value: unknown): Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value) ? (value as Record<string, unknown>) : {};
}
