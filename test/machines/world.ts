import type { Check, Service } from "../../src/config/model.ts";
import type { AppName, HostId, MachineId, NetworkId, OrgSlug, RegionCode } from "../../src/core/ids.ts";
import { ms, port, seconds, type Port, type WallTime } from "../../src/core/units.ts";
import type { MachineEvent } from "../../src/machines/events.ts";
import type { Probe } from "../../src/machines/health.ts";
import type { Machines, MachinesOptions } from "../../src/machines/machines.ts";
import type { Claim, ClaimRequest, Refusal } from "../../src/machines/pool.ts";
import { createMachines } from "../../src/machines/supervisors.ts";
import { machineAddress } from "../../src/network/address.ts";
import type { Caller } from "../../src/network/caller.ts";
import { Catalogue } from "../../src/registry/catalogue.ts";
import { Feed } from "../../src/registry/change-feed.ts";
import { createCommands } from "../../src/registry/command-set.ts";
import type { Registry } from "../../src/registry/commands.ts";
import type { CatalogueEvent } from "../../src/registry/events.ts";
import type { Machine, MachineConfig } from "../../src/registry/model.ts";
import { FakeClock, settle } from "../support/fake-clock.ts";
import { FakeDriver } from "../support/fake-driver.ts";
import { PLAIN_CONFIG, PLAIN_HTTP_OPTIONS } from "../support/plain-values.ts";

export const APP = "web" as AppName;
export const HOME = 0x8000_0018 as NetworkId;
export const IAD = "iad" as RegionCode;
export const AMS = "ams" as RegionCode;
export const PORT = port(8080);

/** Machine ids of 14 hex digits: 1, 2, 3… */
export function machineId(number: number): MachineId {
  return number.toString(16).padStart(14, "0") as MachineId;
}

export function service(change: Partial<Service> = {}): Service {
  const external = port(80);
  return {
    protocol: "tcp",
    internalPort: PORT,
    ports: [
      {
        start: external,
        end: external,
        handlers: new Set(),
        forceHttps: false,
        httpOptions: PLAIN_HTTP_OPTIONS,
        tlsOptions: { alpn: undefined, versions: ["TLSv1.3"], defaultSelfSigned: false },
        proxyProtocol: "v1",
      },
    ],
    processes: ["app"],
    autostop: "stop",
    autostart: true,
    minMachinesRunning: 0,
    concurrency: { type: "connections", softLimit: 20, hardLimit: undefined },
    checks: [],
    ...change,
  };
}

export function check(change: Partial<Check> = {}): Check {
  return {
    name: "servicecheck-00-tcp-8080",
    type: "tcp",
    port: PORT,
    interval: seconds(15),
    timeout: seconds(2),
    gracePeriod: ms(0),
    http: undefined,
    ...change,
  };
}

export interface MachineChoice {
  readonly app?: AppName;
  readonly region?: RegionCode;
  readonly services?: readonly Service[];
  readonly config?: Partial<MachineConfig>;
  readonly cordoned?: boolean;
  readonly network?: NetworkId;
}

export function machine(number: number, choice: MachineChoice = {}): Machine {
  const host = 1 as HostId;
  const network = choice.network ?? HOME;
  return {
    id: machineId(number),
    name: `machine-${number}`,
    app: choice.app ?? APP,
    network,
    region: choice.region ?? IAD,
    host,
    address: machineAddress(network, host, number),
    config: {
      ...PLAIN_CONFIG,
      services: choice.services ?? [service()],
      ...choice.config,
    },
    instance: "01",
    version: 1,
    cordoned: choice.cordoned ?? false,
    createdAt: 0 as WallTime,
    updatedAt: 0 as WallTime,
  };
}

export const CALLER: Caller = {
  address: "fdaa:8000:18::99",
  port: 40_000,
  network: HOME,
  via: "host",
  machine: undefined,
  region: IAD,
};

/** The registry's own catalogue and commands, without a disk. */
export class MemoryRegistry implements Registry {
  readonly view = new Catalogue();
  readonly changes = new Feed((message) => {
    throw new Error(message);
  });
  readonly commands = createCommands(async (decide) => {
    const decision = decide(this.view, {
      now: 0 as WallTime,
      host: 1 as HostId,
      random: (count) => new Uint8Array(count).fill(7),
      ulid: () => "01",
    });
    if (!decision.ok) throw decision.error;
    for (const event of decision.value.events) this.apply(event);
    return decision.value.value;
  });

  apply(event: CatalogueEvent): void {
    const change = this.view.apply(event);
    if (change !== undefined) this.changes.send(change);
  }

  addApp(name: AppName, primaryRegion: RegionCode | undefined = IAD): void {
    this.apply({
      kind: "app",
      value: {
        name,
        number: 1,
        org: "personal" as OrgSlug,
        network: HOME,
        primaryRegion,
        protocol: "auto",
        idleSessions: "keep",
        tls: undefined,
        createdAt: 0 as WallTime,
      },
    });
  }

  setStatus: Registry["setStatus"] = (id, status) => {
    if (this.view.setStatus(id, status)) {
      const app = this.view.machine(id)?.app;
      if (app !== undefined) this.changes.send({ kind: "status", id, app, status });
    }
  };

  async close(): Promise<void> {}
}

export interface World {
  readonly clock: FakeClock;
  readonly driver: FakeDriver;
  readonly registry: MemoryRegistry;
  readonly machines: Machines;
  readonly events: MachineEvent[];
  readonly logged: string[];
  /** A claim that must be granted. */
  claim(number: number, change?: Partial<ClaimRequest>): Claim;
  /** The refusal of a claim that must not be granted. */
  refusal(number: number, change?: Partial<ClaimRequest>): Refusal;
  state(number: number): string;
}

export interface WorldOptions extends Partial<Omit<MachinesOptions, "registry" | "driver" | "clock">> {
  readonly primaryRegion?: RegionCode;
  readonly probe?: Probe;
}

/** Supervisors over the real catalogue, with a clock and a driver that the test moves. */
export function world(machines: readonly Machine[], options: WorldOptions = {}): World {
  const clock = new FakeClock();
  const driver = new FakeDriver(clock);
  const registry = new MemoryRegistry();
  for (const app of new Set(machines.map((m) => m.app))) registry.addApp(app, options.primaryRegion);
  for (const value of machines) registry.apply({ kind: "machine", value });
  const events: MachineEvent[] = [];
  const logged: string[] = [];
  const log = (_: object, message: string): void => void logged.push(message);
  const owner = createMachines({
    registry,
    driver,
    clock,
    random: () => 0,
    limits: { wakeTimeout: seconds(60), starts: 8, perNetwork: 0.5, drainTimeout: seconds(300) },
    autostop: { interval: seconds(60), idle: seconds(300) },
    environment: async () => ({}),
    dialCheck: options.probe ?? (async () => ({ passed: true, output: "connected" })),
    onEvent: (event) => events.push(event),
    log: { info: log, warn: log, error: log },
    ...options,
  });
  const request = (number: number, change: Partial<ClaimRequest> = {}): ClaimRequest => ({
    machine: machineId(number),
    service: PORT as Port,
    caller: CALLER,
    kind: "connection",
    wake: true,
    since: clock.now(),
    ...change,
  });
  return {
    clock,
    driver,
    registry,
    machines: owner,
    events,
    logged,
    claim(number, change) {
      const outcome = owner.claim(request(number, change));
      if (outcome instanceof Promise) throw new Error("a claim on a Machine of this node is synchronous");
      if (!outcome.ok) throw new Error(`refused: ${outcome.refusal}`);
      return outcome.claim;
    },
    refusal(number, change) {
      const outcome = owner.claim(request(number, change));
      if (outcome instanceof Promise || outcome.ok) throw new Error("was not refused");
      return outcome.refusal;
    },
    state: (number) => registry.view.status(machineId(number)).state,
  };
}

export { settle };
