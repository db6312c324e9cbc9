/**
 * What the rest of the program knows of configuration: one internal shape, without shorthand and without optional
 * spellings. Made only by `config/normalise.ts`; durations are milliseconds, handlers a set, defaults filled in.
 */
import type { AppName, NetworkName, OrgSlug, RegionCode } from "../core/ids.ts";
import type { Bytes, Milliseconds, Port } from "../core/units.ts";

export type Handler = "http" | "tls" | "pg_tls" | "proxy_proto";
export type AutostopMode = "off" | "stop" | "suspend";
export type Signal = "SIGHUP" | "SIGINT" | "SIGQUIT" | "SIGKILL" | "SIGUSR1" | "SIGUSR2" | "SIGTERM" | "SIGSTOP";

export interface Concurrency {
  readonly type: "connections" | "requests";
  readonly softLimit: number;
  /** Undefined: no limit. */
  readonly hardLimit: number | undefined;
}

export interface HttpOptions {
  /** The app must ask for compression here; absent and false are the same. */
  readonly compress: boolean;
  readonly h2Backend: boolean;
  readonly idleTimeout: Milliseconds | undefined;
  readonly headersReadTimeout: Milliseconds | undefined;
  readonly pristine: boolean;
  /** Applied to the final response. `false` removes the header; a list sets several values. Names as written. */
  readonly responseHeaders: readonly { readonly name: string; readonly value: false | readonly string[] }[];
  readonly replayCache: readonly ReplayCacheRule[];
}

export interface ReplayCacheRule {
  readonly pathPrefix: string;
  readonly ttl: Milliseconds;
  readonly type: "cookie" | "header";
  readonly name: string;
  readonly allowBypass: boolean;
}

export interface TlsOptions {
  /** Undefined: the proxy's choice (h2 and http/1.1 where the port speaks HTTP, else none). */
  readonly alpn: readonly string[] | undefined;
  readonly versions: readonly ("TLSv1.2" | "TLSv1.3")[];
  readonly defaultSelfSigned: boolean;
}

/** One external port or range of ports of a service. `start` equals `end` for a single port. */
export interface ServicePort {
  readonly start: Port;
  readonly end: Port;
  readonly handlers: ReadonlySet<Handler>;
  /** Only true where `force_https` was explicitly allowed; the proxy ignores it. */
  readonly forceHttps: boolean;
  readonly httpOptions: HttpOptions;
  readonly tlsOptions: TlsOptions;
  /** Version of the PROXY header that is written when `proxy_proto` is among the handlers. */
  readonly proxyProtocol: "v1" | "v2";
}

export interface Check {
  /** As shown by `status`: `servicecheck-00-tcp-8080`, or the name of a top-level check. */
  readonly name: string;
  readonly type: "tcp" | "http";
  readonly port: Port;
  readonly interval: Milliseconds;
  readonly timeout: Milliseconds;
  /** Failures within this time after a start do not count. It never means that anybody waits. */
  readonly gracePeriod: Milliseconds;
  readonly http: HttpCheck | undefined;
}

export interface HttpCheck {
  readonly method: string;
  readonly path: string;
  readonly protocol: "http" | "https";
  readonly tlsSkipVerify: boolean;
  readonly tlsServerName: string | undefined;
  readonly headers: readonly { readonly name: string; readonly value: string }[];
}

/** One internal port with its external ports, limits and checks. */
export interface Service {
  /** UDP services are parsed, warned of and skipped: what is here is TCP. */
  readonly protocol: "tcp";
  readonly internalPort: Port;
  readonly ports: readonly ServicePort[];
  /** Names of the process groups whose Machines offer it; never empty. */
  readonly processes: readonly string[];
  readonly autostop: AutostopMode;
  readonly autostart: boolean;
  /** Counted in the primary region only, and only when autostop is not off. */
  readonly minMachinesRunning: number;
  readonly concurrency: Concurrency;
  readonly checks: readonly Check[];
}

export interface RestartPolicy {
  readonly policy: "always" | "no" | "on-failure";
  readonly maxRetries: number;
}

export interface Mount {
  readonly source: string;
  readonly destination: string;
}

export interface Guest {
  readonly cpus: number | undefined;
  readonly memoryMb: number | undefined;
}

export interface FileEntry {
  readonly guestPath: string;
  /** Exactly one of the three is set. */
  readonly localPath: string | undefined;
  readonly secretName: string | undefined;
  /** Base64, as in the platform's API. */
  readonly rawValue: string | undefined;
}

/** A kind of Machine that an app has. Without `[processes]` there is one, named `app`. */
export interface ProcessGroup {
  readonly name: string;
  /** Split as a shell would. Undefined: the file names none, so the workspace or a Machine's config must. */
  readonly command: readonly string[] | undefined;
  readonly mounts: readonly Mount[];
  readonly files: readonly FileEntry[];
  readonly checks: readonly Check[];
  readonly restart: RestartPolicy;
  readonly guest: Guest;
}

/** One `fly.toml`, normalised. */
export interface AppConfig {
  readonly name: AppName;
  readonly primaryRegion: RegionCode | undefined;
  readonly killSignal: Signal;
  readonly killTimeout: Milliseconds;
  readonly env: Readonly<Record<string, string>>;
  /** Sorted by name; `defaultGroup` is one of them. */
  readonly groups: readonly ProcessGroup[];
  readonly defaultGroup: string;
  readonly services: readonly Service[];
  readonly releaseCommand: readonly string[] | undefined;
  readonly releaseCommandTimeout: Milliseconds;
  readonly deployStrategy: "canary" | "rolling" | "immediate" | "bluegreen";
  readonly swapSizeMb: number | undefined;
}

/** One `[apps.NAME]` of flycast.toml together with its `fly.toml`. */
export interface WorkspaceApp {
  /** The key in flycast.toml, which must equal `config.name`. */
  readonly name: AppName;
  /** Absolute path of the app's folder: the Machines' working directory. */
  readonly folder: string;
  /** Absolute path of its fly.toml. */
  readonly file: string;
  readonly config: AppConfig;
  readonly org: OrgSlug;
  readonly network: NetworkName;
  /** How many Machines of each group in each region. Sorted by group, then region. */
  readonly machines: readonly { readonly group: string; readonly region: RegionCode; readonly count: number }[];
  /** Networks whose clients get an address of this app. Never empty when the app has services. */
  readonly flycast: readonly { readonly org: OrgSlug; readonly network: NetworkName }[];
  /** Networks whose apps may replay requests to this one, beside its own. */
  readonly replayFrom: readonly { readonly org: OrgSlug; readonly network: NetworkName }[];
  /** Command of each group, split: from flycast.toml, else from fly.toml. Complete: a missing one was a problem. */
  readonly commands: Readonly<Record<string, readonly string[]>>;
  /** Over fly.toml's `[env]`. May hold references `${APP.flycast:PORT}`, resolved when a Machine starts. */
  readonly env: Readonly<Record<string, string>>;
  /** Absolute path, read when a Machine starts; its values are never stored or logged. */
  readonly envFile: string | undefined;
  /** Absolute path of the folder that holds a folder per Machine and mount. */
  readonly volumes: string;
  readonly metadata: Readonly<Record<string, string>>;
  readonly user: string | undefined;
  /** External port → where it is published. Ports that are missing get any free loopback port. */
  readonly publish: ReadonlyMap<Port, { readonly host: string; readonly port: Port }>;
  readonly protocol: "auto" | "tcp" | "postgres";
  readonly idleSessions: "keep" | "end";
  /** Absolute paths. */
  readonly tls: { readonly cert: string; readonly key: string } | undefined;
}

export interface Limits {
  readonly wakeTimeout: Milliseconds;
  readonly queueTimeout: Milliseconds;
  readonly queueLength: number;
  readonly connectTimeout: Milliseconds;
  readonly headTimeout: Milliseconds;
  readonly keepaliveTimeout: Milliseconds;
  readonly halfClosedTimeout: Milliseconds;
  readonly drainTimeout: Milliseconds;
  readonly holdBuffer: Bytes;
  readonly replayMemory: Bytes;
  /** `auto`: RLIMIT_NOFILE − max(512, 10 %). */
  readonly connections: "auto" | number;
  readonly perNetwork: number;
  readonly starts: number;
}

export interface RegionEntry {
  readonly code: RegionCode;
  readonly lat: number | undefined;
  readonly lon: number | undefined;
  /** Declared round-trip times to other regions, in milliseconds. */
  readonly rttMs: ReadonlyMap<RegionCode, number>;
}

/** Everything of flycast.toml but the apps. */
export interface NodeConfig {
  readonly region: RegionCode;
  /** Absolute path. */
  readonly stateDir: string;
  readonly registry: { readonly kind: "file" } | { readonly kind: "redis"; readonly url: string };
  readonly networkMode: "auto" | "lab" | "host" | "loopback";
  readonly egress: "auto" | "none";
  /** Undefined: 127.0.0.1:4280 if that is free, else any port. */
  readonly api: { readonly host: string; readonly port: Port } | undefined;
  /** CIDR texts, checked. */
  readonly trustProxyProtocol: readonly string[];
  readonly hostNetworks: readonly { readonly org: OrgSlug; readonly network: NetworkName }[];
  /** Whether HTTP requests without a `traceparent` get one. */
  readonly trace: boolean;
  /** Undefined: no WireGuard gateway. */
  readonly wireguard:
    | {
        readonly host: string;
        readonly port: Port;
        /** Name or address that clients are told. */
        readonly endpoint: string;
      }
    | undefined;
  readonly autostop: { readonly interval: Milliseconds; readonly idle: Milliseconds };
  readonly limits: Limits;
  readonly dns: {
    /** `address` or `address:port`; empty: the system's. */
    readonly upstreams: readonly string[];
    readonly forward: ReadonlyMap<string, string>;
  };
  readonly regions: readonly RegionEntry[];
  readonly compatAllow: ReadonlySet<string>;
}

/** What `flycast up` runs. */
export interface Workspace {
  /** Absolute path of flycast.toml, or undefined when a single folder with a fly.toml was given. */
  readonly file: string | undefined;
  readonly node: NodeConfig;
  readonly apps: readonly WorkspaceApp[];
}
