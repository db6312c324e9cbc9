import { describe, expect, test } from "vitest";
import { AppError } from "../../src/core/errors.ts";
import { ms, seconds } from "../../src/core/units.ts";
import { settle } from "../support/fake-clock.ts";
import { CALLER, machine, machineId, PORT, service, world, type World } from "./world.ts";

const ONE = machineId(1);
const TWO = machineId(2);

/** The error that a promise is rejected with. */
async function rejection(promise: Promise<unknown>): Promise<AppError> {
  const thrown: unknown = await promise.then(
    () => undefined,
    (error: unknown) => error,
  );
  if (!(thrown instanceof AppError)) throw new Error(`not rejected with an AppError: ${String(thrown)}`);
  return thrown;
}

async function awake(w: World, number = 1): Promise<void> {
  const claim = w.claim(number);
  await claim.ready;
  w.machines.reportReachable(machineId(number), PORT, claim.generation);
  claim.release();
}

describe("a wake", () => {
  test("a claim on a stopped Machine starts it once, and all who wait are served", async () => {
    const w = world([machine(1)]);
    const claims = Array.from({ length: 1000 }, () => w.claim(1));
    expect(w.state(1)).toBe("starting");
    const endpoints = await Promise.all(claims.map((claim) => claim.ready));
    expect(new Set(endpoints.map((endpoint) => endpoint.generation))).toEqual(new Set([1]));
    expect(w.driver.startsOf(ONE)).toBe(1);
    expect(w.machines.load(ONE, PORT)).toBe(1000);
    // Whoever comes before the port has answered waits as well.
    claims.push(w.claim(1));
    w.machines.reportReachable(ONE, PORT, 1);
    claims.push(w.claim(1));
    expect(w.machines.receipt(ONE)?.waiters).toBe(1001);
    for (const claim of claims) claim.release();
    expect(w.machines.load(ONE, PORT)).toBe(0);
    expect(w.state(1)).toBe("started");
  });

  test("a failed start tells those who wait why, and holds others off for half a second, then a second", async () => {
    const w = world([machine(1)]);
    w.driver.behaviour.startFails = () => "node: command not found";
    const claim = w.claim(1);
    const error = await rejection(claim.ready);
    expect(error.code).toBe("PM02");
    expect(error.message).toBe("node: command not found");
    expect(w.state(1)).toBe("failed");
    expect(w.refusal(1)).toBe("backoff");
    expect(w.machines.startable(ONE)).toBe(false);
    await w.clock.advance(499);
    expect(w.refusal(1)).toBe("backoff");
    await w.clock.advance(1);
    expect(w.machines.startable(ONE)).toBe(true);
    await rejection(w.claim(1).ready);
    await w.clock.advance(999);
    expect(w.refusal(1)).toBe("backoff");
    w.driver.behaviour.startFails = () => undefined;
    await w.clock.advance(1);
    const last = w.claim(1);
    await last.ready;
    expect(w.events.filter((event) => event.event === "failed")).toHaveLength(2);
  });

  test("an environment that cannot be made is a failed start", async () => {
    const w = world([machine(1)], { environment: () => Promise.reject(new Error("no app named api")) });
    const error = await rejection(w.claim(1).ready);
    expect([error.code, error.message]).toEqual(["PM02", "no app named api"]);
    expect(w.driver.calls).toEqual([]);
  });

  test("a Machine that ends before any port answered is a failed wake", async () => {
    const w = world([machine(1)]);
    const claim = w.claim(1);
    await claim.ready;
    const lost = new Promise<AppError>((resolve) => claim.onLost(resolve));
    w.driver.crash(ONE);
    expect((await lost).code).toBe("machine_exited");
    await settle();
    expect(w.state(1)).toBe("failed");
    expect(w.refusal(1)).toBe("backoff");
    // That its process existed for a moment is nobody's "started", but its receipt tells how far it came.
    expect(w.events.map(({ event }) => event)).toEqual(["wake", "failed"]);
    expect(w.machines.receipt(ONE)).toMatchObject({ generation: 1, driverStarted: 0, portOpen: undefined });
  });

  test("one whose process is gone before its start is reported was never started", async () => {
    const w = world([machine(1)]);
    w.driver.behaviour.diesYoung = () => true;
    expect((await rejection(w.claim(1).ready)).code).toBe("machine_exited");
    await settle();
    expect(w.events.map(({ event }) => event)).toEqual(["wake", "failed"]);
  });

  test("a Machine that answered and then ended is told in that order", async () => {
    const w = world([machine(1)]);
    const claim = w.claim(1);
    await claim.ready;
    w.machines.reportReachable(ONE, PORT, claim.generation);
    w.driver.crash(ONE);
    await settle();
    expect(w.events.map(({ event }) => event)).toEqual(["wake", "started", "stopped"]);
    expect(w.machines.receipt(ONE)?.portOpen).toBe(0);
  });

  test("a start goes on when the client that caused it leaves", async () => {
    const w = world([machine(1)]);
    w.driver.behaviour.startDelay = () => 100;
    const claim = w.claim(1);
    claim.release();
    await rejection(claim.ready);
    await w.clock.advance(100);
    expect(w.state(1)).toBe("started");
    expect(w.machines.load(ONE, PORT)).toBe(0);
  });

  test("a start that hangs fails its waiters after the wake timeout, and is not begun a second time", async () => {
    const w = world([machine(1)]);
    w.driver.behaviour.startDelay = () => 90_000;
    const ready = rejection(w.claim(1).ready);
    await w.clock.advance(60_000);
    expect((await ready).code).toBe("PM03");
    expect(w.refusal(1)).toBe("backoff");
    await w.clock.advance(30_000);
    expect(w.state(1)).toBe("started");
    expect(w.claim(1).endpoint?.generation).toBe(1);
    expect(w.driver.startsOf(ONE)).toBe(1);
  });

  test("a claim that may not wake does not, and neither does a service without autostart or a cordoned Machine", () => {
    const w = world([
      machine(1),
      machine(2, { services: [service({ autostart: false })] }),
      machine(3, { cordoned: true }),
    ]);
    expect(w.refusal(1, { wake: false })).toBe("asleep");
    expect(w.refusal(2)).toBe("asleep");
    expect(w.refusal(3)).toBe("cordoned");
    expect(w.machines.startable(TWO)).toBe(false);
    expect(w.driver.calls).toEqual([]);
  });

  test("a suspended Machine goes on where it stood, and boots when it cannot be resumed", async () => {
    const w = world([machine(1)]);
    await awake(w);
    await w.machines.suspend(ONE);
    expect(w.state(1)).toBe("suspended");
    const claim = w.claim(1);
    expect((await claim.ready).generation).toBe(2);
    expect(w.driver.startsOf(ONE)).toBe(1);
    claim.release();
    await w.machines.suspend(ONE);
    w.driver.behaviour.resumeFails = () => true;
    const again = w.claim(1);
    expect((await again.ready).generation).toBe(3);
    expect(w.driver.startsOf(ONE)).toBe(2);
    expect(w.driver.violations).toEqual([]);
  });

  test("only so many Machines start at once, and half of them for one network; whoever waits hears of a free slot", async () => {
    const limits = { wakeTimeout: seconds(60), starts: 4, perNetwork: 0.5, drainTimeout: seconds(60) };
    const w = world([machine(1), machine(2), machine(3)], { limits });
    w.driver.behaviour.startDelay = () => 10;
    w.claim(1);
    w.claim(2);
    expect(w.refusal(3)).toBe("starts-exhausted");
    let told = 0;
    const listen = (): void => {
      told++;
      if (w.state(3) === "created") w.claim(3);
    };
    w.machines.onChange(machine(3).app, listen);
    await w.clock.advance(10);
    expect(told).toBe(1);
    expect(w.state(3)).toBe("starting");
  });

  test("a start that hangs gives its slot back when it is overdue", async () => {
    const limits = { wakeTimeout: seconds(10), starts: 1, perNetwork: 1, drainTimeout: seconds(60) };
    const w = world([machine(1), machine(2)], { limits });
    w.driver.behaviour.startDelay = (id) => (id === ONE ? 3_600_000 : 0);
    w.claim(1);
    expect(w.refusal(2)).toBe("starts-exhausted");
    await w.clock.advance(seconds(10));
    await w.claim(2).ready;
  });

  test("the receipt tells when each step happened, and whose time it was", async () => {
    const w = world([machine(1)]);
    w.driver.behaviour.startDelay = () => 30;
    const accepted = w.clock.wall();
    const since = w.clock.now();
    await w.clock.advance(2);
    const claim = w.claim(1, { since });
    await w.clock.advance(30);
    await w.clock.advance(100);
    w.machines.reportReachable(ONE, PORT, 1);
    await w.clock.advance(8);
    w.machines.reportFirstByte(ONE, 1, w.clock.now());
    w.machines.reportFirstByte(ONE, 1, w.clock.now());
    const receipt = { claimed: 2, driverStarted: 32, portOpen: 132, firstByte: 140, ownShare: 32, appShare: 108 };
    expect(w.machines.receipt(ONE)).toMatchObject({ ...receipt, accepted, waiters: 1, resumed: false });
    expect(w.events.filter((event) => event.event === "started")).toMatchObject([{ receipt }]);
    claim.release();
  });

  test("a port that never answers holds new claims off, while the Machine runs on until it does", async () => {
    const w = world([machine(1)]);
    const claim = w.claim(1);
    const endpoint = await claim.ready;
    expect(endpoint.waking).toBe(true);
    w.machines.reportUnreachable(ONE, PORT, 1, new AppError("PM03"));
    w.machines.reportUnreachable(ONE, PORT, 1, new AppError("PM03"));
    claim.release();
    expect([w.state(1), w.refusal(1)]).toEqual(["started", "backoff"]);
    await w.clock.advance(500);
    const again = w.claim(1);
    w.machines.reportReachable(ONE, PORT, 1);
    expect(w.claim(1).endpoint?.waking).toBe(false);
    again.release();
    expect(w.events.filter((event) => event.event === "failed")).toHaveLength(1);
  });
});

describe("a claim", () => {
  test("is refused at the hard limit, and those who wait hear of the next free place", async () => {
    const concurrency = { type: "connections" as const, softLimit: 1, hardLimit: 2 };
    const w = world([machine(1, { services: [service({ concurrency })] })]);
    const claims = [w.claim(1), w.claim(1)];
    expect(w.refusal(1)).toBe("hard-limit");
    await claims[0]!.ready;
    expect(w.refusal(1)).toBe("hard-limit");
    let told = 0;
    w.machines.onChange(machine(1).app, () => told++);
    claims[0]!.release();
    claims[0]!.release();
    expect(told).toBe(1);
    expect(w.machines.load(ONE, PORT)).toBe(1);
    w.claim(1);
    expect(w.refusal(1)).toBe("hard-limit");
  });

  for (const action of ["stop", "suspend"] as const) {
    test(`made during a ${action} is told to wait, and wakes the Machine once that has settled`, async () => {
      const w = world([machine(1)]);
      await awake(w);
      w.driver.behaviour.stopDelay = () => 1000;
      expect(w.machines.propose(ONE, { generation: 1, action, because: "idle" })).toBe(true);
      expect(w.refusal(1)).toBe("stopping");
      let again: Promise<unknown> | undefined;
      w.machines.onChange(machine(1).app, () => {
        again = w.claim(1).ready;
      });
      await w.clock.advance(1000);
      expect(await again).toMatchObject({ generation: 2 });
    });
  }

  test("is lost when the process ends by itself, and the next one starts the Machine at once", async () => {
    const w = world([machine(1)]);
    const claim = w.claim(1);
    await claim.ready;
    w.machines.reportReachable(ONE, PORT, 1);
    let lost: AppError | undefined;
    claim.onLost((error) => (lost = error));
    w.driver.crash(ONE, { code: undefined, signal: "SIGKILL" });
    expect([lost?.code, lost?.retry]).toEqual(["machine_exited", "unsent"]);
    expect(w.machines.load(ONE, PORT)).toBe(0);
    await settle();
    expect(w.state(1)).toBe("stopped");
    expect((await w.claim(1).ready).generation).toBe(2);
    let late: AppError | undefined;
    claim.onLost((error) => (late = error));
    expect(late?.code).toBe("machine_exited");
  });

  test("from a Machine that is itself suspended does not keep its target awake", async () => {
    const w = world([machine(1), machine(2)]);
    await awake(w, 2);
    await w.machines.suspend(TWO).catch(() => {});
    await awake(w, 1);
    await awake(w, 2);
    const caller = { ...CALLER, via: "machine" as const, machine: TWO };
    const claim = w.claim(1, { caller });
    expect(w.machines.propose(ONE, { generation: 1, action: "stop", because: "idle" })).toBe(false);
    await w.machines.suspend(TWO);
    expect(w.machines.holders(ONE)).toMatchObject([{ holds: false, kind: "connection" }]);
    let lost = 0;
    claim.onLost(() => lost++);
    expect(w.machines.propose(ONE, { generation: 1, action: "stop", because: "idle" })).toBe(true);
    expect(lost).toBe(1);
  });
});

describe("autostop", () => {
  test("stops a Machine that nobody holds, and the next claim wakes it again", async () => {
    const w = world([machine(1)]);
    const claim = w.claim(1);
    await claim.ready;
    await w.clock.advance(seconds(3600));
    expect(w.state(1)).toBe("started");
    claim.release();
    await w.clock.advance(seconds(299));
    expect(w.state(1)).toBe("started");
    await w.clock.advance(seconds(61));
    expect(w.state(1)).toBe("stopped");
    expect(w.events.at(-1)).toMatchObject({ event: "stopped", exit: { signal: "SIGINT" } });
    await w.clock.advance(seconds(600));
    expect(w.driver.calls.at(-1)).toBe(`release ${ONE}`);
    expect(w.clock.pending).toBe(0);
    expect((await w.claim(1).ready).generation).toBe(2);
  });

  test("stops one Machine of a region at a time, empties those that are in use, and a claim takes one back", async () => {
    const w = world([machine(1), machine(2), machine(3)]);
    await Promise.all([awake(w, 1), awake(w, 2), awake(w, 3)]);
    const held = [w.claim(2), w.claim(3), w.claim(3)];
    await w.clock.advance(seconds(300));
    expect([1, 2, 3].map((n) => w.state(n))).toEqual(["stopped", "started", "started"]);
    await w.clock.advance(seconds(60));
    expect([2, 3].map((n) => w.machines.emptying(machineId(n)))).toEqual([true, false]);
    held.push(w.claim(2));
    expect(w.machines.emptying(TWO)).toBe(false);
    await w.clock.advance(seconds(3600));
    expect([2, 3].map((n) => w.state(n))).toEqual(["started", "started"]);
    for (const claim of held) claim.release();
    await w.clock.advance(seconds(3600));
    expect([1, 2, 3].map((n) => w.state(n))).toEqual(["stopped", "stopped", "stopped"]);
  });

  test("stops a Machine that cannot be suspended", async () => {
    const w = world([machine(1, { services: [service({ autostop: "suspend" })] })]);
    w.driver.behaviour.suspendFails = () => true;
    await awake(w);
    await w.clock.advance(seconds(360));
    expect(w.state(1)).toBe("stopped");
    expect(w.driver.calls).toEqual([`start ${ONE}`, `suspend ${ONE}`, `stop ${ONE} SIGINT`, `exit ${ONE} 1`]);
  });

  test("new settings count from the next decision on", async () => {
    const w = world([machine(1)]);
    await awake(w);
    w.machines.setAutostop({ interval: ms(100), idle: ms(300) });
    await w.clock.advance(400);
    expect(w.state(1)).toBe("stopped");
  });
});

test("a holder of a claim that fails, or a listener that does, leaves the others unharmed", async () => {
  const w = world([machine(1)], {
    onEvent: () => {
      throw new Error("a broken listener");
    },
  });
  const claims = [w.claim(1), w.claim(1)];
  await claims[0]!.ready;
  let told = 0;
  for (const claim of claims) {
    claim.onLost(() => {
      told++;
      throw new Error("a broken holder");
    });
  }
  w.driver.crash(ONE);
  await settle();
  expect([told, w.state(1)]).toEqual([2, "failed"]);
  expect(new Set(w.logged)).toEqual(new Set(["a listener for events failed", "a holder of a claim failed"]));
});
