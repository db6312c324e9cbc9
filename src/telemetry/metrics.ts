import { collectDefaultMetrics, Counter, Histogram, Registry as PromRegistry } from "prom-client";
import { systemClock, type Clock } from "../core/clock.ts";
import type { ErrorCode } from "../core/errors.ts";
import type { AppName, MachineId } from "../core/ids.ts";
import type { Monotonic } from "../core/units.ts";
import type { ChangeFeed, RegistryView } from "../registry/view.ts";
import { family, type Sample } from "./exposition.ts";
import { DENIALS, DNS_RCODES, DNS_TYPES, DNS_VIEWS, oneOf } from "./label-sets.ts";
import { Traffic } from "./traffic.ts";

/** What is counted when a piece of work has ended; the proxy's `Settlement` fits. */
export interface SettledWork {
  readonly work:
    | {
        readonly kind: "connection" | "request";
        readonly app: AppName;
        readonly since: Monotonic;
        readonly route: { readonly service: { readonly internalPort: number } };
      }
    | undefined;
  readonly machine: MachineId | undefined;
  readonly code: ErrorCode | undefined;
  readonly bytesIn: number;
  readonly bytesOut: number;
  readonly status: number | undefined;
}

/** What a wake cost, in milliseconds after the connection that caused it was accepted; the receipt of a wake fits. */
export interface WakeTimes {
  readonly resumed: boolean;
  readonly claimed: number;
  readonly driverStarted: number | undefined;
  readonly checkPassed: number | undefined;
  readonly portOpen: number | undefined;
  readonly firstByte: number | undefined;
}

/** What happened to a Machine; the events of `machines/` fit. */
export type CountedEvent = { readonly machine: MachineId } & (
  | { readonly event: "wake" }
  | { readonly event: "started"; readonly receipt: WakeTimes | undefined }
  | { readonly event: "stopping" | "stopped" | "suspended"; readonly because: string }
  | { readonly event: "failed"; readonly code: ErrorCode }
);

/** One answered DNS question. */
export interface CountedQuery {
  readonly type: string;
  readonly rcode: string;
  readonly view: string;
}

/** What is not counted but looked up when somebody asks. Everything is optional: what is missing is not published. */
export interface Observed {
  readonly view?: RegistryView;
  /** Claims held by each service of each Machine that has any. */
  readonly load?: () => Iterable<{
    readonly app: string;
    readonly machine: string;
    readonly service: number;
    readonly claims: number;
  }>;
  /** Connections open now. */
  readonly connections?: () => number;
  /** Who waits for a Machine, by app and service. */
  readonly queues?: () => Iterable<{ readonly app: string; readonly service: number; readonly length: number }>;
  /** The gateway of WireGuard clients, where there is one. `by`: who carries the tunnels, undefined while nobody does. */
  readonly wireguard?: () => { readonly by: string | undefined; readonly tunnels: number };
  /** Packets that the kernel refused since the start, by reason. */
  readonly denied?: () => Promise<Readonly<Record<string, number>>>;
}

/** Every method may be passed on by itself: none uses `this`. None throws. */
export interface Metrics {
  readonly settled: (settlement: SettledWork) => void;
  readonly machineEvent: (event: CountedEvent) => void;
  readonly dnsQuery: (query: CountedQuery) => void;
  /** A failure that no settlement and no event tells of. */
  readonly error: (code: ErrorCode) => void;
  /** How long it took until a Machine's port had accepted, in seconds. */
  readonly connected: (app: AppName, service: number, machine: MachineId, seconds: number) => void;
  /** Drops the time series of what no longer exists. */
  readonly forgetMachine: (app: AppName, machine: MachineId) => void;
  readonly forgetApp: (app: AppName) => void;
  readonly observe: (observed: Observed) => void;
  /** Observes the view, and forgets Machines and apps when they go. Gives what ends it. */
  readonly follow: (registry: { readonly view: RegistryView; readonly changes: ChangeFeed }) => () => void;
  readonly contentType: string;
  /** All of it in Prometheus' text format. */
  readonly text: () => Promise<string>;
}

export interface MetricsOptions {
  readonly clock?: Clock;
  /** Region of this node: the label of the `fly_edge_` series. @default "dev" */
  readonly region?: string;
  /** The platform's label `host`: four hex digits. @default "0000" */
  readonly host?: string;
}

const WAKE_BUCKETS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60];

/** Counters of one node, in a registry of their own: two systems in one process don't mix. */
export function createMetrics(options: MetricsOptions = {}): Metrics {
  const { clock = systemClock, region = "dev", host = "0000" } = options;
  const prom = new PromRegistry();
  const registers = [prom];
  collectProcessMetrics(prom);
  let observed: Observed = {};
  const traffic = new Traffic(region, (machine) => observed.view?.machine(machine)?.region);

  const errors = new Counter({
    name: "flycast_errors_total",
    help: "Failures by error code (docs/errors.md).",
    labelNames: ["code"],
    registers,
  });
  const wakes = new Counter({
    name: "flycast_wakes_total",
    help: "Wakes by what it came to: started, resumed or failed.",
    labelNames: ["outcome"],
    registers,
  });
  const wakeTimes = new Histogram({
    name: "flycast_wake_seconds",
    help: "Time from accept until a phase of a wake was over.",
    labelNames: ["phase"],
    buckets: WAKE_BUCKETS,
    registers,
  });
  const stops = new Counter({
    name: "flycast_stops_total",
    help: "Machines that were stopped or suspended, by reason: idle, command or exited.",
    labelNames: ["action", "reason"],
    registers,
  });
  const queries = new Counter({
    name: "flycast_dns_queries_total",
    help: "DNS questions by type, answer and whose name was asked for.",
    labelNames: ["type", "rcode", "view"],
    registers,
  });
  /** Why each stopping Machine stops: its end is told by a second event. */
  const stopping = new Map<MachineId, string>();
  const waking = new Set<MachineId>();

  const machineEvent = (event: CountedEvent): void => {
    switch (event.event) {
      case "wake":
        waking.add(event.machine);
        return;
      case "started":
        if (event.receipt === undefined) return;
        waking.delete(event.machine);
        wakes.inc({ outcome: event.receipt.resumed ? "resumed" : "started" });
        observeWake(wakeTimes, event.receipt);
        return;
      case "stopping":
        stopping.set(event.machine, reasonOf(event.because));
        return;
      case "stopped":
        stops.inc({ action: "stop", reason: stopping.get(event.machine) ?? "exited" });
        stopping.delete(event.machine);
        waking.delete(event.machine);
        return;
      case "suspended":
        stops.inc({ action: "suspend", reason: reasonOf(event.because) });
        return;
      case "failed":
        errors.inc({ code: event.code });
        if (waking.delete(event.machine)) wakes.inc({ outcome: "failed" });
        stopping.delete(event.machine);
    }
  };

  const observe = (more: Observed): void => {
    observed = { ...observed, ...more };
  };
  const forgetApp = (app: AppName): void => traffic.forgetApp(app);
  const forgetMachine = (app: AppName, machine: MachineId): void => {
    traffic.forgetMachine(app, machine);
    stopping.delete(machine);
    waking.delete(machine);
  };

  return {
    machineEvent,
    observe,
    forgetApp,
    forgetMachine,
    follow: ({ view, changes }) => {
      observe({ view });
      return changes.subscribe((change) => {
        if (change.kind === "machine" && change.gone) forgetMachine(change.app, change.id);
        if (change.kind === "app" && view.app(change.name) === undefined) forgetApp(change.name);
      });
    },
    settled: ({ work, machine, code, bytesIn, bytesOut, status }) => {
      if (code !== undefined) errors.inc({ code });
      if (work === undefined) return;
      const key = { app: work.app, service: work.route.service.internalPort, machine };
      if (work.kind === "connection") traffic.connectionEnded(key, bytesIn, bytesOut);
      // Without a status the client left before there was an answer: nothing was responded.
      else if (status === undefined) traffic.requestUnanswered(key, bytesIn, bytesOut);
      else traffic.requestEnded(key, status, Math.max(0, clock.now() - work.since) / 1000, bytesIn, bytesOut);
    },
    dnsQuery: ({ type, rcode, view }) => {
      queries.inc({ type: oneOf(DNS_TYPES, type), rcode: oneOf(DNS_RCODES, rcode), view: oneOf(DNS_VIEWS, view) });
    },
    error: (code) => errors.inc({ code }),
    connected: (app, service, machine, seconds) => traffic.connected({ app, service, machine }, seconds),
    contentType: prom.contentType,
    text: async () => {
      const denied = await observed.denied?.().catch(() => undefined);
      return `${await prom.metrics()}\n${traffic.text(host)}${observedText(observed, host)}${deniedText(denied)}`;
    },
  };
}

/**
 * prom-client's own, but for the percentiles of the event loop's delay: they are measured by a timer that runs all the time, a
 * hundred times a second by default, and a node with nothing to do shall do nothing.
 */
function collectProcessMetrics(register: PromRegistry): void {
  collectDefaultMetrics({ register, eventLoopMonitoringPrecision: 3_600_000 });
  for (const name of ["min", "max", "mean", "stddev", "p50", "p90", "p99"]) {
    register.removeSingleMetric(`nodejs_eventloop_lag_${name}_seconds`);
  }
}

function reasonOf(because: string): "idle" | "command" {
  // The one sentence that autostop writes when it stops a Machine begins so; everything else is somebody's wish.
  return because.startsWith("idle for ") ? "idle" : "command";
}

function observeWake(histogram: Histogram<"phase">, receipt: WakeTimes): void {
  const phases = {
    claimed: receipt.claimed,
    driver_started: receipt.driverStarted,
    check_passed: receipt.checkPassed,
    port_open: receipt.portOpen,
    first_byte: receipt.firstByte,
  };
  for (const [phase, after] of Object.entries(phases))
    if (after !== undefined) histogram.observe({ phase }, after / 1000);
}

function observedText(observed: Observed, host: string): string {
  let text = "";
  const { view, load, connections, queues, wireguard } = observed;
  if (view !== undefined) text += family("gauge", "flycast_machines", "Machines by state.", machinesByState(view));
  if (connections !== undefined) {
    const samples = [{ labels: {}, value: connections() }];
    text += family("gauge", "flycast_connections", "Connections that are open.", samples);
  }
  if (wireguard !== undefined) {
    const { by, tunnels } = wireguard();
    const up = [{ labels: {}, value: by === undefined ? 0 : 1 }];
    text += family("gauge", "flycast_wireguard_up", "Whether WireGuard tunnels are carried.", up);
    const clients = [{ labels: {}, value: tunnels }];
    text += family("gauge", "flycast_wireguard_peers", "WireGuard clients that may connect.", clients);
  }
  if (queues !== undefined) {
    const samples = [...queues()].map(({ app, service, length }) => ({
      labels: { app, service: String(service) },
      value: length,
    }));
    text += family("gauge", "flycast_queue_length", "Who waits for a Machine.", samples);
  }
  if (load !== undefined) {
    const claims = [...load()];
    const inFlight = new Map<string, Sample>();
    const instances = new Map<string, Sample>();
    for (const one of claims) {
      const service = { app: one.app, service: String(one.service) };
      add(inFlight, `${one.app} ${one.service}`, service, one.claims);
      const region = view?.machine(one.machine as MachineId)?.region ?? "";
      add(instances, one.machine, { app: one.app, region, host, instance: one.machine }, one.claims);
    }
    text += family("gauge", "flycast_in_flight", "Connections and requests that hold a Machine.", inFlight.values());
    text += family("gauge", "fly_app_concurrency", "The same, by Machine.", instances.values());
  }
  return text;
}

function deniedText(denied: Readonly<Record<string, number>> | undefined): string {
  if (denied === undefined) return "";
  const samples = new Map<string, Sample>();
  for (const [text, count] of Object.entries(denied)) {
    const reason = oneOf(DENIALS, text);
    add(samples, reason, { reason }, count);
  }
  return family("counter", "flycast_denied_packets_total", "Packets that the kernel refused.", samples.values());
}

function add(samples: Map<string, Sample>, key: string, labels: Sample["labels"], value: number): void {
  samples.set(key, { labels, value: (samples.get(key)?.value ?? 0) + value });
}

function machinesByState(view: RegistryView): readonly Sample[] {
  const states = new Map<string, number>();
  for (const { id } of view.machines()) {
    const { state } = view.status(id);
    states.set(state, (states.get(state) ?? 0) + 1);
  }
  return [...states].map(([state, value]) => ({ labels: { state }, value }));
}
