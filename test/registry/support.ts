import { randomBytes } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { onTestFinished } from "vitest";
import { systemClock } from "../../src/core/clock.ts";
import type { AppName, NetworkName, OrgSlug, RegionCode } from "../../src/core/ids.ts";
import { ms, port } from "../../src/core/units.ts";
import type { Service, ServicePort } from "../../src/config/model.ts";
import type { MachineConfig } from "../../src/registry/model.ts";
import { openFileRegistry, type FileRegistry, type FileRegistryOptions } from "../../src/registry/stores/file.ts";

export const appName = (name: string): AppName => name as AppName;
export const org = (slug: string): OrgSlug => slug as OrgSlug;
export const networkName = (name: string): NetworkName => name as NetworkName;
export const iad = "iad" as RegionCode;
export const personal = org("personal");
export const defaultNetwork = networkName("default");

export function servicePort(start: number, end = start): ServicePort {
  return {
    start: port(start),
    end: port(end),
    handlers: new Set(["tls", "http"]),
    forceHttps: false,
    httpOptions: {
      compress: false,
      h2Backend: false,
      idleTimeout: undefined,
      headersReadTimeout: ms(1000),
      pristine: false,
      responseHeaders: [
        { name: "Server", value: false },
        { name: "X-A", value: ["1", "2"] },
      ],
      replayCache: [{ pathPrefix: "/", ttl: ms(5000), type: "cookie", name: "id", allowBypass: true }],
    },
    tlsOptions: { alpn: ["h2"], versions: ["TLSv1.2", "TLSv1.3"], defaultSelfSigned: false },
    proxyProtocol: "v2",
  };
}

export function service(internal: number, ports: readonly ServicePort[]): Service {
  return {
    protocol: "tcp",
    internalPort: port(internal),
    ports,
    processes: ["app"],
    autostop: "stop",
    autostart: true,
    minMachinesRunning: 0,
    concurrency: { type: "requests", softLimit: 20, hardLimit: undefined },
    checks: [
      {
        name: "servicecheck-00-http-8080",
        type: "http",
        port: port(internal),
        interval: ms(10_000),
        timeout: ms(2000),
        gracePeriod: ms(1000),
        http: {
          method: "get",
          path: "/",
          protocol: "http",
          tlsSkipVerify: false,
          tlsServerName: undefined,
          headers: [{ name: "a", value: "b" }],
        },
      },
    ],
  };
}

export function machineConfig(change: Partial<MachineConfig> = {}): MachineConfig {
  return {
    command: ["node", "server.js"],
    folder: "/srv/web",
    env: { A: "1", "Ünïcode\n": "line\nfeed" },
    envFile: undefined,
    user: undefined,
    services: [service(8080, [servicePort(80)])],
    checks: [],
    mounts: [{ source: "data", destination: "/data", folder: "/srv/volumes/data" }],
    files: [{ guestPath: "/etc/x", localPath: undefined, secretName: undefined, rawValue: "aGk=" }],
    metadata: { role: "primary" },
    processGroup: "app",
    stop: { signal: "SIGINT", timeout: ms(5000) },
    restart: { policy: "on-failure", maxRetries: 10 },
    guest: { cpus: 1, memoryMb: 256 },
    skipDns: false,
    autoDestroy: false,
    raw: { image: "x", nested: [1, null, { a: true }] },
    ...change,
  };
}

/** A folder of its own for a test, gone when the test is. */
export async function temporaryFolder(): Promise<string> {
  const dir = await mkdtemp(join(tmpdir(), "flycast-test-"));
  onTestFinished(() => rm(dir, { recursive: true, force: true }));
  return dir;
}

/** A file registry that is closed when the test is done. Notices are collected. */
export async function openRegistry(
  dir: string,
  options: Partial<FileRegistryOptions> = {},
): Promise<{ readonly registry: FileRegistry; readonly notices: string[] }> {
  const notices: string[] = [];
  const registry = await openFileRegistry({
    dir,
    clock: systemClock,
    random: (n) => randomBytes(n),
    onNotice: (message) => notices.push(message),
    ...options,
  });
  onTestFinished(() => registry.close());
  return { registry, notices };
}
