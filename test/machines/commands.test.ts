import { describe, expect, test } from "vitest";
import { AppError } from "../../src/core/errors.ts";
import { ms, seconds } from "../../src/core/units.ts";
import type { AppName, NetworkId } from "../../src/core/ids.ts";
import { settle } from "../support/fake-clock.ts";
import { AMS, machine, machineId, PORT, service, world } from "./world.ts";

const ONE = machineId(1);
const TWO = machineId(2);
const WORKER = machine(1, { services: [] });

function code(promise: Promise<unknown>): Promise<string> {
  return promise.then(
    () => "resolved",
    (error: unknown) => (error instanceof AppError ? error.code : String(error)),
  );
}

describe("start and stop", () => {
  test("start resolves when the driver has started it, and rejects with the driver's reason", async () => {
    const w = world([machine(1), machine(2)]);
    await w.machines.start(ONE, "a command");
    expect(w.state(1)).toBe("started");
    expect(w.events).toMatchObject([{ event: "started", because: "a command", receipt: undefined }]);
    w.driver.behaviour.startFails = () => "no such folder";
    await expect(w.machines.start(TWO, "a command")).rejects.toThrow("no such folder");
    expect(await code(w.machines.start(machineId(9), "a command"))).toBe("not_found");
  });

  test("starts beyond the slots wait their turn", async () => {
    const limits = { wakeTimeout: seconds(60), starts: 2, perNetwork: 0.5, drainTimeout: seconds(60) };
    const other = 0x8000_0099 as NetworkId;
    const w = world([machine(1), machine(2), machine(3, { network: other })], { limits });
    w.driver.behaviour.startDelay = () => 10;
    const all = Promise.all([1, 2, 3].map((n) => w.machines.start(machineId(n), "a command")));
    expect([1, 2, 3].map((n) => w.state(n))).toEqual(["starting", "created", "starting"]);
    await w.clock.advance(20);
    await all;
    expect(w.state(2)).toBe("started");
  });

  test("stop lets claims finish, takes no new ones, and tells nobody an error", async () => {
    const w = world([machine(1)]);
    const claim = w.claim(1);
    await claim.ready;
    let lost = 0;
    claim.onLost(() => lost++);
    const stopped = w.machines.stop(ONE, { because: "deploy" });
    expect([w.state(1), w.refusal(1)]).toEqual(["draining", "draining"]);
    await w.clock.advance(seconds(10));
    claim.release();
    expect(await stopped).toEqual({ cut: [] });
    expect([lost, w.state(1)]).toEqual([0, "stopped"]);
  });

  test("stop cuts what is left at the end of the drain timeout, and names it", async () => {
    const w = world([machine(1)]);
    const claim = w.claim(1);
    await claim.ready;
    let lost: AppError | undefined;
    claim.onLost((error) => (lost = error));
    const stopped = w.machines.stop(ONE, { because: "deploy" });
    await w.clock.advance(seconds(300));
    expect(lost?.code).toBe("FP11");
    expect((await stopped).cut).toMatchObject([
      { from: "[fdaa:8000:18::99]:40000", service: PORT, kind: "connection" },
    ]);
    expect(w.events.filter((event) => event.event === "stopping").at(-1)).toMatchObject({ cut: [{ holds: true }] });
    expect(w.logged).toEqual(["connections and requests were cut"]);
  });

  test("stop without drain cuts at once, with the signal and timeout that were asked for", async () => {
    const w = world([machine(1)]);
    const claim = w.claim(1);
    await claim.ready;
    const how = { because: "now", drain: false, signal: "SIGQUIT", timeout: ms(10) } as const;
    expect((await w.machines.stop(ONE, how)).cut).toHaveLength(1);
    expect(w.driver.calls.at(-2)).toBe(`stop ${ONE} SIGQUIT`);
    claim.release();
    expect(w.machines.load(ONE, PORT)).toBe(0);
  });

  test("start takes a Machine back that a stop is draining, and the stop says so", async () => {
    const w = world([machine(1)]);
    const claim = w.claim(1);
    await claim.ready;
    const stopped = code(w.machines.stop(ONE, { because: "deploy" }));
    await w.machines.start(ONE, "no, wait");
    expect(await stopped).toBe("conflict");
    expect(w.state(1)).toBe("started");
    await w.clock.advance(seconds(600));
    expect(w.claim(1).endpoint?.generation).toBe(1);
  });

  test("stop during a start ends it as soon as the driver answers, and its waiters learn why", async () => {
    const w = world([machine(1)]);
    w.driver.behaviour.startDelay = () => 100;
    const waiter = code(w.claim(1).ready);
    await settle();
    const stopped = w.machines.stop(ONE, { because: "a command" });
    expect(await waiter).toBe("PM10");
    expect(w.refusal(1)).toBe("stopping");
    await w.clock.advance(100);
    await stopped;
    expect([w.state(1), w.driver.live.size]).toEqual(["stopped", 0]);
  });

  test("a stop that the driver refuses is tried again with SIGKILL until nothing runs", async () => {
    const w = world([machine(1)]);
    await w.machines.start(ONE, "a command");
    let refusals = 2;
    w.driver.behaviour.stopFails = () => refusals-- > 0;
    const stopped = w.machines.stop(ONE, { because: "a command" });
    await w.clock.advance(2000);
    await stopped;
    expect(w.driver.calls.slice(1, 4)).toEqual([`stop ${ONE} SIGINT`, `stop ${ONE} SIGKILL`, `stop ${ONE} SIGKILL`]);
  });

  test("restart is a new life", async () => {
    const w = world([machine(1)]);
    await w.machines.start(ONE, "a command");
    await w.machines.restart(ONE);
    expect(w.registry.view.status(ONE)).toMatchObject({ state: "started", generation: 2 });
  });

  test("a command from within an event meets a whole state", async () => {
    const done: Promise<string>[] = [];
    const w = world([machine(1)], {
      onEvent: (event) => {
        if (event.event === "started") done.push(code(w.machines.stop(ONE, { because: "at once" })));
      },
    });
    await w.machines.start(ONE, "a command");
    expect(await Promise.all(done)).toEqual(["resolved"]);
    expect(w.state(1)).toBe("stopped");
  });

  test("wait resolves in the state that is waited for, and gives up in time", async () => {
    const w = world([machine(1)]);
    const started = w.machines.wait(ONE, ["started"], seconds(60));
    await w.machines.start(ONE, "a command");
    await started;
    const never = code(w.machines.wait(ONE, ["destroyed"], seconds(5)));
    await w.clock.advance(seconds(5));
    expect(await never).toBe("timeout");
  });
});

describe("destroy", () => {
  test("is refused for a Machine that runs, unless forced, and leaves nothing behind", async () => {
    const w = world([machine(1)]);
    const claim = w.claim(1);
    await claim.ready;
    expect(await code(w.machines.destroy(ONE, { force: false }))).toBe("conflict");
    await w.machines.destroy(ONE, { force: true });
    expect(w.registry.view.machine(ONE)).toBeUndefined();
    expect(w.driver.calls.slice(-2)).toEqual([`release ${ONE}`, `remove ${ONE}`]);
    expect(w.refusal(1)).toBe("gone");
    expect(await code(w.machines.start(ONE, "a command"))).toBe("not_found");
    expect(w.driver.violations).toEqual([]);
  });

  test("a Machine that vanishes from the registry is ended, and one that appears there can be claimed", async () => {
    const w = world([machine(1)]);
    await w.machines.start(ONE, "a command");
    w.registry.apply({ kind: "machine-gone", id: ONE });
    await settle();
    expect(w.driver.live.size).toBe(0);
    w.registry.apply({ kind: "machine", value: machine(2) });
    expect((await w.claim(2).ready).generation).toBe(1);
  });

  test("a Machine with auto_destroy goes when it ends by itself", async () => {
    const w = world([machine(1, { services: [], config: { autoDestroy: true } })]);
    await w.machines.start(ONE, "a command");
    w.driver.crash(ONE, { code: 0, signal: undefined });
    await settle();
    expect(w.registry.view.machine(ONE)).toBeUndefined();
  });
});

describe("a Machine that ends by itself", () => {
  test("is started again after a growing pause, as often as its policy says", async () => {
    const w = world([machine(1, { services: [], config: { restart: { policy: "on-failure", maxRetries: 2 } } })]);
    await w.machines.start(ONE, "a command");
    for (const pause of [500, 1000]) {
      w.driver.crash(ONE);
      await w.clock.advance(pause - 1);
      expect(w.state(1)).toBe("stopped");
      await w.clock.advance(1);
      expect(w.state(1)).toBe("started");
    }
    w.driver.crash(ONE);
    await w.clock.advance(seconds(3600));
    expect(w.state(1)).toBe("stopped");
    expect(w.registry.view.status(ONE).lastExit).toMatchObject({ code: 1 });
  });

  test("starts from the first pause again after a steady life", async () => {
    const w = world([WORKER]);
    await w.machines.start(ONE, "a command");
    for (let i = 0; i < 12; i++) {
      await w.clock.advance(seconds(20));
      w.driver.crash(ONE);
      await w.clock.advance(500);
      expect(w.state(1)).toBe("started");
    }
  });

  test("stays down when it ended well, unless its policy is always", async () => {
    const always = machine(2, { services: [], config: { restart: { policy: "always", maxRetries: 0 } } });
    const w = world([WORKER, always]);
    for (const id of [ONE, TWO]) {
      await w.machines.start(id, "a command");
      w.driver.crash(id, { code: 0, signal: undefined });
    }
    await w.clock.advance(seconds(1));
    expect([w.state(1), w.state(2)]).toEqual(["stopped", "started"]);
  });

  test("stays down when the next connection can wake it", async () => {
    const w = world([machine(1)]);
    await w.machines.start(ONE, "a command");
    w.driver.crash(ONE);
    await w.clock.advance(seconds(60));
    expect(w.state(1)).toBe("stopped");
    expect(w.machines.why(ONE)).toMatchObject({
      because: "it ended by itself: exit code 1",
      next: "the next connection starts it",
    });
  });

  test("is started again when min_machines_running wants it", async () => {
    const w = world([machine(1, { services: [service({ minMachinesRunning: 1 })] })]);
    await w.machines.up();
    w.driver.crash(ONE);
    await w.clock.advance(500);
    expect(w.state(1)).toBe("started");
  });

  test("whose start failed is tried again by its policy, for no connection would", async () => {
    const w = world([WORKER]);
    w.driver.behaviour.startFails = () => "port taken";
    await code(w.machines.start(ONE, "a command"));
    w.driver.behaviour.startFails = () => undefined;
    await w.clock.advance(500);
    expect(w.state(1)).toBe("started");
  });
});

describe("the node", () => {
  test("up leaves asleep what can be woken beyond min_machines_running, and starts everything else", async () => {
    const one = service({ minMachinesRunning: 1 });
    const w = world([
      machine(1, { services: [one] }),
      machine(2, { services: [one] }),
      machine(3, { services: [one], region: AMS }),
      machine(4, { services: [], app: "worker" as AppName }),
      machine(5, { services: [service({ autostart: false })], app: "fixed" as AppName }),
      machine(6, { services: [], app: "worker" as AppName, cordoned: true }),
    ]);
    await w.machines.up();
    expect([1, 2, 3, 4, 5, 6].map((n) => w.state(n))).toEqual([
      "started",
      "created",
      "created",
      "started",
      "started",
      "created",
    ]);
    await w.clock.advance(seconds(3600));
    expect(w.state(1)).toBe("started");
  });

  test("finds Machines that ran on while it was away, frozen ones included", async () => {
    const w = world([machine(1), machine(2), machine(3)]);
    w.driver.live.set(ONE, { generation: 4, pid: 77, frozen: false });
    w.driver.live.set(TWO, { generation: 2, pid: 78, frozen: true });
    await w.machines.recover();
    expect([1, 2, 3].map((n) => w.state(n))).toEqual(["started", "suspended", "created"]);
    expect(w.registry.view.status(ONE)).toMatchObject({ generation: 4, pid: 77 });
    expect(w.claim(1).endpoint).toMatchObject({ generation: 4, waking: false });
    w.driver.crash(ONE);
    await settle();
    expect(w.state(1)).toBe("stopped");
    expect((await w.claim(2).ready).generation).toBe(3);
    expect(w.driver.startsOf(TWO)).toBe(0);
  });

  test("shutdown drains every Machine, and a second one without drain cuts what is left", async () => {
    const w = world([machine(1), machine(2)]);
    const claim = w.claim(1);
    await claim.ready;
    await w.machines.start(TWO, "a command");
    const first = w.machines.shutdown({ drain: true });
    await settle();
    expect([w.state(1), w.state(2)]).toEqual(["draining", "stopped"]);
    expect(w.refusal(1)).toBe("gone");
    const second = await w.machines.shutdown({ drain: false });
    expect(second.cut).toHaveLength(1);
    await first;
    expect(w.driver.live.size).toBe(0);
    expect(w.clock.pending).toBe(0);
  });

  test("shutdown with Machines that start, suspend or wait for a restart leaves nothing running", async () => {
    const w = world([machine(1), machine(2), machine(3, { services: [] })]);
    await w.machines.start(TWO, "a command");
    await w.machines.start(machineId(3), "a command");
    w.driver.behaviour.startDelay = () => 50;
    w.driver.behaviour.stopDelay = () => 50;
    w.claim(1);
    const suspending = w.machines.suspend(TWO).catch(() => {});
    w.driver.crash(machineId(3));
    await settle();
    const down = w.machines.shutdown({ drain: true });
    await w.clock.advance(seconds(60));
    await down;
    await suspending;
    expect(w.driver.live.size).toBe(0);
    expect(w.clock.pending).toBe(0);
  });

  test("close leaves the Machines as they are", async () => {
    const w = world([machine(1)]);
    await w.machines.start(ONE, "a command");
    w.machines.close();
    await w.clock.advance(seconds(3600));
    expect(w.driver.live.size).toBe(1);
    expect(w.clock.pending).toBe(0);
  });
});
