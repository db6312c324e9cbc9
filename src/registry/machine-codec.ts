/** A Machine's config as JSON and back. Sets become sorted lists; everything else is plain already. */
import { parsePort, type Milliseconds, type Port } from "../core/units.ts";
import type {
  Check,
  FileEntry,
  Guest,
  Handler,
  HttpCheck,
  HttpOptions,
  Mount,
  ReplayCacheRule,
  RestartPolicy,
  Service,
  ServicePort,
  TlsOptions,
} from "../config/model.ts";
import {
  anything,
  branded,
  DecodeError,
  dictionary,
  flag,
  list,
  number,
  object,
  oneOf,
  optional,
  text,
  whole,
  type Decoder,
} from "./decode.ts";
import type { MachineConfig } from "./model.ts";

/** JSON of a value that may hold sets of texts. */
export function toJson(value: unknown): string {
  return JSON.stringify(value, (_key, item: unknown) =>
    item instanceof Set ? [...item].map(String).toSorted() : item,
  );
}

const duration: Decoder<Milliseconds> = (value, path) => {
  const length = number(value, path);
  if (length < 0) throw new DecodeError(path, "a length of time");
  return length as Milliseconds;
};

const portNumber: Decoder<Port> = (value, path) => {
  const result = parsePort(number(value, path));
  if (!result.ok) throw new DecodeError(path, "a port");
  return result.value;
};

const SIGNALS = ["SIGHUP", "SIGINT", "SIGQUIT", "SIGKILL", "SIGUSR1", "SIGUSR2", "SIGTERM", "SIGSTOP"] as const;
const HANDLERS = ["http", "tls", "pg_tls", "proxy_proto"] as const;
const handlerList = list(oneOf(...HANDLERS));
// There are 16 possible sets and ten thousand apps: each is kept once.
const handlerSets = new Map<string, ReadonlySet<Handler>>();

const handlers: Decoder<ReadonlySet<Handler>> = (value, path) => {
  const names = [...handlerList(value, path)].toSorted();
  const key = names.join();
  let set = handlerSets.get(key);
  if (set === undefined) {
    set = new Set(names);
    handlerSets.set(key, set);
  }
  return set;
};

const header = object<{ readonly name: string; readonly value: string }>({ name: text, value: text });

const responseHeader: Decoder<HttpOptions["responseHeaders"][number]> = object({
  name: text,
  value: (value, path) => (value === false ? false : list(text)(value, path)),
});

const httpOptions = object<HttpOptions>({
  compress: flag,
  h2Backend: flag,
  idleTimeout: optional(duration),
  headersReadTimeout: optional(duration),
  pristine: flag,
  responseHeaders: list(responseHeader),
  replayCache: list(
    object<ReplayCacheRule>({
      pathPrefix: text,
      ttl: duration,
      type: oneOf("cookie", "header"),
      name: text,
      allowBypass: flag,
    }),
  ),
});

const tlsOptions = object<TlsOptions>({
  alpn: optional(list(text)),
  versions: list(oneOf("TLSv1.2", "TLSv1.3")),
  defaultSelfSigned: flag,
});

const servicePort = object<ServicePort>({
  start: portNumber,
  end: portNumber,
  handlers,
  forceHttps: flag,
  httpOptions,
  tlsOptions,
  proxyProtocol: oneOf("v1", "v2"),
});

const check = object<Check>({
  name: text,
  type: oneOf("tcp", "http"),
  port: portNumber,
  interval: duration,
  timeout: duration,
  gracePeriod: duration,
  http: optional(
    object<HttpCheck>({
      method: text,
      path: text,
      protocol: oneOf("http", "https"),
      tlsSkipVerify: flag,
      tlsServerName: optional(text),
      headers: list(header),
    }),
  ),
});

const service = object<Service>({
  protocol: oneOf("tcp"),
  internalPort: portNumber,
  ports: list(servicePort),
  processes: list(text),
  autostop: oneOf("off", "stop", "suspend"),
  autostart: flag,
  minMachinesRunning: whole(0, Number.MAX_SAFE_INTEGER),
  concurrency: object<Service["concurrency"]>({
    type: oneOf("connections", "requests"),
    softLimit: number,
    hardLimit: optional(number),
  }),
  checks: list(check),
});

export const machineConfig = object<MachineConfig>({
  command: list(text),
  folder: text,
  env: dictionary(text),
  envFile: optional(text),
  user: optional(text),
  services: list(service),
  checks: list(check),
  mounts: list(object<Mount & { readonly folder: string }>({ source: text, destination: text, folder: text })),
  files: list(
    object<FileEntry>({
      guestPath: text,
      localPath: optional(text),
      secretName: optional(text),
      rawValue: optional(text),
    }),
  ),
  metadata: dictionary(text),
  processGroup: text,
  stop: object<MachineConfig["stop"]>({ signal: oneOf(...SIGNALS), timeout: duration }),
  restart: object<RestartPolicy>({
    policy: oneOf("always", "no", "on-failure"),
    maxRetries: whole(0, Number.MAX_SAFE_INTEGER),
  }),
  guest: object<Guest>({ cpus: optional(number), memoryMb: optional(number) }),
  skipDns: flag,
  autoDestroy: flag,
  raw: branded(anything),
});

/** The config as it would be read back from disk: what the view shows, and cut off from the caller's own object. */
export function canonicalConfig(config: MachineConfig): MachineConfig {
  return machineConfig(JSON.parse(toJson(config)), "config");
}

/** Whether two configs run the same thing: everything but metadata, which may change without a new version. */
export function runsTheSame(a: MachineConfig, b: MachineConfig): boolean {
  return toJson(withoutMetadata(a)) === toJson(withoutMetadata(b));
}

function withoutMetadata(config: MachineConfig): unknown {
  const { metadata: _, raw, ...rest } = config;
  if (typeof raw !== "object" || raw === null || Array.isArray(raw)) return { ...rest, raw };
  const { metadata: __, ...rawRest } = raw as Readonly<Record<string, unknown>>;
  return { ...rest, raw: rawRest };
}
