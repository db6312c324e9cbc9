import type { Concurrency, Handler as HandlerName, Limits, Service, TlsOptions } from "../../src/config/model.ts";
import type { AppName, HostId, MachineId, NetworkId, RegionCode } from "../../src/core/ids.ts";
import { port, seconds, type WallTime } from "../../src/core/units.ts";
import { machineAddress } from "../../src/network/address.ts";
import type { Caller } from "../../src/network/caller.ts";
import type { Machine } from "../../src/registry/model.ts";
import { PLAIN_CONFIG, PLAIN_HTTP_OPTIONS, PLAIN_LIMITS } from "../support/plain-values.ts";

export const HOME = 0x8000_0018 as NetworkId;
export const OTHER = 0x8000_0019 as NetworkId;
export const IAD = "iad" as RegionCode;
export const APP = "app" as AppName;

export const LIMITS: Limits = {
  ...PLAIN_LIMITS,
  wakeTimeout: seconds(20),
  queueTimeout: seconds(20),
  headTimeout: seconds(20),
};

export interface ServiceChoice {
  readonly internalPort?: number;
  readonly start?: number;
  readonly end?: number;
  readonly handlers?: readonly HandlerName[];
  readonly concurrency?: Partial<Concurrency>;
  readonly autostart?: boolean;
  readonly proxyProtocol?: "v1" | "v2";
  readonly tls?: Partial<TlsOptions>;
}

export function service(choice: ServiceChoice = {}): Service {
  const start = port(choice.start ?? 5000);
  return {
    protocol: "tcp",
    internalPort: port(choice.internalPort ?? 9000),
    ports: [
      {
        start,
        end: port(choice.end ?? start),
        handlers: new Set(choice.handlers ?? []),
        forceHttps: false,
        httpOptions: PLAIN_HTTP_OPTIONS,
        tlsOptions: {
          alpn: undefined,
          versions: ["TLSv1.2", "TLSv1.3"],
          defaultSelfSigned: false,
          ...choice.tls,
        },
        proxyProtocol: choice.proxyProtocol ?? "v1",
      },
    ],
    processes: ["app"],
    autostop: "stop",
    autostart: choice.autostart ?? true,
    minMachinesRunning: 0,
    concurrency: { type: "connections", softLimit: 20, hardLimit: undefined, ...choice.concurrency },
    checks: [],
  };
}

let lastPart = 0;

export function machine(id: string, services: readonly Service[], region: RegionCode = IAD): Machine {
  return {
    id: id as MachineId,
    name: id,
    app: APP,
    network: HOME,
    region,
    host: 0x00a7_007d as HostId,
    address: machineAddress(HOME, 0x00a7_007d as HostId, ++lastPart),
    config: { ...PLAIN_CONFIG, services },
    instance: "01",
    version: 1,
    cordoned: false,
    createdAt: 0 as WallTime,
    updatedAt: 0 as WallTime,
  };
}

export function unknownCaller(address: string, callerPort: number): Caller {
  return { address, port: callerPort, network: undefined, via: "unknown", machine: undefined, region: IAD };
}
