import { execFileSync, spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { MachineId } from "../../../src/core/ids.ts";
import { Cgroups } from "../../../src/machines/drivers/cgroups.ts";

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

  const group = (path: string, controllers: string): void => {
    for (const [name, text] of [
      ["cgroup.controllers", controllers],
      ["cgroup.subtree_control", ""],
      ["cgroup.procs", ""],
    ] as const)
      writeFileSync(join(top, "tree", path, name), text);
  };
  const open = (root: boolean) => Cgroups.open("/state", { proc, root });

  test("has both controllers, they are switched on", async () => {
    group("", "cpuset cpu io memory pids\n");
    await open(true); // it stops where our folder lacks what the kernel would put there
    expect(readFileSync(join(top, "tree", "cgroup.subtree_control"), "utf8")).toBe("+cpu +memory");
    const ours = readdirSync(join(top, "tree")).find((name) => name.startsWith("flycast-")) ?? "";
    group(ours, "cpu memory\n");
    const groups = await open(true);
    if (!groups.ok) throw new Error(groups.error);
    await groups.value.join(ID, { cpus: 2, memoryMb: 256 }, process.pid);
    const limits = (name: string): string => readFileSync(join(top, "tree", ours, ID, name), "utf8");
    expect(limits("memory.max")).toBe(String(256 * 1024 * 1024));
    expect(limits("cpu.max")).toBe("200000 100000");
    await groups.value.join(ID, { cpus: undefined, memoryMb: undefined }, process.pid);
    expect([limits("memory.max"), limits("cpu.max")]).toEqual(["max", "max 100000"]);
  });

  test("is somebody's own, the group lies beside theirs", async () => {
    group("user", "cpu memory\n");
    await open(false);
    expect(readdirSync(join(top, "tree", "user")).filter((name) => name.startsWith("flycast-"))).toHaveLength(1);
  });

  test("lacks a controller, that is said", async () => {
    group("", "hugetlb\n");
    expect(await open(true)).toEqual({
      ok: false,
      error: `cgroup v2 has no controller for cpu and memory in ${top}/tree`,
    });
  });

  test("does not exist, that is said", async () => {
    writeFileSync(join(proc, "mountinfo"), "30 24 0:26 / /sys/fs/cgroup rw - cgroup cgroup rw,memory\n");
    expect(await open(true)).toEqual({ ok: false, error: "this system has no cgroup v2" });
  });
});

const real = await Cgroups.open(`test of ${process.pid}`);
// A computer's kernel decides, and most CI has no say in it: the files above are the part that must always hold.
test.skipIf(!real.ok)(
  `a real process and its children are moved and limited${real.ok ? "" : ` (${real.error})`}`,
  async () => {
    if (!real.ok) return;
    const child = spawn("sh", ["-c", "sleep 1000 & echo; wait"], {
      stdio: ["ignore", "pipe", "ignore"],
      detached: true,
    });
    await new Promise((resolve) => child.stdout.once("data", resolve));
    const pid = child.pid ?? 0;
    await real.value.join(ID, { cpus: 1, memoryMb: 64 }, pid);
    const sleeper = execFileSync("pgrep", ["-P", String(pid)], { encoding: "utf8" }).trim();
    for (const one of [String(pid), sleeper]) expect(readFileSync(`/proc/${one}/cgroup`, "utf8")).toContain(ID);
    const ended = new Promise((resolve) => child.once("exit", resolve));
    process.kill(-pid, "SIGKILL");
    await ended;
    await real.value.leave(ID);
    await real.value.close();
  },
);
