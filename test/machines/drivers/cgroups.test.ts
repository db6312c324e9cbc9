import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeEach, describe, expect, test, type TestContext } from "vitest";
import { systemClock } from "../../../src/core/clock.ts";
import type { MachineId } from "../../../src/core/ids.ts";
import { Cgroups } from "../../../src/machines/drivers/cgroups.ts";
import { readProcess } from "../../../src/machines/drivers/processes.ts";
import { unenforced } from "../../../src/machines/drivers/vm-sizes.ts";
import { standsStill } from "../../support/stands-still.ts";
import { until } from "./machine-fixture.ts";

const ID = "3d8d9014b32d68" as MachineId;

describe("where the tree of control groups", () => {
  // The kernel's tree, as files: what is written where is all that there is to it.
  let top: string;
  let proc: string;
  beforeEach(() => {
    top = mkdtempSync(join(tmpdir(), "flycast-cgroup-"));
    proc = join(top, "proc");
    for (const folder of ["proc", "tree/user/app"]) mkdirSync(join(top, folder), { recursive: true });
    writeFileSync(
      join(proc, "mountinfo"),
      `1 2 0:3 / /proc rw - proc proc rw\n42 24 0:29 / ${top}/tree rw,nosuid shared:9 - cgroup2 cgroup2 rw\n`,
    );
    writeFileSync(join(proc, "cgroup"), "4:memory:/elsewhere\n0::/user/app\n");
  });
  afterEach(() => rmSync(top, { recursive: true, force: true }));

  const group = (path: string, controllers: string, on = ""): void => {
    for (const [name, text] of [
      ["cgroup.controllers", controllers],
      ["cgroup.subtree_control", on],
      ["cgroup.procs", ""],
      ["cgroup.freeze", "0"],
    ] as const)
      writeFileSync(join(top, "tree", path, name), text);
  };
  const open = (root: boolean) => Cgroups.open("/state", { proc, root });

  const ours = (parent = "tree"): string => {
    const name = readdirSync(join(top, parent)).find((one) => one.startsWith("flycast-"));
    return name === undefined ? "" : join(parent, name).slice("tree/".length);
  };

  test("has both controllers, they are switched on", async () => {
    group("", "cpuset cpu io memory pids\n");
    await open(true); // it stops where our folder lacks what the kernel would put there
    expect(readFileSync(join(top, "tree", "cgroup.subtree_control"), "utf8")).toBe("+memory");
    group("", "cpuset cpu io memory pids\n", "cpu memory");
    group(ours(), "cpu memory\n", "cpu memory");
    const groups = await open(true);
    if (!groups.ok) throw new Error(groups.error);
    expect(groups.value.controllers).toEqual(["cpu", "memory"]);
    await groups.value.join(ID, { cpus: 2, memoryMb: 256 }, process.pid);
    const limits = (name: string): string => readFileSync(join(top, "tree", ours(), ID, name), "utf8");
    expect(limits("memory.max")).toBe(String(256 * 1024 * 1024));
    expect(limits("cpu.max")).toBe("200000 100000");
    await groups.value.join(ID, { cpus: undefined, memoryMb: undefined }, process.pid);
    expect([limits("memory.max"), limits("cpu.max")]).toEqual(["max", "max 100000"]);
  });

  test("is somebody's own, the group lies beside theirs, else inside it", async () => {
    group("user/app", "");
    await open(false);
    expect(ours("tree/user/app")).toMatch(/^user\/app\/flycast-/);
    group("user", "cpu memory\n");
    await open(false);
    expect(ours("tree/user")).toMatch(/^user\/flycast-/);
  });

  test("begins at a container's own group, paths count from there", async () => {
    writeFileSync(join(proc, "mountinfo"), `42 24 0:29 /user ${top}/tree rw - cgroup2 cgroup2 rw\n`);
    mkdirSync(join(top, "tree/app"));
    group("app", "");
    await open(false);
    expect(ours("tree/app")).toMatch(/^app\/flycast-/);
  });

  test("lacks a controller, there is a group to freeze, and the size is said to be advice", async () => {
    group("", "hugetlb cpu\n", "cpu");
    await open(true);
    group(ours(), "cpu\n", "cpu");
    const groups = await open(true);
    if (!groups.ok) throw new Error(groups.error);
    expect(unenforced({ cpus: 1, memoryMb: 64 }, groups.value)).toBe(
      `[[vm]] sizes are told to Machines (FLY_VM_MEMORY_MB), but memory is not enforced: cgroup v2 has no controller for memory in ${top}/tree`,
    );
    expect(unenforced({ cpus: 1, memoryMb: undefined }, groups.value)).toBeUndefined();
    expect(unenforced({ cpus: undefined, memoryMb: undefined }, "no cgroups")).toBeUndefined();
    expect(unenforced({ cpus: 1, memoryMb: 64 }, "no cgroups")).toMatch(/cpu and memory are not enforced: no cgroups$/);
  });

  test("has no freezer, that is said", async () => {
    group("", "");
    await open(true);
    group(ours(), "");
    rmSync(join(top, "tree", ours(), "cgroup.freeze"));
    expect(await open(true)).toEqual({
      ok: false,
      error: "this kernel's cgroup v2 has no freezer (it came with Linux 5.2)",
    });
  });

  test("is not ours to change, that is said", async () => {
    expect(await open(true)).toEqual({ ok: false, error: `${top}/tree cannot be changed by this user (ENOENT)` });
  });

  test("does not exist, that is said", async () => {
    writeFileSync(join(proc, "mountinfo"), "30 24 0:26 / /sys/fs/cgroup rw - cgroup cgroup rw,memory\n");
    expect(await open(true)).toEqual({ ok: false, error: "this system has no cgroup v2" });
  });
});

const real = await Cgroups.open(`test of ${process.pid}`);
/** How to look at a Machine's group, which a test finds by one of its processes. */
function groupOf(pid: number): string {
  const path = /^0::(\/.*)$/m.exec(readFileSync(`/proc/${pid}/cgroup`, "utf8"))?.[1] ?? "";
  return join(real.ok ? real.value.where : "", path);
}
afterAll(async () => {
  if (real.ok) await real.value.close();
});

// A computer's kernel decides: the files above are the part that must always hold.
describe.skipIf(!real.ok)(`in the kernel's own tree${real.ok ? "" : ` (${real.error})`}`, () => {
  const groups = real.ok ? real.value : undefined;
  const none = { cpus: undefined, memoryMb: undefined };

  /** A shell with a child; resolves to both pids. */
  async function family(
    { onTestFinished }: TestContext,
    script = "sleep 1000 & echo $!; wait",
  ): Promise<readonly [number, number]> {
    const child = spawn("sh", ["-c", script], { stdio: ["ignore", "pipe", "ignore"], detached: true });
    const pid = child.pid ?? 0;
    const ended = new Promise((resolve) => child.once("exit", resolve));
    onTestFinished(async () => {
      try {
        process.kill(-pid, "SIGKILL");
      } catch {
        // It has ended.
      }
      await ended;
      await groups?.leave(ID);
    });
    const said = await new Promise<Buffer>((resolve) => child.stdout.once("data", resolve));
    return [pid, Number(said.toString())];
  }

  test("a process and its children are moved, frozen as one, and killed as one while frozen", async (context) => {
    const [pid, sleeper] = await family(context);
    await groups?.join(ID, none, pid);
    for (const one of [pid, sleeper]) expect(readFileSync(`/proc/${one}/cgroup`, "utf8")).toContain(ID);
    expect(new Set(groups?.processes(ID))).toEqual(new Set([pid, sleeper]));
    await groups?.freeze(ID, () => Promise.resolve([pid]), systemClock);
    expect(groups?.isFrozen(ID)).toBe(true);
    expect([pid, sleeper].map(standsStill)).toEqual([true, true]);
    await groups?.endOthers(new Set(), systemClock);
    await until("both are gone", () => [pid, sleeper].every((one) => (readProcess(one)?.state ?? "Z") === "Z"));
    expect(existsSync(join(groups?.where ?? "", ID))).toBe(false);
  });

  test("who is not in the group is fetched when it freezes, and goes on when it thaws", async (context) => {
    const [pid, sleeper] = await family(context);
    await groups?.freeze(ID, () => Promise.resolve([pid, sleeper]), systemClock);
    expect([pid, sleeper].map(standsStill)).toEqual([true, true]);
    await groups?.thaw(ID);
    expect([pid, sleeper].map(standsStill)).toEqual([false, false]);
  });

  test("a folder that another node found empty is made again", async (context) => {
    const [pid] = await family(context);
    await groups?.close();
    await groups?.join(ID, none, pid);
    expect(groupOf(pid)).toContain(ID);
    const other = await Cgroups.open(`other test of ${process.pid}`);
    expect(groups?.processes(ID)).toContain(pid);
    if (other.ok) await other.value.close();
  });

  test("what a node that was killed left empty is removed by the next one, whoever that is", async () => {
    const stateDir = `dead test of ${process.pid}`;
    const dead = await Cgroups.open(stateDir);
    if (!dead.ok) throw new Error(dead.error);
    const name = `flycast-${createHash("sha256").update(stateDir).digest("hex").slice(0, 12)}`;
    const folder = join(dead.value.where, name);
    const next = await Cgroups.open(`next test of ${process.pid}`);
    if (!next.ok) throw new Error(next.error);
    // A minute's grace: its node may be about to fill it.
    expect(existsSync(folder)).toBe(true);
    utimesSync(folder, 1, 1);
    await Cgroups.open(`next test of ${process.pid}`);
    expect(existsSync(folder)).toBe(false);
    await next.value.close();
  });

  const limits = groups?.controllers ?? [];
  test.skipIf(!limits.includes("memory"))(
    `who takes more memory than its size is ended by the kernel${limits.includes("memory") ? "" : " (memory is no controller of cgroup v2 here)"}`,
    async (context) => {
      const hungry = `echo 0; read go; exec ${process.execPath} -e 'const all=[];for(;;)all.push(Buffer.alloc(1<<20,1))'`;
      const child = spawn("sh", ["-c", hungry], { stdio: ["pipe", "pipe", "ignore"], detached: true });
      context.onTestFinished(() => groups?.leave(ID));
      const ended = new Promise<string | null>((resolve) => child.once("exit", (_code, signal) => resolve(signal)));
      await new Promise((resolve) => child.stdout.once("data", resolve));
      await groups?.join(ID, { cpus: undefined, memoryMb: 64 }, child.pid ?? 0);
      const events = join(groupOf(child.pid ?? 0), "memory.events");
      child.stdin.end("go\n");
      expect(await ended).toBe("SIGKILL");
      expect(readFileSync(events, "utf8")).toMatch(/^oom_kill [1-9]/m);
    },
  );

  test.skipIf(!limits.includes("cpu"))(
    `who wants more of the processors than its size waits${limits.includes("cpu") ? "" : " (cpu is no controller of cgroup v2 here)"}`,
    async (context) => {
      const [pid] = await family(context, "echo 0; while :; do :; done");
      await groups?.join(ID, { cpus: 0.1, memoryMb: undefined }, pid);
      const stat = join(groupOf(pid), "cpu.stat");
      const count = (name: string): number =>
        Number(new RegExp(`^${name} (\\d+)$`, "m").exec(readFileSync(stat, "utf8"))?.[1]);
      await until("it has been held back", () => count("nr_throttled") >= 5);
      // 10 ms of every 100 ms, and a little that it took before it was noticed.
      expect(count("usage_usec")).toBeLessThan(count("nr_periods") * 20_000 + 100_000);
    },
  );
});
