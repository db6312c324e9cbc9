import type { HttpOptions, Limits } from "../../src/config/model.ts";
import { bytes, ms, seconds } from "../../src/core/units.ts";
import type { MachineConfig } from "../../src/registry/model.ts";

/** A Machine of which nothing is special. Tests spread it and change what they are about. */
export const PLAIN_CONFIG: MachineConfig = {
  command: ["true"],
  folder: "/",
  env: {},
  envFile: undefined,
  user: undefined,
  services: [],
  checks: [],
  mounts: [],
  files: [],
  metadata: {},
  processGroup: "app",
  stop: { signal: "SIGINT", timeout: seconds(5) },
  restart: { policy: "on-failure", maxRetries: 10 },
  guest: { cpus: undefined, memoryMb: undefined },
  skipDns: false,
  autoDestroy: false,
  raw: undefined,
};

export const PLAIN_HTTP_OPTIONS: HttpOptions = {
  compress: false,
  h2Backend: false,
  idleTimeout: undefined,
  headersReadTimeout: undefined,
  pristine: false,
  responseHeaders: [],
  replayCache: [],
};

/** `[limits]` as nobody wrote it. */
export const PLAIN_LIMITS: Limits = {
  wakeTimeout: seconds(60),
  queueTimeout: seconds(30),
  queueLength: 1000,
  connectTimeout: ms(5000),
  headTimeout: seconds(30),
  keepaliveTimeout: seconds(75),
  halfClosedTimeout: seconds(600),
  drainTimeout: seconds(300),
  holdBuffer: bytes(64 * 1024),
  replayMemory: bytes(64 * 1024 * 1024),
  connections: "auto",
  perNetwork: 0.5,
  starts: 8,
};
