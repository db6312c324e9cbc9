/** The sizes of `[[vm]]` as limits of the kernel: a control group (version 2) for each Machine that names any. */
import { createHash } from "node:crypto";
import { constants } from "node:fs";
import { access, mkdir, readdir, readFile, rmdir, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import type { Guest } from "../../config/model.ts";
import type { MachineId } from "../../core/ids.ts";
import { err, ok, type Result } from "../../core/result.ts";

/** Microseconds over which the share of the processors is counted: the kernel's own default. */
const PERIOD = 100_000;
const NEEDED = ["cpu", "memory"];

export class Cgroups {
  readonly #folder: string;

  private constructor(folder: string) {
    this.#folder = folder;
  }

  /**
   * Finds, or makes, the group that holds those of this node's Machines. As root it lies at the top of the tree, where
   * controllers can be switched on; for others beside the group that they were started in, where a service manager has
   * delegated that. The error says, for people, why there can be none.
   */
  static async open(
    stateDir: string,
    at: { readonly proc: string; readonly root: boolean } = { proc: "/proc/self", root: process.getuid?.() === 0 },
  ): Promise<Result<Cgroups, string>> {
    const mount = mountOf(await readFile(join(at.proc, "mountinfo"), "utf8").catch(() => ""));
    if (mount === undefined) return err("this system has no cgroup v2");
    const own = /^0::(\/.*)$/m.exec(await readFile(join(at.proc, "cgroup"), "utf8").catch(() => ""))?.[1];
    if (own === undefined) return err("this system has no cgroup v2");
    const parent = at.root ? mount : join(mount, dirname(own));
    const folder = join(parent, `flycast-${createHash("sha256").update(stateDir).digest("hex").slice(0, 12)}`);
    try {
      const there = await words(join(parent, "cgroup.controllers"));
      const missing = NEEDED.filter((name) => !there.includes(name));
      if (missing.length > 0) return err(`cgroup v2 has no controller for ${missing.join(" and ")} in ${parent}`);
      await access(join(parent, "cgroup.procs"), constants.W_OK);
      await enable(parent);
      await mkdir(folder, { recursive: true });
      await enable(folder);
      const groups = new Cgroups(folder);
      await groups.#removeEmpty();
      return ok(groups);
    } catch (thrown) {
      const code = (thrown as NodeJS.ErrnoException).code ?? String(thrown);
      return err(`${parent} cannot be changed by this user (${code})`);
    }
  }

  /** Puts a process, and the children that it may have by now, under the limits. Rejects with what the kernel said. */
  async join(id: MachineId, guest: Guest, pid: number): Promise<void> {
    const folder = join(this.#folder, id);
    await mkdir(folder, { recursive: true });
    const memory = guest.memoryMb === undefined ? "max" : String(guest.memoryMb * 1024 * 1024);
    const cpu = guest.cpus === undefined ? "max" : String(Math.round(guest.cpus * PERIOD));
    await writeFile(join(folder, "memory.max"), memory);
    await writeFile(join(folder, "cpu.max"), `${cpu} ${PERIOD}`);
    // Parents first: whoever is forked after that is born inside.
    for (let family = [pid]; family.length > 0; family = await childrenOf(family)) {
      for (const member of family) await writeFile(join(folder, "cgroup.procs"), String(member)).catch(gone);
    }
  }

  /** Removes a Machine's group. To be called when nothing of it runs any more; one that is still busy stays for the next time. */
  async leave(id: MachineId): Promise<void> {
    await rmdir(join(this.#folder, id)).catch(() => undefined);
  }

  async close(): Promise<void> {
    await this.#removeEmpty();
    await rmdir(this.#folder).catch(() => undefined);
  }

  /** What a node that was killed has left. Groups with processes (host mode) are not removed: the kernel refuses. */
  async #removeEmpty(): Promise<void> {
    const entries = await readdir(this.#folder, { withFileTypes: true });
    for (const entry of entries.filter((one) => one.isDirectory())) {
      await rmdir(join(this.#folder, entry.name)).catch(() => undefined);
    }
  }
}

/** Where the tree of version 2 is mounted (proc_pid_mountinfo(5)): after the dash come the type and the source. */
function mountOf(mountinfo: string): string | undefined {
  for (const line of mountinfo.split("\n")) {
    const [mount, rest] = line.split(" - ");
    if (rest?.startsWith("cgroup2 ") === true) return mount?.split(" ")[4];
  }
  return undefined;
}

async function enable(folder: string): Promise<void> {
  const path = join(folder, "cgroup.subtree_control");
  const on = await words(path);
  const off = NEEDED.filter((name) => !on.includes(name));
  if (off.length > 0) await writeFile(path, off.map((name) => `+${name}`).join(" "));
}

async function words(path: string): Promise<readonly string[]> {
  return (await readFile(path, "utf8")).trim().split(/\s+/);
}

async function childrenOf(pids: readonly number[]): Promise<number[]> {
  const lists = await Promise.all(
    pids.map((pid) => readFile(`/proc/${pid}/task/${pid}/children`, "utf8").catch(() => "")),
  );
  return lists.flatMap((list) =>
    list
      .split(" ")
      .filter((text) => text !== "")
      .map(Number),
  );
}

/** A process that has ended meanwhile needs no limit. */
function gone(thrown: unknown): void {
  if ((thrown as NodeJS.ErrnoException).code !== "ESRCH") throw thrown;
}
