import { formatDuration } from "./duration.ts";
import type { AppConfig, Check, HttpOptions, Service, ServicePort } from "./model.ts";
import { shellQuote } from "./shell-split.ts";
import { filled, shown, type ShownTable } from "./shown.ts";

/** A config in fly.toml's keys: no shorthand, every default written out. */
export function showFlyToml(config: AppConfig): ShownTable {
  const named = config.groups.length > 1 || config.defaultGroup !== "app" || config.groups[0]?.command !== undefined;
  const line = (words: readonly string[] | undefined) => (words ?? []).map(shellQuote).join(" ");
  return filled({
    app: config.name,
    primary_region: config.primaryRegion,
    kill_signal: config.killSignal,
    kill_timeout: formatDuration(config.killTimeout),
    swap_size_mb: config.swapSizeMb,
    env: config.env,
    processes: named ? Object.fromEntries(config.groups.map((group) => [group.name, line(group.command)])) : undefined,
    deploy: shown({
      strategy: config.deployStrategy,
      release_command: config.releaseCommand === undefined ? undefined : line(config.releaseCommand),
      release_command_timeout: formatDuration(config.releaseCommandTimeout),
    }),
    services: config.services.map(showService),
    checks: showTopLevelChecks(config),
    mounts: config.groups.flatMap((group) =>
      group.mounts.map((mount) => ({ source: mount.source, destination: mount.destination, processes: [group.name] })),
    ),
    files: config.groups.flatMap((group) =>
      group.files.map((file) =>
        shown({
          guest_path: file.guestPath,
          local_path: file.localPath,
          secret_name: file.secretName,
          raw_value: file.rawValue,
          processes: [group.name],
        }),
      ),
    ),
    restart: config.groups.map(({ name, restart }) => ({
      policy: restart.policy === "no" ? "never" : restart.policy,
      retries: restart.maxRetries,
      processes: [name],
    })),
    vm: config.groups
      .filter(({ guest }) => guest.cpus !== undefined || guest.memoryMb !== undefined)
      .map(({ name, guest }) => shown({ cpus: guest.cpus, memory_mb: guest.memoryMb, processes: [name] })),
  });
}

function showService(service: Service): ShownTable {
  const checks = (type: Check["type"]) => service.checks.filter((check) => check.type === type).map(showCheck);
  return filled({
    protocol: service.protocol,
    internal_port: service.internalPort,
    processes: service.processes,
    auto_stop_machines: service.autostop,
    auto_start_machines: service.autostart,
    min_machines_running: service.minMachinesRunning,
    ports: service.ports.map(showPort),
    concurrency: shown({
      type: service.concurrency.type,
      soft_limit: service.concurrency.softLimit,
      hard_limit: service.concurrency.hardLimit,
    }),
    tcp_checks: checks("tcp"),
    http_checks: checks("http"),
  });
}

function showPort(port: ServicePort): ShownTable {
  const { handlers, tlsOptions } = port;
  const single = port.start === port.end;
  return shown({
    port: single ? port.start : undefined,
    start_port: single ? undefined : port.start,
    end_port: single ? undefined : port.end,
    handlers: [...handlers],
    force_https: port.forceHttps ? true : undefined,
    http_options: handlers.has("http") ? showHttpOptions(port.httpOptions) : undefined,
    tls_options:
      handlers.has("tls") || handlers.has("pg_tls")
        ? shown({
            alpn: tlsOptions.alpn,
            versions: tlsOptions.versions,
            default_self_signed: tlsOptions.defaultSelfSigned,
          })
        : undefined,
    proxy_proto_options: handlers.has("proxy_proto") ? { version: port.proxyProtocol } : undefined,
  });
}

function showHttpOptions(options: HttpOptions): ShownTable {
  return filled({
    compress: options.compress,
    h2_backend: options.h2Backend,
    idle_timeout: options.idleTimeout === undefined ? undefined : options.idleTimeout / 1000,
    headers_read_timeout: options.headersReadTimeout === undefined ? undefined : options.headersReadTimeout / 1000,
    response: filled({
      pristine: options.pristine,
      headers: Object.fromEntries(options.responseHeaders.map(({ name, value }) => [name, value])),
    }),
    replay_cache: options.replayCache.map((rule) => ({
      path_prefix: rule.pathPrefix,
      ttl_seconds: rule.ttl / 1000,
      type: rule.type,
      name: rule.name,
      allow_bypass: rule.allowBypass,
    })),
  });
}

function showCheck(check: Check): ShownTable {
  return filled({
    interval: formatDuration(check.interval),
    timeout: formatDuration(check.timeout),
    grace_period: formatDuration(check.gracePeriod),
    method: check.http?.method,
    path: check.http?.path,
    protocol: check.http?.protocol,
    tls_skip_verify: check.http?.tlsSkipVerify,
    tls_server_name: check.http?.tlsServerName,
    headers:
      check.http === undefined
        ? undefined
        : Object.fromEntries(check.http.headers.map(({ name, value }) => [name, value])),
  });
}

function showTopLevelChecks(config: AppConfig): ShownTable {
  const checks = new Map<string, { check: Check; processes: string[] }>();
  for (const group of config.groups) {
    for (const check of group.checks) {
      const known = checks.get(check.name);
      if (known === undefined) checks.set(check.name, { check, processes: [group.name] });
      else known.processes.push(group.name);
    }
  }
  return Object.fromEntries(
    [...checks].map(([name, { check, processes }]) => [
      name,
      { type: check.type, port: check.port, ...showCheck(check), processes },
    ]),
  );
}
