import { spawn, spawnSync, type ChildProcess } from "node:child_process";
import { readdirSync, readlinkSync } from "node:fs";
import { afterAll, afterEach, beforeEach, describe, expect, test } from "vitest";
import { systemClock } from "../../../src/core/clock.ts";
import { ms } from "../../../src/core/units.ts";
import type { ProcessDriver } from "../../../src/machines/drivers/process-driver.ts";
import { createProcessDriver } from "../../../src/machines/drivers/process.ts";
import { readProcess } from "../../../src/machines/drivers/processes.ts";
import type { Place } from "../../../src/network/plane.ts";
import { barePlane, ENVIRONMENT, exitOf, quietLog, shellMachine, temporaryFolder, until } from "./machine-fixture.ts";
import { machineWith } from "./machine-fixture.ts";
import { standsStill } from "../../support/stands-still.ts";

const HOW = { signal: "SIGTERM", timeout: ms(20_000) } as const;
/** A child that nothing but the namespace tells: another session, no parent, no environment. */
const FUGITIVE = `sh -c 'env -i /usr/bin/setsid /bin/sleep 1000 & echo fugitive $!'`;

const possible = spawnSync("unshare", ["--net", "true"]).status === 0;

describe.skipIf(!possible && process.env["CI"] !== "true")("a Machine in a namespace of its own", () => {
  const shared = temporaryFolder();
  let holder: ChildProcess;
  let driver: ProcessDriver;
  let namespace: string;
  afterAll(() => shared.remove());

  beforeEach(async () => {
    holder = spawn("unshare", ["--net", "sleep", "1000"], { stdio: "ignore" });
    const own = readlinkSync("/proc/self/ns/net");
    namespace = await until("the namespace exists", () => {
      const link = netOf(holder.pid ?? 0);
      return link !== own && link;
    });
    const place: Partial<Place> = {
      enter: ({ folder }) => ["nsenter", `--net=/proc/${holder.pid}/ns/net`, "env", "-C", folder],
      env: { TMPDIR: "/run/tmp" },
      members: () => members().filter((pid) => pid !== holder.pid),
    };
    driver = await createProcessDriver({
      plane: barePlane(place, "lab"),
      stateDir: shared.path,
      clock: systemClock,
      outlive: false,
      log: quietLog,
    });
  });
  afterEach(async () => {
    await driver.close();
    holder.kill("SIGKILL");
  });

  const members = (): number[] =>
    readdirSync("/proc")
      .map(Number)
      .filter((pid) => pid > 0 && netOf(pid) === namespace);
  const fugitive = (id: Parameters<ProcessDriver["tail"]>[0]): number =>
    Number(
      driver
        .tail(id, 9)
        .find((line) => line.startsWith("fugitive"))
        ?.split(" ")[1],
    );

  test("the pid that start gives is the program's own, inside, in its folder", async () => {
    const machine = shellMachine(`trap 'exit 0' TERM; echo $$ $PWD $TMPDIR; sleep 1000 & wait`);
    const { pid = 0 } = await driver.start(machine, 1, ENVIRONMENT);
    await until("it speaks", () => driver.tail(machine.id, 9).length > 0);
    expect(driver.tail(machine.id, 9)).toEqual([`${pid} ${machine.config.folder} /run/tmp`]);
    expect(netOf(pid)).toBe(namespace);
    expect(await driver.stop(machine.id, HOW)).toEqual({ code: 0, signal: undefined });
  });

  test("stop leaves nobody in the namespace, wherever they hid", async () => {
    const machine = shellMachine(`trap 'exit 0' TERM; ${FUGITIVE}; echo ready; sleep 1000 & wait`);
    await driver.start(machine, 1, ENVIRONMENT);
    await until("ready", () => driver.tail(machine.id, 9).includes("ready"));
    await until("it has fled", () => readProcess(fugitive(machine.id))?.session === fugitive(machine.id));
    await driver.stop(machine.id, HOW);
    expect(members()).toEqual([holder.pid]);
  });

  test("the end of the main process is told only when nobody is left", async () => {
    const machine = shellMachine(`${FUGITIVE}; exit 5`);
    const left = new Promise((resolve) => driver.observe(() => resolve(members())));
    const exit = exitOf(driver, machine.id, 1);
    await driver.start(machine, 1, ENVIRONMENT);
    expect(await exit).toMatchObject({ code: 5, signal: undefined });
    expect(await left).toEqual([holder.pid]);
  });

  test("suspend stops all of the namespace, and resume lets all of it go on", async () => {
    const machine = shellMachine(`trap 'exit 0' TERM; ${FUGITIVE}; echo ready; sleep 1000 & wait`);
    const { pid = 0 } = await driver.start(machine, 1, ENVIRONMENT);
    await until("ready", () => driver.tail(machine.id, 9).includes("ready"));
    const states = (): boolean[] => [pid, fugitive(machine.id)].map(standsStill);
    await driver.suspend(machine.id);
    expect(states()).toEqual([true, true]);
    await driver.resume(machine.id);
    expect(states()).toEqual([false, false]);
    expect(await driver.stop(machine.id, HOW)).toMatchObject({ code: 0 });
  });

  test("suspend keeps up with a Machine that forks all the time", async () => {
    const machine = shellMachine(`echo ready; while :; do /bin/true & done`);
    await driver.start(machine, 1, ENVIRONMENT);
    await until("ready", () => driver.tail(machine.id, 9).includes("ready"));
    await driver.suspend(machine.id);
    const running = members().filter(
      (pid) => pid !== holder.pid && !standsStill(pid) && !"ZD".includes(readProcess(pid)?.state ?? "Z"),
    );
    expect(running).toEqual([]);
    await driver.stop(machine.id, { signal: "SIGKILL", timeout: ms(0) });
    expect(members()).toEqual([holder.pid]);
  });

  test("a program that only the namespace knows to be missing is told by its exit and output", async () => {
    const machine = machineWith({
      command: ["/only/inside"],
      mounts: [{ source: "x", destination: "/only", folder: shared.path }],
    });
    const exit = exitOf(driver, machine.id, 1);
    await driver.start(machine, 1, ENVIRONMENT);
    expect(await exit).toMatchObject({ code: 127, signal: undefined });
    expect(driver.tail(machine.id, 5).join()).toContain("/only/inside");
  });
});

function netOf(pid: number): string | undefined {
  try {
    return readlinkSync(`/proc/${pid}/ns/net`);
  } catch {
    return undefined;
  }
}
