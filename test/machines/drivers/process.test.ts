import { execFileSync } from "node:child_process";
import { createServer } from "node:net";
import { existsSync, mkdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { systemClock } from "../../../src/core/clock.ts";
import { ms } from "../../../src/core/units.ts";
import { Cgroups } from "../../../src/machines/drivers/cgroups.ts";
import { readLife } from "../../../src/machines/drivers/life-file.ts";
import { isSameProcess, listProcesses, readProcess } from "../../../src/machines/drivers/processes.ts";
import type { ProcessDriver } from "../../../src/machines/drivers/process-driver.ts";
import { createProcessDriver } from "../../../src/machines/drivers/process.ts";
import type { Machine } from "../../../src/registry/model.ts";
import { driverContract, type Behaviour, type DriverHarness } from "../driver.contract.ts";
import { standsStill } from "../../support/stands-still.ts";
import * as fixture from "./machine-fixture.ts";

const { nodeMachine, shellMachine, machineWith, until, exitOf, ENVIRONMENT } = fixture;
const HOW = { signal: "SIGTERM", timeout: ms(20_000) } as const;

async function bareDriver(stateDir: string, freezer?: "signals"): Promise<ProcessDriver> {
  const plane = fixture.barePlane();
  return createProcessDriver({ plane, stateDir, clock: systemClock, outlive: false, log: fixture.quietLog, freezer });
}

const SCRIPTS: Record<Exclude<Behaviour, "missing">, string> = {
  runs: `trap 'exit 0' TERM; echo ready; sleep 1000 & wait`,
  stubborn: `trap '' TERM INT; echo ready; sleep 1000 & wait`,
  fails: `exit 3`,
};

const shared = fixture.temporaryFolder();
afterAll(() => shared.remove());

let stateNumber = 0;
driverContract("the process driver", () => harness());
driverContract("the process driver, by signals alone,", () => harness("signals"));

async function harness(freezer?: "signals"): Promise<DriverHarness> {
  const driver = await bareDriver(join(shared.path, `contract-${++stateNumber}`), freezer);
  return {
    driver,
    machine: (behaviour) =>
      behaviour === "missing" ? machineWith({ command: ["no-such-program"] }) : shellMachine(SCRIPTS[behaviour]),
    settled: async (machine) => {
      if (machine.config.command.includes(SCRIPTS.fails)) return;
      const before = starts.get(machine.id) ?? 0;
      starts.set(machine.id, before + 1);
      await until("ready", () => driver.tail(machine.id, 10).filter((line) => line === "ready").length > before);
    },
    close: () => driver.close(),
  };
}
const starts = new Map<string, number>();

const groups = await Cgroups.open(`test of ${process.pid}`);
describe("the process driver", () => {
  let driver: ProcessDriver;
  beforeAll(async () => {
    driver = await bareDriver(join(shared.path, "state"));
  });
  afterAll(() => driver.close());

  async function saying(machine: Machine, text: string, on = driver): Promise<number> {
    const { pid } = await on.start(machine, 1, ENVIRONMENT);
    await until(`it says ${text}`, () => on.tail(machine.id, 100).includes(text));
    return pid ?? 0;
  }

  test("a Machine has exactly the environment that it was given, and what the mode adds", async () => {
    const machine = nodeMachine(`console.log(JSON.stringify(process.env))`);
    const exit = exitOf(driver, machine.id, 1);
    await driver.start(machine, 1, { ...ENVIRONMENT, A: "1", PORT: "9" });
    await exit;
    const printed = JSON.parse(driver.tail(machine.id, 1)[0] ?? "") as Record<string, string>;
    expect(printed).toEqual({ ...ENVIRONMENT, A: "1", FLY_MACHINE_ID: machine.id, HOST: "127.0.0.1", PORT: "0" });
  });

  test("it runs in the app's folder", async () => {
    const folder = join(shared.path, "app folder");
    mkdirSync(folder);
    const machine = shellMachine("pwd", { folder });
    const exit = exitOf(driver, machine.id, 1);
    await driver.start(machine, 1, ENVIRONMENT);
    await exit;
    expect(driver.tail(machine.id, 1)).toEqual([folder]);
  });

  test("standard input is empty and standard output and error are one file", async () => {
    const machine = shellMachine("cat; echo out; echo err >&2");
    const exit = exitOf(driver, machine.id, 1);
    await driver.start(machine, 1, ENVIRONMENT);
    await exit;
    expect(driver.tail(machine.id, 5)).toEqual(["out", "err"]);
    expect(driver.logFiles(machine.id)).toHaveLength(1);
  });

  test.each([
    [
      "a program that is not in PATH",
      { command: ["no-such-program"] },
      /"no-such-program" of app "web" was not found in PATH \(.*bin/,
    ],
    ["a path that does not exist", { command: ["./bin/serve"] }, /\.\/bin\/serve \(.*\/bin\/serve\), does not exist/],
    ["a file without x", { command: ["./plain.txt"] }, /plain\.txt\), is not executable \(chmod \+x\)/],
    ["a folder as program", { command: ["./folder"] }, /is a folder/],
    [
      "a missing folder",
      { command: ["sh"], folder: "/no/such/folder" },
      /the folder of app "web", \/no\/such\/folder, does not exist/,
    ],
    ["a missing interpreter", { command: ["./script"] }, /interpreter/],
    ["no command", { command: [] }, /names no command/],
    ["a program of the folder without ./", { command: ["only-here"] }, /write \.\/only-here/],
  ])("%s is refused in words that name it", async (_what, config, words) => {
    const folder = join(shared.path, "refusals");
    mkdirSync(join(folder, "folder"), { recursive: true });
    writeFileSync(join(folder, "plain.txt"), "hello\n");
    writeFileSync(join(folder, "script"), "#!/no/such/interpreter\n", { mode: 0o755 });
    writeFileSync(join(folder, "only-here"), "#!/bin/sh\n", { mode: 0o755 });
    const machine = machineWith({ folder, ...config });
    const refused = await driver.start(machine, 1, ENVIRONMENT).then(
      // Where setpriv stands before it, only the kernel finds the interpreter missing, and setpriv says so in the output.
      async () => `${(await exitOf(driver, machine.id, 1)).code === 127 ? "interpreter" : "?"}`,
      (error: { code: string; message: string }) => `${error.code} ${error.message}`,
    );
    expect(refused).toMatch(words);
  });

  test("an unknown user is refused by name", async () => {
    const machine = machineWith({ command: ["true"], user: "no-such-user" });
    await expect(driver.start(machine, 1, ENVIRONMENT)).rejects.toMatchObject({
      code: "PM02",
      message: expect.stringContaining('user "no-such-user" of app "web" does not exist'),
    });
  });

  test("the end of the main process ends its daemons, whatever session they fled to", async () => {
    // The grandchild has a session of its own and its parent is gone: only its environment tells.
    const machine = shellMachine(`setsid sh -c 'sleep 1000 & echo daemon $!; exit 0' ; echo ready; read x`);
    const exit = exitOf(driver, machine.id, 1);
    await driver.start(machine, 1, ENVIRONMENT);
    await exit;
    const pid = Number(
      driver
        .tail(machine.id, 5)
        .find((line) => line.startsWith("daemon"))
        ?.split(" ")[1],
    );
    expect(pid).toBeGreaterThan(1);
    expect(processState(pid)).toBe("gone");
  });

  test("the kill signal goes to the main process alone, and SIGKILL to whoever is left", async () => {
    const child = `trap 'echo child got it' TERM; echo child; sleep 1000 & wait`;
    const machine = shellMachine(`trap 'echo main got it; exit 0' TERM; sh -c "${child}" & sleep 1000 & wait`);
    await saying(machine, "child");
    expect(await driver.stop(machine.id, HOW)).toEqual({ code: 0, signal: undefined });
    expect(driver.tail(machine.id, 10)).toEqual(["child", "main got it"]);
    const left = listProcesses().filter((info) => readEnvironment(info.pid).includes(machine.id));
    expect(left.map((info) => processState(info.pid)).filter((state) => state !== "gone")).toEqual([]);
  });

  const MEANS = [undefined, "signals"] as const;
  test.each(MEANS)("suspend (%s) stops every process of a Machine, and its memory is kept", async (freezer) => {
    const own = await bareDriver(join(shared.path, `suspends-${freezer}`), freezer);
    onTestFinished(() => own.close());
    const machine = nodeMachine(
      `const {spawn}=require("child_process"); let n=0;
       const c=spawn(process.execPath,["-e","setInterval(()=>{},5);console.log('child')"],{detached:true,stdio:"inherit"});
       setInterval(()=>{n++; if(n%20===0) console.log("count "+n)},1); console.log("pid "+c.pid)`,
    );
    const pid = await saying(machine, "child", own);
    const child = Number(
      own
        .tail(machine.id, 100)
        .find((line) => line.startsWith("pid"))
        ?.split(" ")[1],
    );
    await until("it counts", () => own.tail(machine.id, 1)[0]?.startsWith("count"));
    await own.suspend(machine.id);
    expect([pid, child].map(standsStill)).toEqual([true, true]);
    const before = counted(own.tail(machine.id, 1)[0]);
    await own.resume(machine.id);
    const after = await until("it goes on", () => {
      const now = counted(own.tail(machine.id, 1)[0]);
      return now > before && now;
    });
    expect(after).toBeGreaterThan(before);
    await own.stop(machine.id, HOW);
    expect([pid, child].map(processState)).toEqual(["gone", "gone"]);
  });

  test.skipIf(!groups.ok && process.env["CI"] !== "true")(
    `a process that hides from everything but its control group is suspended and ended${groups.ok ? "" : ` (${groups.error})`}`,
    async () => {
      expect(driver.freezer).toMatchObject({ kind: "cgroup" });
      const place =
        "echo ready; read go < go; exec env -i setsid sh -c 'sleep 1000 > /dev/null 2>&1 & echo $! > hidden'";
      const folder = join(shared.path, "hides");
      mkdirSync(folder);
      execFileSync("mkfifo", [join(folder, "go")]);
      const machine = shellMachine(`(${place}) & trap 'exit 0' TERM; sleep 1000 & wait`, { folder });
      const pid = await saying(machine, "ready");
      const family = (): number[] => [pid, ...listProcesses().flatMap((one) => (one.parent === pid ? one.pid : []))];
      const grouped = (one: number): boolean => readFileSync(`/proc/${one}/cgroup`, "utf8").includes(machine.id);
      await until("they are in its group", () => family().length === 3 && family().every(grouped));
      writeFileSync(join(folder, "go"), "\n");
      const hidden = await until(
        "it hides",
        () => existsSync(join(folder, "hidden")) && Number(readFileSync(join(folder, "hidden"), "utf8")),
      );
      await driver.suspend(machine.id);
      expect([pid, hidden].map(standsStill)).toEqual([true, true]);
      await driver.resume(machine.id);
      expect([pid, hidden].map(standsStill)).toEqual([false, false]);
      await driver.stop(machine.id, HOW);
      expect([pid, hidden].map(processState)).toEqual(["gone", "gone"]);
    },
  );

  test("a suspended Machine that is killed from outside has ended, and tells so", async () => {
    const machine = shellMachine(SCRIPTS.runs);
    const pid = await saying(machine, "ready");
    await driver.suspend(machine.id);
    const exit = exitOf(driver, machine.id, 1);
    process.kill(pid, "SIGKILL");
    expect(await exit).toEqual({ code: undefined, signal: "SIGKILL" });
  });

  test("a Machine listens on the port that loopback mode gives it, and is reached there", async () => {
    const free = await new Promise<number>((resolve) => {
      const server = createServer().listen(0, "127.0.0.1", () => {
        const { port } = server.address() as { port: number };
        server.close(() => resolve(port));
      });
    });
    const plane = fixture.barePlane({ env: { PORT: String(free), HOST: "127.0.0.1" } });
    const stateDir = join(shared.path, "listens");
    const own = await createProcessDriver({
      plane,
      stateDir,
      clock: systemClock,
      outlive: false,
      log: fixture.quietLog,
    });
    const machine = nodeMachine(
      `require("http").createServer((q,r)=>r.end("hi")).listen(+process.env.PORT, process.env.HOST, ()=>console.log("up"))`,
    );
    await own.start(machine, 1, { ...ENVIRONMENT, PORT: "8080" });
    await until("it listens", () => own.tail(machine.id, 1).includes("up"));
    const response = await fetch(`http://127.0.0.1:${free}/`);
    expect(await response.text()).toBe("hi");
    await own.close();
  });

  test("a release command runs to its end and shows its output", async () => {
    const machine = shellMachine("unused");
    const ran = await driver.runOnce(machine, ["sh", "-c", "echo migrating; exit 4"], ENVIRONMENT, ms(20_000));
    expect(ran).toEqual({ exit: { code: 4, signal: undefined }, timedOut: false, tail: ["migrating"] });
    await driver.remove(machine.id);
    expect(driver.logFiles(machine.id)).toEqual([]);
  });

  test("a release command that takes too long is killed", async () => {
    const machine = shellMachine("unused");
    const ran = await driver.runOnce(machine, ["sleep", "1000"], ENVIRONMENT, ms(50));
    expect(ran).toMatchObject({ exit: { signal: "SIGKILL" }, timedOut: true });
  });

  test("volumes are folders named in the environment where nothing can be bound", async () => {
    const folder = join(shared.path, "volumes");
    const machine = shellMachine(`echo "$FLY_VOLUME_PG_DATA"; ls -d "$FLY_VOLUME_PG_DATA"`, {
      mounts: [{ source: "pg-data", destination: "/data", folder }],
    });
    const exit = exitOf(driver, machine.id, 1);
    await driver.start(machine, 1, ENVIRONMENT);
    expect(await exit).toMatchObject({ code: 0 });
    const own = join(folder, machine.id, "pg-data");
    expect(driver.tail(machine.id, 2)).toEqual([own, own]);
  });

  test.skipIf(process.getuid?.() !== 0 && process.env["CI"] !== "true")(
    "as root, a Machine runs as the owner of its folder or as `user`",
    async () => {
      const { chownSync } = await import("node:fs");
      const folder = join("/tmp", `flycast-owned-${process.pid}`);
      mkdirSync(folder, { recursive: true });
      chownSync(folder, 65534, 65534);
      try {
        for (const user of [undefined, "nobody"]) {
          const machine = shellMachine(`id -u; grep CapEff /proc/self/status; echo x > /dev/stdout`, { folder, user });
          const exit = exitOf(driver, machine.id, 1);
          await driver.start(machine, 1, ENVIRONMENT);
          expect(await exit).toMatchObject({ code: 0 });
          await driver.remove(machine.id);
        }
        const machine = shellMachine(`id -u`, { folder });
        const exit = exitOf(driver, machine.id, 1);
        await driver.start(machine, 1, ENVIRONMENT);
        await exit;
        expect(driver.tail(machine.id, 1)).toEqual(["65534"]);
      } finally {
        const { rmSync } = await import("node:fs");
        rmSync(folder, { recursive: true, force: true });
      }
    },
  );

  test("the state folder of a Machine is for its owner alone, and its life file is gone when it has ended", async () => {
    const machine = shellMachine(SCRIPTS.runs);
    const pid = await saying(machine, "ready");
    const folder = join(shared.path, "state", "machines", machine.id);
    expect(statSync(folder).mode & 0o777).toBe(0o700);
    const life = await until("its life is on record", () => readLife(folder));
    expect(life.pid).toBe(pid);
    expect(isSameProcess(life.pid, life.startTime)).toBe(true);
    expect(isSameProcess(life.pid, life.startTime + 1)).toBe(false);
    await driver.stop(machine.id, HOW);
    expect(existsSync(join(folder, "life.json"))).toBe(false);
  });
});

function counted(line: string | undefined): number {
  return Number(line?.split(" ")[1] ?? 0);
}

function processState(pid: number): string {
  const state = readProcess(pid)?.state;
  return state === undefined || state === "Z" ? "gone" : state;
}

function readEnvironment(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/environ`, "latin1");
  } catch {
    return "";
  }
}
