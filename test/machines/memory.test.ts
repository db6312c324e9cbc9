import { describe, expect, test } from "vitest";
import type { MachineId } from "../../src/core/ids.ts";
import type { WallTime } from "../../src/core/units.ts";
import type { LastKnown, MachineMemory } from "../../src/machines/memory.ts";
import { FakeClock, settle } from "../support/fake-clock.ts";
import { machine, machineId, PORT, world } from "./world.ts";

const ONE = machineId(1);
const NOW = new FakeClock().wall();

class Notes implements MachineMemory {
  readonly notes = new Map<MachineId, LastKnown>();
  recall(id: MachineId): LastKnown | undefined {
    return this.notes.get(id);
  }
  note(id: MachineId, known: LastKnown): void {
    this.notes.set(id, known);
  }
}

function remembering(known: Partial<LastKnown>): Notes {
  const memory = new Notes();
  const since = (NOW - 60_000) as WallTime;
  const rest = { generation: 7, because: "idle for 5 min", since, lastExit: undefined, lastFailure: undefined };
  memory.note(ONE, { state: "stopped", ...rest, ...known });
  return memory;
}

describe("what a node remembers of its Machines", () => {
  test("each that came to rest or to life is noted, and what is on the way is not", async () => {
    const memory = new Notes();
    const w = world([machine(1)], { memory });
    expect(memory.notes.size).toBe(0);
    const claim = w.claim(1);
    expect(memory.notes.size).toBe(0);
    await claim.ready;
    expect(memory.recall(ONE)).toMatchObject({ state: "started", generation: 1 });
    claim.release();
    await w.machines.stop(ONE, { because: "asked" });
    const lastExit = { code: undefined, signal: "SIGINT", at: NOW };
    expect(memory.recall(ONE)).toMatchObject({ state: "stopped", generation: 1, because: "asked", lastExit });
  });

  test("a Machine that was stopped is stopped in the node's next life, since then and for the same reason", async () => {
    const lastExit = { code: 0, signal: undefined, at: 5 as WallTime };
    const w = world([machine(1), machine(2)], { memory: remembering({ lastExit }) });
    await w.machines.recover();
    const status = w.registry.view.status(ONE);
    expect(status).toMatchObject({ state: "stopped", generation: 7, because: "idle for 5 min", since: NOW - 60_000 });
    expect(status.lastExit).toEqual(lastExit);
    expect(w.machines.why(ONE)).toMatchObject({
      state: "stopped",
      because: "idle for 5 min",
      since: NOW - 60_000,
      next: "the next connection starts it",
    });
    expect(w.state(2)).toBe("created");
    expect(w.machines.startable(ONE)).toBe(true);
    expect((await w.claim(1).ready).generation).toBe(8);
  });

  test("one that failed is stopped, free to be tried at once, and its failure is told", async () => {
    const lastFailure = { code: "PM02" as const, message: "no such program", at: 5 as WallTime };
    const w = world([machine(1)], {
      memory: remembering({ state: "failed", because: "no such program", lastFailure }),
    });
    await w.machines.recover();
    expect(w.registry.view.status(ONE)).toMatchObject({ state: "stopped", because: "no such program", lastFailure });
    expect(w.machines.startable(ONE)).toBe(true);
  });

  test("one that ran, and runs no more, is stopped, and nobody knows since when", async () => {
    const w = world([machine(1)], { memory: remembering({ state: "started", because: "woken by a request" }) });
    await w.machines.recover();
    expect(w.registry.view.status(ONE)).toMatchObject({
      state: "stopped",
      because: "it ended with the node, or while that was away",
      since: NOW,
    });
  });

  test("how it ended is told where the driver knows it", async () => {
    const w = world([machine(1)], { memory: remembering({ state: "started" }) });
    w.driver.stop = () => Promise.resolve({ code: 9, signal: undefined });
    await w.machines.recover();
    expect(w.registry.view.status(ONE)).toMatchObject({
      because: "it ended while the node was away: exit code 9",
      lastExit: { code: 9, at: NOW },
    });
  });

  test("one that runs on does, and one that stands still tells why", async () => {
    const w = world([machine(1), machine(2)], { memory: remembering({ state: "suspended", generation: 4 }) });
    w.driver.live.set(ONE, { generation: 4, pid: 77, frozen: true });
    w.driver.live.set(machineId(2), { generation: 3, pid: 78, frozen: false });
    await w.machines.recover();
    expect(w.registry.view.status(ONE)).toMatchObject({ state: "suspended", generation: 4, because: "idle for 5 min" });
    expect(w.registry.view.status(machineId(2))).toMatchObject({
      state: "started",
      because: "ran on while the node was away",
    });
    await settle();
    expect(w.machines.load(ONE, PORT)).toBe(0);
  });

  test("a clock that was set back makes nothing of the future", async () => {
    const w = world([machine(1)], { memory: remembering({ since: (NOW + 1e9) as WallTime }) });
    await w.machines.recover();
    expect(w.registry.view.status(ONE).since).toBe(NOW);
  });
});
