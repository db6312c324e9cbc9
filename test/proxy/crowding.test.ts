import { beforeEach, expect, test } from "vitest";
import type { NetworkId } from "../../src/core/ids.ts";
import { Crowding } from "../../src/proxy/crowding.ts";
import { FakeClock } from "../support/fake-clock.ts";

const CROWD = 1 as NetworkId;
const OTHER = 2 as NetworkId;

let clock: FakeClock;
let crowding: Crowding;
let utilization: number;
let hasCompany: boolean;
let isPossible: boolean;
let done: string[];

beforeEach(() => {
  clock = new FakeClock();
  utilization = 1;
  hasCompany = true;
  isPossible = true;
  done = [];
  crowding = new Crowding({
    clock,
    utilization: () => utilization,
    hasCompany: () => hasCompany,
    throttle(network, perSecond) {
      if (!isPossible) return undefined;
      done.push(`throttle ${network} to ${Math.round(perSecond / 100) * 100}`);
      return Promise.resolve();
    },
    unthrottle(network) {
      done.push(`unthrottle ${network}`);
      return Promise.resolve();
    },
    onThrottled: (network) => done.push(`told of ${network}`),
    onFailure: (thrown) => done.push(String(thrown)),
  });
});

/** Connections that come evenly, for so many tenths of a second. */
async function come(tenths: number, perSecond: readonly (readonly [NetworkId | "computer", number])[]): Promise<void> {
  for (let tenth = 0; tenth < tenths; tenth++) {
    for (const [who, count] of perSecond) for (let i = 0; i < count / 10; i++) crowding.came(who);
    await clock.advance(100);
  }
}

test("one that fills the event loop beside others is held to a fifth of what was served, and that is told once", async () => {
  await come(20, [
    [CROWD, 4000],
    [OTHER, 100],
  ]);
  expect(done).toEqual(["throttle 1 to 800", "told of 1"]);
  // What the throttle did not bring down is throttled again, more.
  await come(20, [[CROWD, 2000]]);
  expect(done.slice(2)).toEqual(["throttle 1 to 400"]);
  // And what it did bring down is left as it is.
  await come(50, [[CROWD, 250]]);
  expect(done).toHaveLength(3);
});

test("a crowd that comes once is served: the clients of a Machine that wakes", async () => {
  await come(1, [
    [CROWD, 20_000],
    [OTHER, 10],
  ]);
  await come(50, [[OTHER, 10]]);
  expect(done).toEqual([]);
  // Again at once, it is one too many.
  await come(2, [[CROWD, 5000]]);
  expect(done[0]).toBe("throttle 1 to 1000");
});

test("one that is alone is never held back", async () => {
  hasCompany = false;
  await come(50, [[CROWD, 5000]]);
  expect(done).toEqual([]);
  // The computer's own published ports are company, too.
  crowding.came("computer");
  await come(9, [[CROWD, 5000]]);
  expect(done).toContain("told of 1");
});

test("it is free again when the others have been gone for a minute", async () => {
  hasCompany = false;
  crowding.came(OTHER);
  await come(10, [[CROWD, 5000]]);
  expect(done).toContain("told of 1");
  hasCompany = true;
  await clock.advance(120_000);
  expect(done).not.toContain("unthrottle 1");
  hasCompany = false;
  await clock.advance(60_000);
  expect(done).toContain("unthrottle 1");
  expect(clock.pending).toBe(0);
});

test.each([
  ["the event loop has time for others", () => (utilization = 0.7), 5000],
  ["it is the computer itself, which the kernel cannot tell apart", () => {}, 0],
  ["so few a second are no crowd, whatever keeps the event loop busy", () => {}, 200],
])("nobody is held back: %s", async (_why, arrange, perSecond) => {
  arrange();
  await come(50, [
    [perSecond === 0 ? "computer" : CROWD, perSecond || 5000],
    [OTHER, 50],
  ]);
  expect(done).toEqual([]);
});

test("where the kernel cannot do it, nothing is said and nothing is waited for", async () => {
  isPossible = false;
  await come(20, [
    [CROWD, 5000],
    [OTHER, 10],
  ]);
  expect(done).toEqual([]);
  expect(clock.pending).toBe(0);
});

test("its timers end with it", async () => {
  await come(20, [[CROWD, 5000]]);
  expect(clock.pending).toBe(1);
  crowding.close();
  expect(clock.pending).toBe(0);
});
