import { parseDuration } from "../config/duration.ts";
import type {
  AutostopMode,
  Check,
  Handler,
  HttpOptions,
  ReplayCacheRule,
  RestartPolicy,
  Service,
  ServicePort,
  Signal,
} from "../config/model.ts";
import { AppError } from "../core/errors.ts";
import { ms, parsePort, seconds, type Milliseconds, type Port } from "../core/units.ts";
import type { MachineConfig } from "../registry/model.ts";
import type { PlatformCheck, PlatformConfig, PlatformPort, PlatformService } from "./platform-schemas.ts";

const HANDLERS: ReadonlySet<string> = new Set<Handler>(["http", "tls", "pg_tls", "proxy_proto"]);
const SIGNALS: ReadonlySet<string> = new Set<Signal>([
  "SIGHUP",
  "SIGINT",
  "SIGQUIT",
  "SIGKILL",
  "SIGUSR1",
  "SIGUSR2",
  "SIGTERM",
  "SIGSTOP",
]);
const DEFAULT_SOFT_LIMIT = 20;

/** Where Machines made through the API run, and as whom. */
export interface ApiMachineHome {
  /** Working folder where the config names none. */
  readonly folder: string;
  readonly user: string | undefined;
  /** Where the folders of its volumes lie. */
  readonly volumes: string;
}

/**
 * A Machine's config from the platform's JSON. The command is `init.exec`, else entrypoint and cmd together, as a container
 * would run them; an image alone cannot be run by the process driver. `metadata.flycast_folder` names the working folder.
 * `before`: the Machine exists, and keeps what the platform's JSON has no words for: folder, user, env file.
 * @errors missing_command, invalid, and those of `home`, which is asked only for a new Machine or new mounts
 */
export function fromPlatform(
  config: PlatformConfig,
  home: () => ApiMachineHome,
  before?: MachineConfig,
): MachineConfig {
  const metadata = config.metadata ?? {};
  const place = before ?? home();
  const processGroup = metadata["fly_process_group"] ?? metadata["process_group"] ?? "app";
  const services = (config.services ?? []).flatMap((service) =>
    fromService(service, processGroup, config.disable_machine_autostart),
  );
  return {
    command: commandOf(config),
    folder: folderOf(metadata["flycast_folder"]) ?? place.folder,
    env: config.env ?? {},
    envFile: before?.envFile,
    user: place.user,
    services,
    checks: Object.entries(config.checks ?? {}).flatMap(([name, check]) => {
      const port = check.port ?? services[0]?.internalPort;
      return port === undefined ? [] : [fromCheck(check, name, toPort(port))];
    }),
    mounts: mountsOf(config, home, before),
    // A Machine of a workspace has files that its JSON does not show.
    files:
      config.files == null
        ? (before?.files ?? [])
        : config.files.map((file) => ({
            guestPath: absolutePath(file.guest_path, "files.guest_path"),
            localPath: undefined,
            secretName: file.secret_name ?? undefined,
            rawValue: file.raw_value ?? undefined,
          })),
    metadata,
    processGroup,
    stop: {
      signal: toSignal(config.stop_config?.signal ?? undefined),
      timeout: toDuration(config.stop_config?.timeout, seconds(5), "stop_config.timeout"),
    },
    restart: fromRestart(config.restart ?? undefined),
    guest: { cpus: config.guest?.cpus ?? undefined, memoryMb: config.guest?.memory_mb ?? undefined },
    skipDns: config.dns?.skip_registration ?? false,
    autoDestroy: config.auto_destroy ?? false,
    raw: config,
  };
}

const VOLUME_NAME = /^[A-Za-z0-9_]{1,64}$/;

function mountsOf(
  config: PlatformConfig,
  home: () => ApiMachineHome,
  before: MachineConfig | undefined,
): MachineConfig["mounts"] {
  if (config.mounts == null) return before?.mounts ?? [];
  return config.mounts.flatMap((mount) => {
    // One for each Machine, whatever its name: volumes do not wander between Machines here.
    const source = mount.volume || mount.name;
    if (!source || !mount.path) return [];
    if (!VOLUME_NAME.test(source)) {
      throw new AppError("invalid", `mounts: a volume's name has letters, digits and underscores, at most 64`);
    }
    const destination = absolutePath(mount.path, "mounts.path");
    const old = before?.mounts.find((one) => one.source === source);
    return [{ source, destination, folder: old?.folder ?? home().volumes }];
  });
}

function folderOf(text: string | undefined): string | undefined {
  return text === undefined ? undefined : absolutePath(text, "metadata.flycast_folder");
}

/** @errors invalid */
function absolutePath(text: string, what: string): string {
  if (!text.startsWith("/") || text.includes("\0") || text.split("/").includes(".."))
    throw new AppError("invalid", `${what}: must be an absolute path without ".."`);
  return text;
}

function commandOf(config: PlatformConfig): readonly string[] {
  // flyctl always sends `init`, empty where it has nothing to say.
  for (const init of [config.init, config.processes?.[0]]) {
    const command = init?.exec?.length ? init.exec : [...(init?.entrypoint ?? []), ...(init?.cmd ?? [])];
    if (command.some((word) => word.includes("\0")))
      throw new AppError("invalid", "config.init: a word holds a zero byte");
    if (command.length > 0 && command[0] !== "") return command;
  }
  throw new AppError(
    "missing_command",
    "the Machine's config names no command: set config.init.exec (or entrypoint and cmd) to a list of words. " +
      "Images are not run by this node's process driver.",
  );
}

function fromService(service: PlatformService, processGroup: string, disabled: boolean | null | undefined): Service[] {
  // UDP is not on Flycast on the platform either.
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

function fromCheck(check: PlatformCheck, name: string, port: Port): Check {
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

function fromRestart(restart: PlatformConfig["restart"]): RestartPolicy {
  const policy = restart?.policy ?? "on-failure";
  return {
    policy: policy === "never" || policy === "spot-price" ? "no" : policy,
    // superfly/docs machines/guides: 10 tries.
    maxRetries: restart?.max_retries ?? 10,
  };
}

/** A name, with or without SIG, in any case. The platform's default is SIGINT. */
export function toSignal(name: string | undefined): Signal {
  if (name === undefined || name === "") return "SIGINT";
  const upper = name.toUpperCase();
  const full = upper.startsWith("SIG") ? upper : `SIG${upper}`;
  if (!SIGNALS.has(full)) throw new AppError("invalid", `"${name}" is not one of ${[...SIGNALS].join(", ")}`);
  return full as Signal;
}

/** A Go duration or nanoseconds; zero and absent are the default (flyctl always sends a timeout, "0s" when unset). */
export function toDuration(
  value: string | number | null | undefined,
  fallback: Milliseconds,
  what: string,
): Milliseconds {
  if (value == null || value === 0 || value === "") return fallback;
  if (typeof value === "number") return ms(value / 1e6);
  const parsed = parseDuration(value);
  if (!parsed.ok) throw new AppError("invalid", `${what}: ${parsed.error}`);
  return parsed.value === 0 ? fallback : parsed.value;
}

function toPort(value: number): Port {
  const parsed = parsePort(value);
  if (!parsed.ok) throw new AppError("invalid", parsed.error);
  return parsed.value;
}

function record(value: unknown): Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value) ? (value as Record<string, unknown>) : {};
}
