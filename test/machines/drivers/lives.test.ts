import { spawn, type ChildProcess } from "node:child_process";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, afterEach, describe, expect, test } from "vitest";
import { systemClock } from "../../../src/core/clock.ts";
import { ms } from "../../../src/core/units.ts";
import { readLife, writeLife } from "../../../src/machines/drivers/life-file.ts";
import { tailOf } from "../../../src/machines/drivers/log-reader.ts";
import type { ProcessDriver } from "../../../src/machines/drivers/process-driver.ts";
import { createProcessDriver } from "../../../src/machines/drivers/process.ts";
import { bootId, pidNamespace, readProcess } from "../../../src/machines/drivers/processes.ts";
import type { Machine } from "../../../src/registry/model.ts";
import { barePlane, ENVIRONMENT, exitOf, quietLog, shellMachine, temporaryFolder, until } from "./machine-fixture.ts";

const HOW = { signal: "SIGTERM", timeout: ms(20_000) } as const;
const RUNS = `trap 'exit 9' TERM; echo ready; sleep 1000 & wait`;
/** With a daemon in a session of its own, whose parent is gone. */
const WITH_DAEMON = `sh -c 'setsid sleep 1000 & echo daemon $!'; ${RUNS}`;

const shared = temporaryFolder();
const nodes: ChildProcess[] = [];
const drivers: ProcessDriver[] = [];
let number = 0;
afterEach(async () => {
  for (const node of nodes.splice(0)) node.kill("SIGKILL");
  await Promise.all(drivers.splice(0).map((driver) => driver.close()));
});
afterAll(() => shared.remove());

function freshState(): string {
  return join(shared.path, `s${++number}`);
}

async function driverOn(stateDir: string, outlive: boolean): Promise<ProcessDriver> {
  const plane = barePlane();
  const driver = await createProcessDriver({ plane, stateDir, clock: systemClock, outlive, log: quietLog });
  drivers.push(driver);
  return driver;
}

/** A node of its own process with running Machines, all of which have said `ready`. */
async function nodeWith(stateDir: string, mode: "end" | "outlive", machines: readonly Machine[]) {
  mkdirSync(stateDir, { recursive: true });
  const file = join(stateDir, "machines.json");
  writeFileSync(file, JSON.stringify(machines));
  const program = fileURLToPath(new URL("./node-program.ts", import.meta.url));
  const tsx = createRequire(import.meta.url).resolve("tsx");
  const node = spawn(process.execPath, ["--import", tsx, program, stateDir, mode, file], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  nodes.push(node);
  const line = await new Promise<string>((resolve) =>
    node.stdout.once("data", (data: Buffer) => resolve(data.toString())),
  );
  const pids = JSON.parse(line.slice(5)) as number[];
  for (const { id } of machines) {
    await until("ready", () => tailOf(join(stateDir, "machines", id), 9).some(({ text }) => text === "ready"));
    await until("its life is on record", () => readLife(join(stateDir, "machines", id)));
  }
  const kill = (): Promise<void> =>
    new Promise((resolve) => {
      node.once("exit", () => resolve());
      node.kill("SIGKILL");
    });
  return { pids, kill };
}

function gone(pid: number): boolean {
  const state = readProcess(pid)?.state;
  return state === undefined || state === "Z";
}

function daemonOf(stateDir: string, machine: Machine): number {
  const line = tailOf(join(stateDir, "machines", machine.id), 9).find(({ text }) => text.startsWith("daemon"));
  return Number(line?.text.split(" ")[1]);
}

function starterOf(stateDir: string, machine: Machine): number {
  return readLife(join(stateDir, "machines", machine.id))?.starter ?? 0;
}

describe.skipIf(process.platform !== "linux")("Machines that end with their node", () => {
  test("kill -9 of the node ends them, their daemons and the starter", async () => {
    const stateDir = freshState();
    const machine = shellMachine(WITH_DAEMON);
    const node = await nodeWith(stateDir, "end", [machine]);
    const all = [...node.pids, daemonOf(stateDir, machine), starterOf(stateDir, machine)];
    expect(all.map(gone)).toEqual([false, false, false]);
    await node.kill();
    await until("all are gone", () => all.every(gone));
  });

  test("kill -9 of the starter is told as the end of its Machines, and the next start works", async () => {
    const stateDir = freshState();
    const driver = await driverOn(stateDir, false);
    const machine = shellMachine(WITH_DAEMON);
    const { pid = 0 } = await driver.start(machine, 1, ENVIRONMENT);
    await until("ready", () => driver.tail(machine.id, 9).includes("ready"));
    const daemon = daemonOf(stateDir, machine);
    const exit = exitOf(driver, machine.id, 1);
    process.kill(starterOf(stateDir, machine), "SIGKILL");
    expect(await exit).toEqual({ code: undefined, signal: undefined });
    expect([pid, daemon].map(gone)).toEqual([true, true]);
    await driver.start(machine, 2, ENVIRONMENT);
    await until("ready again", () => driver.tail(machine.id, 99).filter((text) => text === "ready").length === 2);
    expect(await driver.stop(machine.id, HOW)).toMatchObject({ code: 9 });
  });

  test("kill -9 of node and starter at once leaves strays at most until the next start", async () => {
    const stateDir = freshState();
    const machine = shellMachine(WITH_DAEMON);
    const node = await nodeWith(stateDir, "end", [machine]);
    const all = [...node.pids, daemonOf(stateDir, machine)];
    const starter = starterOf(stateDir, machine);
    process.kill(starter, "SIGSTOP"); // so that it cannot do its work before it dies
    await node.kill();
    process.kill(starter, "SIGKILL");
    await until("the starter is gone", () => gone(starter));
    await driverOn(stateDir, false);
    expect(all.map(gone)).toEqual([true, true]);
  });
});

describe.skipIf(process.platform !== "linux")("Machines that outlive their node", () => {
  test("they are found again with the same pid after kill -9, and stopped with their true exit", async () => {
    const stateDir = freshState();
    const machine = shellMachine(RUNS);
    const node = await nodeWith(stateDir, "outlive", [machine]);
    await node.kill();
    const driver = await driverOn(stateDir, true);
    const [pid] = node.pids;
    expect(await driver.recover([machine])).toEqual([{ id: machine.id, generation: 5, pid, suspended: false }]);
    const told = exitOf(driver, machine.id, 5);
    expect(await driver.stop(machine.id, HOW)).toEqual({ code: 9, signal: undefined });
    expect(await told).toEqual({ code: 9, signal: undefined });
    expect(gone(pid ?? 0)).toBe(true);
    await driver.start(machine, 6, ENVIRONMENT);
    expect(await driver.stop(machine.id, { signal: "SIGKILL", timeout: ms(0) })).toMatchObject({ signal: "SIGKILL" });
  });

  test("a crash after the recovery is told with the signal that caused it", async () => {
    const stateDir = freshState();
    const machine = shellMachine(RUNS);
    const node = await nodeWith(stateDir, "outlive", [machine]);
    await node.kill();
    const driver = await driverOn(stateDir, true);
    await driver.recover([machine]);
    const told = exitOf(driver, machine.id, 5);
    process.kill(node.pids[0] ?? 0, "SIGSEGV");
    expect(await told).toEqual({ code: undefined, signal: "SIGSEGV" });
  });

  test("what ended while no node was there is not recovered, and its exit is known", async () => {
    const stateDir = freshState();
    const machine = shellMachine(RUNS);
    const node = await nodeWith(stateDir, "outlive", [machine]);
    const starter = starterOf(stateDir, machine);
    await node.kill();
    process.kill(node.pids[0] ?? 0, "SIGTERM");
    await until("the last starter has nothing left to do", () => gone(starter));
    const driver = await driverOn(stateDir, true);
    expect(await driver.recover([machine])).toEqual([]);
    expect(await driver.stop(machine.id, HOW)).toEqual({ code: 9, signal: undefined });
  });

  test("one that was suspended is recovered as suspended and goes on", async () => {
    const stateDir = freshState();
    const machine = shellMachine(RUNS);
    const first = await driverOn(stateDir, true);
    await first.start(machine, 1, ENVIRONMENT);
    await until("ready", () => first.tail(machine.id, 1).includes("ready"));
    await first.suspend(machine.id);
    await first.close();
    const second = await driverOn(stateDir, true);
    expect(await second.recover([machine])).toMatchObject([{ suspended: true }]);
    expect(await second.stop(machine.id, HOW)).toMatchObject({ code: 9 });
  });

  test("the output of a Machine goes on while no node is there", async () => {
    const stateDir = freshState();
    const machine = shellMachine(`${RUNS.replace("exit 9", "echo later")}`);
    const first = await driverOn(stateDir, true);
    const { pid = 0 } = await first.start(machine, 1, ENVIRONMENT);
    await until("ready", () => first.tail(machine.id, 1).includes("ready"));
    await first.close();
    process.kill(pid, "SIGTERM");
    const second = await driverOn(stateDir, true);
    await second.recover([machine]);
    await until("it said something", () => second.tail(machine.id, 1).includes("later"));
    await second.stop(machine.id, { signal: "SIGKILL", timeout: ms(0) });
  });

  test("a Machine that was destroyed while no node was there is ended", async () => {
    const stateDir = freshState();
    const machine = shellMachine(WITH_DAEMON);
    const node = await nodeWith(stateDir, "outlive", [machine]);
    const all = [...node.pids, daemonOf(stateDir, machine)];
    await node.kill();
    const driver = await driverOn(stateDir, true);
    expect(await driver.recover([])).toEqual([]);
    expect(all.map(gone)).toEqual([true, true]);
  });

  test("a stranger with a Machine's old pid is neither taken for it nor touched", async () => {
    const stateDir = freshState();
    const stranger = spawn("sleep", ["1000"], { detached: true, stdio: "ignore" });
    nodes.push(stranger);
    const pid = stranger.pid ?? 0;
    const startTime = readProcess(pid)?.startTime ?? 0;
    const here = { boot: bootId(), pidNamespace: pidNamespace() };
    const records = [
      { ...here, startTime: startTime - 1 }, // the pid was used again
      { ...here, startTime, boot: "another boot" },
      { ...here, startTime, pidNamespace: "pid:[1]" },
    ];
    const machines = records.map((record) => {
      const machine = shellMachine(RUNS);
      const folder = join(stateDir, "machines", machine.id);
      mkdirSync(folder, { recursive: true });
      writeLife(folder, { id: machine.id, generation: 1, pid, starter: 1, ...record });
      return machine;
    });
    const driver = await driverOn(stateDir, true);
    expect(await driver.recover(machines)).toEqual([]);
    await driverOn(stateDir, false); // which ends strays
    expect(gone(pid)).toBe(false);
  });

  test("a damaged life file is no Machine", async () => {
    const stateDir = freshState();
    const machine = shellMachine(RUNS);
    const folder = join(stateDir, "machines", machine.id);
    mkdirSync(folder, { recursive: true });
    for (const text of ["", "{", "null", "[]", `{"id":"${machine.id}","pid":1}`, `{"pid":"x"}`]) {
      writeFileSync(join(folder, "life.json"), text);
      expect(readLife(folder), text).toBeUndefined();
      const driver = await driverOn(stateDir, true);
      expect(await driver.recover([machine])).toEqual([]);
    }
    expect(readFileSync(join(folder, "life.json"), "utf8")).toBe(`{"pid":"x"}`);
  });
});
