import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { AppName, MachineId } from "../../src/core/ids.ts";
import type { Monotonic } from "../../src/core/units.ts";
import type { Settlement } from "../../src/proxy/context.ts";
import type { MachineEvent } from "../../src/machines/events.ts";
import type { QuerySeen } from "../../src/dns/resolver.ts";
import {
  createMetrics,
  type CountedEvent,
  type CountedQuery,
  type Metrics,
  type SettledWork,
} from "../../src/telemetry/metrics.ts";
import { escapeLabel, family, histogramFamily } from "../../src/telemetry/exposition.ts";
import { NEVER_STARTED } from "../../src/registry/model.ts";
import { defaultNetwork, iad, machineConfig, openRegistry, personal, temporaryFolder } from "../registry/support.ts";
import { FakeClock } from "../support/fake-clock.ts";

// What the proxy, the Machines and the DNS server say is what is counted, as the compiler sees it.
export const fits = {
  settlement: (value: Settlement): SettledWork => value,
  event: (value: MachineEvent): CountedEvent => value,
  query: (value: QuerySeen): CountedQuery => value,
};

const web = "web" as AppName;
const machine = "148e21ea714589" as MachineId;

function work(kind: "connection" | "request", since = 0, app = web): NonNullable<SettledWork["work"]> {
  return { kind, app, since: since as Monotonic, route: { service: { internalPort: 8080 } } };
}

function settled(change: Partial<SettledWork>): SettledWork {
  return { work: work("connection"), machine, code: undefined, bytesIn: 0, bytesOut: 0, status: undefined, ...change };
}

/** `name{labels} value` of every line that is no comment. */
async function samples(metrics: Metrics): Promise<ReadonlyMap<string, number>> {
  const found = new Map<string, number>();
  for (const line of (await metrics.text()).split("\n")) {
    if (line === "" || line.startsWith("#")) continue;
    const at = line.lastIndexOf(" ");
    expect(found.has(line.slice(0, at)), `twice: ${line}`).toBe(false);
    found.set(line.slice(0, at), Number(line.slice(at + 1)));
  }
  return found;
}

describe("metrics", () => {
  test("count connections and bytes by app, service and region, under our name and the platform's", async () => {
    const metrics = createMetrics({ region: "ams", host: "0a7b" });
    metrics.settled(settled({ bytesIn: 10, bytesOut: 20 }));
    metrics.settled(settled({ bytesIn: 1, bytesOut: 2, machine: undefined, code: "PR01" }));
    const all = await samples(metrics);
    expect(all.get('flycast_connections_total{app="web",service="8080",region="ams"}')).toBe(2);
    expect(all.get('flycast_received_bytes_total{app="web",service="8080",region="ams"}')).toBe(11);
    expect(all.get('flycast_sent_bytes_total{app="web",service="8080",region="ams"}')).toBe(22);
    expect(all.get('fly_edge_tcp_connects_count{app="web",region="ams",host="0a7b"}')).toBe(2);
    expect(all.get('fly_edge_data_out{app="web",region="ams",host="0a7b"}')).toBe(22);
    const instance = `{app="web",region="ams",host="0a7b",instance="${machine}"}`;
    expect(all.get(`fly_app_tcp_connects_count${instance}`)).toBe(1);
    expect(all.get('flycast_errors_total{code="PR01"}')).toBe(1);
  });

  test("count requests by class and by status, with their times", async () => {
    const clock = new FakeClock();
    const metrics = createMetrics({ clock });
    const start = clock.now();
    await clock.advance(30);
    const ended = (status: number): void =>
      metrics.settled(settled({ work: work("request", start), status, bytesOut: 5 }));
    for (const status of [200, 200, 204, 404, 503]) ended(status);
    metrics.settled(settled({ work: work("request", start), code: "FP10" }));
    const all = await samples(metrics);
    const service = 'app="web",service="8080",region="dev"';
    expect(all.get(`flycast_requests_total{${service},status="2xx"}`)).toBe(3);
    expect(all.get(`flycast_requests_total{${service},status="4xx"}`)).toBe(1);
    const edge = 'app="web",region="dev",host="0000",status="200"';
    expect(all.get(`fly_edge_http_responses_count{${edge}}`)).toBe(2);
    expect(all.get(`fly_edge_http_response_time_seconds_count{${edge}}`)).toBe(2);
    expect(all.get(`fly_edge_http_response_time_seconds_sum{${edge}}`)).toBeCloseTo(0.06);
    expect(all.get(`fly_edge_http_response_time_seconds_bucket{${edge},le="0.025"}`)).toBe(0);
    expect(all.get(`fly_edge_http_response_time_seconds_bucket{${edge},le="0.05"}`)).toBe(2);
    expect(all.get(`fly_edge_http_response_time_seconds_bucket{${edge},le="+Inf"}`)).toBe(2);
    expect(all.get('flycast_errors_total{code="FP10"}')).toBe(1);
    expect([...all.keys()].filter((name) => name.includes("flycast_connections_total{"))).toEqual([
      `flycast_connections_total{${service}}`,
    ]);
  });

  test("have as many series as there are statuses, whatever an app makes up", async () => {
    const metrics = createMetrics();
    for (let status = -5; status < 1200; status++) metrics.settled(settled({ work: work("request"), status }));
    const all = await samples(metrics);
    const count = [...all.keys()].filter((name) => name.startsWith("fly_edge_http_responses_count")).length;
    expect(count).toBeLessThan(80);
    const classes = [...all].filter(([name]) => name.startsWith("flycast_requests_total"));
    expect(new Set(classes.map(([name]) => /status="(\w+)"/.exec(name)?.[1]))).toEqual(
      new Set(["1xx", "2xx", "3xx", "4xx", "5xx", "other"]),
    );
    expect(classes.reduce((sum, [, value]) => sum + value, 0)).toBe(1205);
  });

  test("keep an app's sums when a Machine goes, and drop all when the app goes", async () => {
    const metrics = createMetrics();
    metrics.settled(settled({ bytesIn: 7 }));
    metrics.connected(web, 8080, machine, 0.002);
    metrics.forgetMachine(web, machine);
    const gone = await samples(metrics);
    expect([...gone.keys()].filter((name) => name.includes("instance="))).toEqual([]);
    expect(gone.get('fly_edge_data_in{app="web",region="dev",host="0000"}')).toBe(7);
    metrics.forgetApp(web);
    expect([...(await samples(metrics)).keys()].filter((name) => name.includes('app="web"'))).toEqual([]);
  });

  test("follow the registry: Machines by state and region, and nothing of what has gone", async () => {
    const { registry } = await openRegistry(await temporaryFolder());
    const metrics = createMetrics();
    const stop = metrics.follow(registry);
    const { name } = await registry.commands.createApp({ name: web, org: personal, network: defaultNetwork });
    const made = await registry.commands.createMachine({ app: name, region: iad, config: machineConfig() });
    registry.setStatus(made.id, { ...NEVER_STARTED, state: "started" });
    metrics.settled(settled({ machine: made.id, bytesIn: 3 }));
    const up = await samples(metrics);
    expect(up.get('flycast_machines{state="started"}')).toBe(1);
    expect(up.get(`fly_app_tcp_connects_count{app="web",region="iad",host="0000",instance="${made.id}"}`)).toBe(1);
    await registry.commands.removeMachine(made.id);
    const removed = await samples(metrics);
    expect([...removed.keys()].filter((key) => key.includes(made.id))).toEqual([]);
    expect(removed.get('fly_edge_data_in{app="web",region="dev",host="0000"}')).toBe(3);
    await registry.commands.destroyApp(name);
    expect([...(await samples(metrics)).keys()].filter((key) => key.includes('"web"'))).toEqual([]);
    stop();
  });

  test("tell wakes by what they came to, and how long each phase took", async () => {
    const metrics = createMetrics();
    const receipt = {
      resumed: false,
      claimed: 1,
      driverStarted: 4,
      checkPassed: undefined,
      portOpen: 80,
      firstByte: 90,
    };
    metrics.machineEvent({ event: "wake", machine });
    metrics.machineEvent({ event: "started", machine, receipt });
    metrics.machineEvent({ event: "started", machine, receipt: undefined });
    metrics.machineEvent({ event: "wake", machine });
    metrics.machineEvent({ event: "failed", machine, code: "PM03" });
    metrics.machineEvent({ event: "failed", machine, code: "PM02" });
    const all = await samples(metrics);
    expect(all.get('flycast_wakes_total{outcome="started"}')).toBe(1);
    expect(all.get('flycast_wakes_total{outcome="failed"}')).toBe(1);
    expect(all.get('flycast_errors_total{code="PM03"}')).toBe(1);
    expect(all.get('flycast_wake_seconds_count{phase="port_open"}')).toBe(1);
    expect(all.get('flycast_wake_seconds_sum{phase="first_byte"}')).toBeCloseTo(0.09);
    expect(all.has('flycast_wake_seconds_count{phase="check_passed"}')).toBe(false);
  });

  test("tell stops by reason: idle, a command, or by itself", async () => {
    const metrics = createMetrics();
    const stop = (because: string): void => {
      metrics.machineEvent({ event: "stopping", machine, because });
      metrics.machineEvent({ event: "stopped", machine, because });
    };
    stop("idle for 10 s; 1 of 1 run in iad");
    stop("stopped through the API");
    metrics.machineEvent({ event: "stopped", machine, because: "exited with code 1" });
    metrics.machineEvent({ event: "suspended", machine, because: "idle for 5 min" });
    const all = await samples(metrics);
    expect(all.get('flycast_stops_total{action="stop",reason="idle"}')).toBe(1);
    expect(all.get('flycast_stops_total{action="stop",reason="command"}')).toBe(1);
    expect(all.get('flycast_stops_total{action="stop",reason="exited"}')).toBe(1);
    expect(all.get('flycast_stops_total{action="suspend",reason="idle"}')).toBe(1);
  });

  test("count DNS questions in closed sets of labels", async () => {
    const metrics = createMetrics();
    metrics.dnsQuery({ type: "AAAA", rcode: "NOERROR", view: "flycast" });
    fc.assert(
      fc.property(fc.string(), fc.string(), fc.string(), (type, rcode, view) =>
        metrics.dnsQuery({ type, rcode, view }),
      ),
    );
    const all = await samples(metrics);
    expect(all.get('flycast_dns_queries_total{type="AAAA",rcode="NOERROR",view="flycast"}')).toBe(1);
    expect(all.get('flycast_dns_queries_total{type="other",rcode="other",view="other"}')).toBeGreaterThan(0);
  });

  test("look up what is true now when they are asked", async () => {
    const metrics = createMetrics();
    let open = 1;
    metrics.observe({
      connections: () => open,
      queues: () => [{ app: "web", service: 8080, length: 3 }],
      load: () => [
        { app: "web", machine: "m1", service: 8080, claims: 2 },
        { app: "web", machine: "m2", service: 8080, claims: 1 },
        { app: "web", machine: "m2", service: 9090, claims: 5 },
      ],
      denied: () => Promise.resolve({ forged: 4, surprise: 1, more: 1 }),
      wireguard: () => ({ by: "kernel", tunnels: 2 }),
    });
    open = 9;
    const all = await samples(metrics);
    expect(all.get("flycast_connections")).toBe(9);
    expect(all.get('flycast_queue_length{app="web",service="8080"}')).toBe(3);
    expect(all.get('flycast_in_flight{app="web",service="8080"}')).toBe(3);
    expect(all.get('fly_app_concurrency{app="web",region="",host="0000",instance="m2"}')).toBe(6);
    expect(all.get('flycast_denied_packets_total{reason="forged"}')).toBe(4);
    expect(all.get('flycast_denied_packets_total{reason="other"}')).toBe(2);
    expect(all.get("flycast_wireguard_up")).toBe(1);
    expect(all.get("flycast_wireguard_peers")).toBe(2);
    metrics.observe({ wireguard: () => ({ by: undefined, tunnels: 0 }) });
    expect((await samples(metrics)).get("flycast_wireguard_up")).toBe(0);
  });

  test("are there even when the kernel cannot be asked, with the process's own among them", async () => {
    const metrics = createMetrics();
    metrics.observe({ denied: () => Promise.reject(new Error("nft is gone")) });
    const all = await samples(metrics);
    expect(all.get("process_resident_memory_bytes")).toBeGreaterThan(0);
    expect(metrics.contentType).toContain("text/plain; version=0.0.4");
  });

  test("of two nodes in one process do not mix", async () => {
    const [one, two] = [createMetrics(), createMetrics()];
    one.error("internal");
    expect((await samples(two)).has('flycast_errors_total{code="internal"}')).toBe(false);
  });
});

describe("the text format", () => {
  test("escapes backslash, quote and line feed in a label, so that a value is one value", () => {
    expect(escapeLabel('a\\b"c\nd')).toBe('a\\\\b\\"c\\nd');
    fc.assert(
      fc.property(fc.string({ unit: "binary" }), (value) => {
        const text = family("gauge", "x", "help", [{ labels: { v: value }, value: 1 }]);
        const [, , line = ""] = text.split("\n");
        const quoted = /^x\{v="((?:[^"\\]|\\["\\n])*)"\} 1$/s.exec(line)?.[1];
        expect(quoted?.replace(/\\(.)/g, (_, c: string) => (c === "n" ? "\n" : c))).toBe(value);
      }),
      { numRuns: 500 },
    );
  });

  test("sums a histogram's buckets up to infinity", () => {
    const text = histogramFamily("h", "help", [{ labels: {}, bounds: [1, 2], counts: [3, 4, 5], sum: 6.5 }]);
    expect(text).toBe(
      [
        "# HELP h help",
        "# TYPE h histogram",
        'h_bucket{le="1"} 3',
        'h_bucket{le="2"} 7',
        'h_bucket{le="+Inf"} 12',
        "h_sum 6.5",
        "h_count 12",
        "",
      ].join("\n"),
    );
  });
});
