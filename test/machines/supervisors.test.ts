import { describe, expect, test } from "vitest";
import { seconds } from "../../src/core/units.ts";
import { settle } from "../support/fake-clock.ts";
import { machine, machineId, PORT, world } from "./world.ts";

describe("waking", () => {
  test("a claim on a stopped Machine starts it once, and all who wait are served", async () => {
    const w = world([machine(1)]);
    const claims = Array.from({ length: 1000 }, () => w.claim(1));
    expect(w.state(1)).toBe("starting");
    const endpoints = await Promise.all(claims.map((claim) => claim.ready));
    expect(new Set(endpoints.map((endpoint) => endpoint.generation))).toEqual(new Set([1]));
    expect(w.driver.startsOf(machineId(1))).toBe(1);
    expect(w.machines.load(machineId(1), PORT)).toBe(1000);
    for (const claim of claims) claim.release();
    expect(w.machines.load(machineId(1), PORT)).toBe(0);
    expect(w.state(1)).toBe("started");
  });

  test("autostop stops a Machine that nobody holds, and the next claim wakes it again", async () => {
    const w = world([machine(1)], { autostop: { interval: seconds(60), idle: seconds(300) } });
    const claim = w.claim(1);
    await claim.ready;
    await w.clock.advance(seconds(3600));
    expect(w.state(1)).toBe("started");
    claim.release();
    await w.clock.advance(seconds(299));
    expect(w.state(1)).toBe("started");
    await w.clock.advance(seconds(61));
    expect(w.state(1)).toBe("stopped");
    expect(w.clock.pending).toBe(0);
    const again = w.claim(1);
    expect((await again.ready).generation).toBe(2);
    await settle();
    expect(w.driver.violations).toEqual([]);
  });
});
