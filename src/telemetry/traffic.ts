import type { AppName, MachineId } from "../core/ids.ts";
import { statusClass, statusLabel } from "./label-sets.ts";
import { family, histogramFamily, type HistogramSample, type Labels, type Sample } from "./exposition.ts";

/** Seconds. From a reply out of memory to a slow report. */
const BOUNDS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60];

class Times {
  readonly counts = new Float64Array(BOUNDS.length + 1);
  sum = 0;
  count = 0;

  observe(seconds: number): void {
    let bucket = 0;
    while (bucket < BOUNDS.length && seconds > (BOUNDS[bucket] ?? 0)) bucket++;
    this.counts[bucket] = (this.counts[bucket] ?? 0) + 1;
    this.sum += seconds;
    this.count++;
  }

  add(other: Times): void {
    for (const [i, count] of other.counts.entries()) this.counts[i] = (this.counts[i] ?? 0) + count;
    this.sum += other.sum;
    this.count += other.count;
  }
}

/** What one service of one Machine did (or, with neither, what came to nothing before one was chosen). */
class Row {
  connections = 0;
  connectionsEnded = 0;
  bytesIn = 0;
  bytesOut = 0;
  connect: Times | undefined;
  /** By status label. */
  readonly requests = new Map<string, Times>();
  readonly region: string;

  constructor(region: string) {
    this.region = region;
  }

  add(other: Row): void {
    this.connections += other.connections;
    this.connectionsEnded += other.connectionsEnded;
    this.bytesIn += other.bytesIn;
    this.bytesOut += other.bytesOut;
    if (other.connect !== undefined) (this.connect ??= new Times()).add(other.connect);
    for (const [status, times] of other.requests) requestTimes(this, status).add(times);
  }
}

export interface TrafficKey {
  readonly app: AppName;
  /** Internal port. */
  readonly service: number;
  readonly machine: MachineId | undefined;
}

/**
 * Counts what goes through the proxy. On the path of a request this is a few look-ups and additions (a tenth of a
 * microsecond); sums, labels and text are made when somebody asks.
 */
export class Traffic {
  readonly #rows = new Map<AppName, Map<number, Map<MachineId | "", Row>>>();
  readonly #nodeRegion: string;
  readonly #regionOf: (machine: MachineId) => string | undefined;

  constructor(nodeRegion: string, regionOf: (machine: MachineId) => string | undefined) {
    this.#nodeRegion = nodeRegion;
    this.#regionOf = regionOf;
  }

  connectionEnded(key: TrafficKey, bytesIn: number, bytesOut: number): void {
    const row = this.#row(key);
    row.connections++;
    row.connectionsEnded++;
    row.bytesIn += bytesIn;
    row.bytesOut += bytesOut;
  }

  requestEnded(key: TrafficKey, status: number, seconds: number, bytesIn: number, bytesOut: number): void {
    const row = this.#row(key);
    requestTimes(row, statusLabel(status)).observe(seconds);
    row.bytesIn += bytesIn;
    row.bytesOut += bytesOut;
  }

  /** A request whose client left before there was a response. */
  requestUnanswered(key: TrafficKey, bytesIn: number, bytesOut: number): void {
    const row = this.#row(key);
    row.bytesIn += bytesIn;
    row.bytesOut += bytesOut;
  }

  /** How long it took until a Machine's port had accepted a connection. */
  connected(key: TrafficKey, seconds: number): void {
    const row = this.#row(key);
    (row.connect ??= new Times()).observe(seconds);
  }

  /** A Machine is gone: its numbers join the app's, whose counters must not fall. */
  forgetMachine(app: AppName, machine: MachineId): void {
    for (const [service, machines] of this.#rows.get(app) ?? []) {
      const row = machines.get(machine);
      if (row === undefined) continue;
      this.#row({ app, service, machine: undefined }).add(row);
      machines.delete(machine);
    }
  }

  forgetApp(app: AppName): void {
    this.#rows.delete(app);
  }

  /** Every family in the text format. The platform's names and meaning: superfly/docs monitoring/metrics, 2026-08-07. */
  text(host: string): string {
    const edge = new Map<string, { readonly labels: Labels; readonly row: Row }>();
    const services: { readonly labels: Labels; readonly row: Row }[] = [];
    const instances: { readonly labels: Labels; readonly row: Row }[] = [];
    for (const [app, byService] of this.#rows) {
      const sum = new Row(this.#nodeRegion);
      edge.set(app, { labels: { app, region: this.#nodeRegion, host }, row: sum });
      const ofApp = new Map<string, { readonly labels: Labels; readonly row: Row }>();
      for (const [service, machines] of byService) {
        const perRegion = new Map<string, Row>();
        for (const [machine, row] of machines) {
          sum.add(row);
          summed(perRegion, row.region).add(row);
          if (machine !== "") {
            const known = ofApp.get(machine);
            const labels = { app, region: row.region, host, instance: machine };
            if (known === undefined) ofApp.set(machine, { labels, row: copy(row) });
            else known.row.add(row);
          }
        }
        for (const [region, row] of perRegion)
          services.push({ labels: { app, service: String(service), region }, row });
      }
      instances.push(...ofApp.values());
    }
    return [
      family(
        "counter",
        "flycast_connections_total",
        "Raw connections that ended.",
        each(services, (r) => r.connections),
      ),
      family("counter", "flycast_requests_total", "HTTP requests by class of status.", byClass(services)),
      family(
        "counter",
        "flycast_received_bytes_total",
        "Bytes from clients.",
        each(services, (r) => r.bytesIn),
      ),
      family(
        "counter",
        "flycast_sent_bytes_total",
        "Bytes to clients.",
        each(services, (r) => r.bytesOut),
      ),
      platformFamilies("edge", [...edge.values()]),
      family(
        "counter",
        "fly_edge_data_in",
        "Bytes from clients.",
        each(edge.values(), (r) => r.bytesIn),
      ),
      family(
        "counter",
        "fly_edge_data_out",
        "Bytes to clients.",
        each(edge.values(), (r) => r.bytesOut),
      ),
      platformFamilies("app", instances),
      histogramFamily("fly_app_connect_time_seconds", "Until a Machine's port accepted.", connectTimes(instances)),
    ].join("");
  }

  #row({ app, service, machine }: TrafficKey): Row {
    let byService = this.#rows.get(app);
    if (byService === undefined) this.#rows.set(app, (byService = new Map()));
    let byMachine = byService.get(service);
    if (byMachine === undefined) byService.set(service, (byMachine = new Map()));
    const key = machine ?? "";
    let row = byMachine.get(key);
    if (row === undefined) {
      const region = machine === undefined ? undefined : this.#regionOf(machine);
      byMachine.set(key, (row = new Row(region ?? this.#nodeRegion)));
    }
    return row;
  }
}

function platformFamilies(
  side: "edge" | "app",
  rows: readonly { readonly labels: Labels; readonly row: Row }[],
): string {
  const what = side === "edge" ? "at the proxy" : "of the Machine";
  return [
    family("counter", `fly_${side}_http_responses_count`, `HTTP responses ${what}.`, byStatus(rows)),
    histogramFamily(`fly_${side}_http_response_time_seconds`, `Time to the end of a response ${what}.`, times(rows)),
    family(
      "counter",
      `fly_${side}_tcp_connects_count`,
      `Connections ${what}.`,
      each(rows, (r) => r.connections),
    ),
    family(
      "counter",
      `fly_${side}_tcp_disconnects_count`,
      `Ended ${what}.`,
      each(rows, (r) => r.connectionsEnded),
    ),
  ].join("");
}

type Rows = Iterable<{ readonly labels: Labels; readonly row: Row }>;

function* each(rows: Rows, value: (row: Row) => number): Iterable<Sample> {
  for (const { labels, row } of rows) yield { labels, value: value(row) };
}

function* byStatus(rows: Rows): Iterable<Sample> {
  for (const { labels, row } of rows) {
    for (const [status, { count }] of row.requests) yield { labels: { ...labels, status }, value: count };
  }
}

function* byClass(rows: Rows): Iterable<Sample> {
  for (const { labels, row } of rows) {
    const classes = new Map<string, number>();
    for (const [status, { count }] of row.requests) {
      // A label is a status, or already the class of one that nobody knows.
      const name = /^\d+$/.test(status) ? statusClass(Number(status)) : status;
      classes.set(name, (classes.get(name) ?? 0) + count);
    }
    for (const [status, value] of classes) yield { labels: { ...labels, status }, value };
  }
}

function* times(rows: Rows): Iterable<HistogramSample> {
  for (const { labels, row } of rows) {
    for (const [status, { counts, sum }] of row.requests) {
      yield { labels: { ...labels, status }, bounds: BOUNDS, counts, sum };
    }
  }
}

function* connectTimes(rows: Rows): Iterable<HistogramSample> {
  for (const { labels, row } of rows) {
    if (row.connect !== undefined) yield { labels, bounds: BOUNDS, counts: row.connect.counts, sum: row.connect.sum };
  }
}

function requestTimes(row: Row, status: string): Times {
  let times = row.requests.get(status);
  if (times === undefined) row.requests.set(status, (times = new Times()));
  return times;
}

function summed(rows: Map<string, Row>, region: string): Row {
  let row = rows.get(region);
  if (row === undefined) rows.set(region, (row = new Row(region)));
  return row;
}

function copy(row: Row): Row {
  const made = new Row(row.region);
  made.add(row);
  return made;
}
