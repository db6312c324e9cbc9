import { describe, expect, test } from "vitest";
import { AppError } from "../../src/core/errors.ts";
import { port, seconds } from "../../src/core/units.ts";
import type { Probe } from "../../src/machines/health.ts";
import { check, machine, machineId, PORT, service, world, type World, type WorldOptions } from "./world.ts";

const ONE = machineId(1);
const ADMIN = port(9090);

/** Ports whose checks pass now, and the times of all probes. */
function checkup(): {
  readonly probe: Probe;
  readonly passing: Set<number>;
  readonly probes: { at: number; port: number }[];
} {
  const passing = new Set<number>();
  const probes: { at: number; port: number }[] = [];
  const result: ReturnType<typeof checkup> & { clock?: World["clock"] } = {
    passing,
    probes,
    probe: async (one) => {
      probes.push({ at: result.clock?.now() ?? 0, port: one.port });
      const passed = passing.has(one.port);
      return { passed, output: passed ? "connected" : "connection refused" };
    },
  };
  return result;
}

function checked(options: WorldOptions & { readonly graceSeconds?: number } = {}): World & ReturnType<typeof checkup> {
  const health = checkup();
  const gracePeriod = seconds(options.graceSeconds ?? 0);
  const services = [
    service({ checks: [check({ gracePeriod })] }),
    service({ internalPort: ADMIN, checks: [check({ name: "servicecheck-00-tcp-9090", port: ADMIN, gracePeriod })] }),
  ];
  const w = world([machine(1, { services })], { ...options, probe: health.probe });
  Object.assign(health, { clock: w.clock });
  return Object.assign(w, health);
}

describe("the first check after a wake", () => {
  test("is made at once and back to back, and the claims of its service wait for it", async () => {
    const w = checked();
    const claim = w.claim(1);
    let open = false;
    void claim.ready.then(() => (open = true));
    const start = w.clock.now();
    await w.clock.advance(1000);
    const times = w.probes.filter((probe) => probe.port === PORT).map((probe) => probe.at - start);
    expect(times).toEqual([0, 10, 30, 70, 150, 310, 560, 810]);
    expect([w.state(1), open]).toEqual(["started", false]);
    w.passing.add(PORT);
    await w.clock.advance(60);
    expect(open).toBe(true);
    expect(w.machines.receipt(ONE)?.checkPassed).toBe(1060);
    expect(w.claim(1).endpoint?.waking).toBe(false);
    expect(w.machines.emptying(ONE)).toBe(true); // the other service is not proved yet: last, but welcome
    claim.release();
  });

  test("that does not pass in time fails those who wait, and the Machine takes no more until it does", async () => {
    const w = checked();
    w.passing.add(ADMIN);
    const claim = w.claim(1);
    const error = claim.ready.then(
      () => undefined,
      (thrown: unknown) => thrown,
    );
    await w.clock.advance(seconds(60));
    expect(await error).toBeInstanceOf(AppError);
    expect(await error).toMatchObject({ code: "PM03" });
    expect([w.state(1), w.refusal(1)]).toEqual(["started", "unhealthy"]);
    expect(w.claim(1, { service: ADMIN }).endpoint).toBeDefined();
    w.passing.add(PORT);
    await w.clock.advance(seconds(15));
    expect(w.claim(1).endpoint).toBeDefined();
  });
});

describe("a check that fails later", () => {
  test("takes the Machine out of that service within an interval, and back, without touching the other or its claims", async () => {
    const w = checked();
    w.passing.add(PORT).add(ADMIN);
    const claim = w.claim(1);
    await claim.ready;
    await w.clock.advance(0);
    let changes = 0;
    w.passing.delete(PORT);
    w.machines.onChange(machine(1).app, () => changes++);
    await w.clock.advance(seconds(15));
    expect(w.refusal(1)).toBe("unhealthy");
    expect([...w.registry.view.status(ONE).unhealthyPorts]).toEqual([PORT]);
    expect(w.registry.view.status(ONE).checks).toMatchObject([{ status: "critical" }, { status: "passing" }]);
    expect(w.claim(1, { service: ADMIN }).endpoint).toBeDefined();
    expect([claim.endpoint === undefined, w.machines.load(ONE, PORT), changes]).toEqual([false, 1, 1]);
    w.passing.add(PORT);
    await w.clock.advance(seconds(15));
    expect(w.claim(1).endpoint).toBeDefined();
  });

  test("does not count during the grace period", async () => {
    const w = checked({ graceSeconds: 60 });
    w.passing.add(PORT).add(ADMIN);
    await w.claim(1).ready;
    w.passing.delete(PORT);
    await w.clock.advance(seconds(45));
    expect(w.registry.view.status(ONE).checks[0]).toMatchObject({ status: "warning", output: "connection refused" });
    expect(w.claim(1).endpoint).toBeDefined();
    await w.clock.advance(seconds(15));
    expect(w.refusal(1)).toBe("unhealthy");
  });
});

test("checks that change while the Machine runs count at once", async () => {
  const health = checkup();
  health.passing.add(PORT);
  const w = world([machine(1)], { probe: health.probe });
  await w.claim(1).ready;
  w.registry.apply({ kind: "machine", value: machine(1, { services: [service({ checks: [check()] })] }) });
  await w.clock.advance(0);
  expect(w.registry.view.status(ONE).checks).toMatchObject([{ status: "passing" }]);
  health.passing.delete(PORT);
  await w.clock.advance(seconds(15));
  expect(w.refusal(1)).toBe("unhealthy");
});

test("checks are no traffic: they neither keep a Machine awake nor wake it, and end with its life", async () => {
  const w = checked();
  w.passing.add(PORT).add(ADMIN);
  const claim = w.claim(1);
  await claim.ready;
  claim.release();
  await w.clock.advance(seconds(3600));
  expect(w.state(1)).toBe("stopped");
  const { length } = w.probes;
  await w.clock.advance(seconds(3600));
  expect([w.probes.length, w.clock.pending]).toEqual([length, 0]);
});

test("a top-level check is shown, and takes nobody out of the traffic", async () => {
  const health = checkup();
  const checks = [check({ name: "disk", port: ADMIN })];
  const w = world([machine(1, { config: { checks } })], { probe: health.probe });
  await w.claim(1).ready;
  await w.clock.advance(seconds(31));
  expect(w.registry.view.status(ONE).checks).toMatchObject([{ name: "disk", status: "critical" }]);
  expect(w.claim(1).endpoint).toBeDefined();
  expect(health.probes).toHaveLength(3);
});
