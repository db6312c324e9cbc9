import { formatDuration } from "../config/duration.ts";
import type { Check, Service, ServicePort } from "../config/model.ts";
import { DEFAULT_NETWORK } from "../core/ids.ts";
import { networkCidr } from "../network/address.ts";
import type {
  App,
  FlycastAddress,
  Machine,
  MachineConfig,
  MachineStatus,
  Network,
  Organisation,
} from "../registry/model.ts";
import type { Lease } from "./leases.ts";
import { imageOf } from "./releases.ts";
import type { AppJson, IpJson, MachineJson, MachineSummaryJson } from "./platform-schemas.ts";

/** An event in a Machine's history, newest first in lists. `timestamp` in milliseconds. */
export interface MachineHistoryEntry {
  readonly id: string;
  readonly type: "launch" | "start" | "exit" | "stop" | "suspend" | "destroy";
  readonly status: string;
  readonly source: "flyd" | "user" | "proxy";
  readonly timestamp: number;
  readonly request?: Readonly<Record<string, unknown>>;
}

export interface MachineView {
  readonly status: MachineStatus;
  /** As clients see it, which is not always the status's own. */
  readonly state: string;
  /** Newest first. */
  readonly events: readonly MachineHistoryEntry[];
  /** The lease that somebody holds on it. */
  readonly lease?: Lease | undefined;
  /** Of the lease, for whoever took it with this call. */
  readonly nonce?: string | undefined;
}

/** A Machine in the platform's JSON (reference §10.3). */
export function machineJson(machine: Machine, { status, state, events, lease, nonce }: MachineView): MachineJson {
  return {
    ...machineSummary(machine, status, state),
    config: configJson(machine.config),
    events: [...events],
    checks: status.checks.map((check) => ({
      name: check.name,
      status: check.status,
      output: check.output,
      updated_at: new Date(check.updatedAt).toISOString(),
    })),
    ...(nonce === undefined ? {} : { nonce }),
    ...(lease === undefined
      ? {}
      : {
          lease: {
            owner: lease.owner,
            description: lease.description,
            expires_at: Math.floor(lease.expiresAt / 1000),
          },
        }),
    // Clients hide Machines whose host is not "ok".
    host_status: "ok",
  };
}

/** What `?summary=true` asks for: without config, events, checks and host. */
export function machineSummary(machine: Machine, status: MachineStatus, state: string): MachineSummaryJson {
  return {
    id: machine.id,
    name: machine.name,
    state,
    region: machine.region,
    image_ref: imageRef(machine.config),
    instance_id: machine.instance,
    version: machine.instance,
    private_ip: machine.address,
    created_at: new Date(machine.createdAt).toISOString(),
    updated_at: new Date(Math.max(machine.updatedAt, status.since)).toISOString(),
    cordoned: machine.cordoned,
  };
}

/** An image that the client named is given back as such, though none is run. */
function imageRef(config: MachineConfig): MachineJson["image_ref"] {
  const match = /^(?:([^/]*[.:][^/]*)\/)?([^:@]+)(?::([^@]*))?(?:@(.*))?$/.exec(imageOf(config));
  return {
    registry: match?.[1] ?? "",
    repository: match?.[2] ?? "process",
    tag: match?.[3] ?? "latest",
    digest: match?.[4] ?? "",
    labels: {},
  };
}

/** The config as it was given, when the API made the Machine; else the same shape made from ours. */
export function configJson(config: MachineConfig): MachineJson["config"] {
  if (typeof config.raw === "object" && config.raw !== null) return { ...config.raw, metadata: config.metadata };
  return {
    image: "process",
    env: config.env,
    init: { exec: config.command },
    guest: { cpu_kind: "shared", cpus: config.guest.cpus ?? 1, memory_mb: config.guest.memoryMb ?? 256 },
    metadata: config.metadata,
    services: config.services.map(serviceJson),
    checks: Object.fromEntries(config.checks.map((check) => [check.name, checkJson(check)])),
    restart: { policy: config.restart.policy, max_retries: config.restart.maxRetries },
    stop_config: { timeout: formatDuration(config.stop.timeout), signal: config.stop.signal },
    ...(config.skipDns ? { dns: { skip_registration: true } } : {}),
    ...(config.autoDestroy ? { auto_destroy: true } : {}),
  };
}

function serviceJson(service: Service): object {
  return {
    protocol: service.protocol,
    internal_port: service.internalPort,
    // The platform writes off as false and stop as true (reference §1.7).
    autostop: service.autostop === "suspend" ? "suspend" : service.autostop === "stop",
    autostart: service.autostart,
    min_machines_running: service.minMachinesRunning,
    ports: service.ports.map(portJson),
    concurrency: {
      type: service.concurrency.type,
      soft_limit: service.concurrency.softLimit,
      ...(service.concurrency.hardLimit === undefined ? {} : { hard_limit: service.concurrency.hardLimit }),
    },
    ...(service.checks.length === 0 ? {} : { checks: service.checks.map(checkJson) }),
    force_instance_key: null,
  };
}

function portJson(port: ServicePort): object {
  const { httpOptions: http, tlsOptions: tls } = port;
  return {
    ...(port.start === port.end ? { port: port.start } : { start_port: port.start, end_port: port.end }),
    handlers: [...port.handlers].toSorted(),
    ...(port.handlers.has("proxy_proto") ? { proxy_proto_options: { version: port.proxyProtocol } } : {}),
    ...(http.h2Backend || http.compress || http.pristine
      ? { http_options: { h2_backend: http.h2Backend, compress: http.compress, response: { pristine: http.pristine } } }
      : {}),
    ...(port.handlers.has("tls") || port.handlers.has("pg_tls")
      ? { tls_options: { alpn: tls.alpn, versions: tls.versions, default_self_signed: tls.defaultSelfSigned } }
      : {}),
  };
}

function checkJson(check: Check): object {
  return {
    type: check.type,
    port: check.port,
    interval: formatDuration(check.interval),
    timeout: formatDuration(check.timeout),
    grace_period: formatDuration(check.gracePeriod),
    ...(check.http === undefined
      ? {}
      : {
          method: check.http.method,
          path: check.http.path,
          protocol: check.http.protocol,
          tls_skip_verify: check.http.tlsSkipVerify,
          ...(check.http.tlsServerName === undefined ? {} : { tls_server_name: check.http.tlsServerName }),
          headers: check.http.headers.map(({ name, value }) => ({ name, values: [value] })),
        }),
  };
}

/** An app in the platform's JSON. */
export function appJson(app: App, organisation: Organisation | undefined, network: string, machines: number): AppJson {
  return {
    id: app.name,
    name: app.name,
    internal_numeric_id: app.number,
    network,
    network_cidr: networkCidr(app.network),
    status: machines === 0 ? "pending" : "deployed",
    machine_count: machines,
    volume_count: 0,
    organization: {
      name: organisation?.name ?? app.org,
      slug: app.org,
      internal_numeric_id: organisation?.number ?? 0,
    },
    cname_target: "",
    app_role: "",
  };
}

export function ipJson(address: FlycastAddress, network: Network | undefined): IpJson {
  return {
    ip: address.address,
    region: "global",
    service_name: "",
    shared: false,
    egress: false,
    network:
      network === undefined
        ? null
        : { name: network.name === DEFAULT_NETWORK ? "" : network.name, org_slug: network.org },
    created_at: new Date(address.createdAt).toISOString(),
  };
}
