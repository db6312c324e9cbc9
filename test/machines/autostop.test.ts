import { describe, expect, test } from "vitest";
import type { AppName, RegionCode } from "../../src/core/ids.ts";
import { seconds, type Monotonic } from "../../src/core/units.ts";
import { decide, type AutostopGroup, type AutostopMachine } from "../../src/machines/autostop.ts";
import { machineId } from "./world.ts";

const NOW = 1_000_000 as Monotonic;
const IDLE = seconds(300);
const LONG_AGO = (NOW - IDLE) as Monotonic;

function one(number: number, change: Partial<AutostopMachine> = {}): AutostopMachine {
  return {
    id: machineId(number),
    generation: 1,
    mode: "stop",
    ready: true,
    claims: 0,
    full: false,
    unhealthy: false,
    idleSince: LONG_AGO,
    cordoned: false,
    ...change,
  };
}

function verdicts(machines: readonly AutostopMachine[], change: Partial<AutostopGroup> = {}): string[] {
  const group = {
    app: "web" as AppName,
    region: "iad" as RegionCode,
    processGroup: "app",
    floor: 0,
    machines,
    ...change,
  };
  return decide({ idle: IDLE, groups: [group] }, NOW).map((verdict) => verdict.action);
}

const busy = { claims: 3 };
const full = { claims: 20, full: true };
const recent = { idleSince: (NOW - 1) as Monotonic };

describe("one Machine in a region", () => {
  test.each([
    ["idle long enough: stopped", [one(1)], ["stop"]],
    ["in use: kept", [one(1, busy)], ["keep"]],
    ["not idle for long enough: kept", [one(1, recent)], ["keep"]],
    ["idle to the millisecond: stopped", [one(1, { idleSince: LONG_AGO })], ["stop"]],
    ["one millisecond short: kept", [one(1, { idleSince: (LONG_AGO + 1) as Monotonic })], ["keep"]],
    ["suspended where that is its mode", [one(1, { mode: "suspend" })], ["suspend"]],
    ["autostop off: kept", [one(1, { mode: "off" })], ["keep"]],
    ["starting: kept", [one(1, { ready: false })], ["keep"]],
    ["cordoned: kept", [one(1, { cordoned: true })], ["keep"]],
  ])("%s", (_, machines, expected) => {
    expect(verdicts(machines)).toEqual(expected);
  });
});

describe("several Machines in a region", () => {
  // excess = n − (over_soft + 1): superfly/docs fly-proxy-autostop-autostart.
  test.each([
    ["two idle: one goes", [one(1), one(2)], ["stop", "keep"]],
    ["two, one full: both are needed", [one(1, full), one(2)], ["keep", "keep"]],
    ["three, one full: one goes", [one(1, full), one(2), one(3)], ["keep", "stop", "keep"]],
    ["three, two full: all are needed", [one(1, full), one(2, full), one(3)], ["keep", "keep", "keep"]],
    ["all full: all are needed", [one(1, full), one(2, full)], ["keep", "keep"]],
    ["the fewest claims go first", [one(1, busy), one(2)], ["keep", "stop"]],
    ["then the longest idle", [one(1), one(2, { idleSince: 0 as Monotonic })], ["keep", "stop"]],
    ["none idle: the least used is emptied", [one(1, busy), one(2, { claims: 1 })], ["keep", "empty"]],
    ["idle, but not for long: emptied", [one(1, busy), one(2, recent)], ["keep", "empty"]],
    ["a starting one is capacity", [one(1, { ready: false }), one(2)], ["keep", "stop"]],
    ["a cordoned one is none", [one(1, { cordoned: true }), one(2, busy)], ["keep", "keep"]],
    [
      "the unhealthy one goes first",
      [one(1), one(2, { unhealthy: true, ...recent }), one(3)],
      ["keep", "keep", "keep"],
    ],
    ["and is stopped once idle", [one(1), one(2, { unhealthy: true }), one(3)], ["keep", "stop", "keep"]],
    ["an unhealthy one is no capacity", [one(1, { unhealthy: true, claims: 1 }), one(2, busy)], ["keep", "keep"]],
  ])("%s", (_, machines, expected) => {
    expect(verdicts(machines)).toEqual(expected);
  });

  test("min_machines_running is a floor for those that run", () => {
    expect(verdicts([one(1), one(2)], { floor: 2 })).toEqual(["keep", "keep"]);
    expect(verdicts([one(1), one(2), one(3)], { floor: 2 })).toEqual(["stop", "keep", "keep"]);
    expect(verdicts([one(1)], { floor: 1 })).toEqual(["keep"]);
  });
});

test("each group is judged by itself, and at most one Machine of it goes", () => {
  const group = (region: string, machines: readonly AutostopMachine[]): AutostopGroup => ({
    app: "web" as AppName,
    region: region as RegionCode,
    processGroup: "app",
    floor: 0,
    machines,
  });
  const groups = [group("iad", [one(1), one(2), one(3)]), group("ams", [one(4), one(5)])];
  const actions = decide({ idle: IDLE, groups }, NOW);
  expect(actions.map((verdict) => verdict.action)).toEqual(["stop", "keep", "keep", "stop", "keep"]);
});

test("a verdict says why, for people", () => {
  const group = { app: "web" as AppName, region: "dfw" as RegionCode, processGroup: "app", floor: 1 };
  const say = (machines: readonly AutostopMachine[], floor = 0): string[] =>
    decide({ idle: IDLE, groups: [{ ...group, floor, machines }] }, NOW).map((verdict) => verdict.because);
  expect(say([one(1), one(2)])).toEqual([
    "idle for 5 min; 2 of 2 run in dfw (process group app)",
    "another Machine goes first",
  ]);
  expect(say([one(1, busy)])).toEqual(["in use by 3 connections and requests"]);
  expect(say([one(1)], 1)).toEqual(["min_machines_running = 1"]);
  expect(say([one(1, recent)])).toEqual(["not idle for 5 min yet"]);
});
