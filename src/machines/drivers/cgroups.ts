/** A control group (version 2) for each Machine that runs: to freeze and kill all of it at once, and to hold it to its size. */
import { readFileSync } from "node:fs";
import { mkdir, readdir, readFile, rmdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { sleep, systemClock, type Clock } from "../../core/clock.ts";
import { AppError } from "../../core/errors.ts";
import type { MachineId } from "../../core/ids.ts";
import { ok, type Result } from "../../core/result.ts";
import { ms } from "../../core/units.ts";
import type { Guest } from "../../config/model.ts";
import {
  findGroupPlace,
  isGone,
  layOut,
  removeEmpty,
  removeEmptyGroups,
  vantage,
  type Controller,
  type GroupPlace,
  type Vantage,
} from "./cgroup-tree.ts";

/** Microseconds over which the share of the processors is counted: the kernel's own default. */
const PERIOD = 100_000;
const FREEZE_PATIENCE = 2000;
const KILL_PATIENCE = 5000;

export class Cgroups {
  readonly #place: GroupPlace;

  private constructor(place: GroupPlace) {
    this.#place = place;
  }

  /** The error says, for people, why there can be none. */
  static async open(stateDir: string, at: Vantage = vantage()): Promise<Result<Cgroups, string>> {
    const place = await findGroupPlace(stateDir, at);
    if (!place.ok) return place;
    await removeEmptyGroups(place.value, systemClock.wall());
    return ok(new Cgroups(place.value));
  }

  /** For people. */
  get where(): string {
    return this.#place.parent;
  }

  get controllers(): readonly Controller[] {
    return this.#place.controllers;
  }

  /** Puts a process, and the children that it may have by now, into the Machine's group. Rejects with what the kernel said. */
  async join(id: MachineId, guest: Guest, pid: number): Promise<void> {
    await this.#inGroup(id, async (folder) => {
      await this.#limit(folder, guest);
      // Parents first: whoever is forked after that is born inside.
      for (let family = [pid]; family.length > 0; family = await childrenOf(family)) {
        for (const member of family) await move(folder, member);
      }
    });
  }

  /**
   * Stops every process of a Machine where it stands. `members`: all that belong to it, also those that came in by other ways
   * than by being born there. @errors PM07 when that does not come about in time: everybody then goes on
   */
  async freeze(id: MachineId, members: () => Promise<readonly number[]>, clock: Clock): Promise<void> {
    const until = clock.now() + FREEZE_PATIENCE;
    for (let pause = 1; ; pause = Math.min(20, pause * 2)) {
      let complete = true;
      await this.#inGroup(id, async (folder) => {
        // Before strangers are looked for: whoever is moved in stands still at once, and forks no more.
        await writeFile(join(folder, "cgroup.freeze"), "1");
        const inside = new Set(this.processes(id));
        const outside = (await members()).filter((pid) => !inside.has(pid));
        for (const pid of outside) await move(folder, pid);
        complete = outside.length === 0;
      });
      if (complete && this.isFrozen(id)) return;
      if (clock.now() >= until) {
        await this.thaw(id);
        throw new AppError("PM07", "the kernel could not freeze every process of the Machine");
      }
      await sleep(clock, ms(pause));
    }
  }

  /** Lets it go on, if it stands. */
  async thaw(id: MachineId): Promise<void> {
    await writeFile(join(this.#place.folder, id, "cgroup.freeze"), "0").catch((thrown: unknown) => {
      if (!isGone(thrown)) throw thrown;
    });
  }

  isFrozen(id: MachineId): boolean {
    return /^frozen 1$/m.test(read(join(this.#place.folder, id, "cgroup.events")));
  }

  /** Ids of the processes in a Machine's group, as this process knows them. */
  processes(id: MachineId): readonly number[] {
    const lines = read(join(this.#place.folder, id, "cgroup.procs")).split("\n");
    return lines.map(Number).filter((pid) => pid > 0); // 0: in a pid namespace that we do not see into
  }

  /** Sends SIGKILL to whoever is in a Machine's group. Where the kernel does it (from 5.14), nobody forks away from it. */
  async kill(id: MachineId): Promise<void> {
    await writeFile(join(this.#place.folder, id, "cgroup.kill"), "1", { flag: "r+" }).catch(() => undefined);
  }

  /** Removes a Machine's group. To be called when nothing of it runs any more; one that is still busy stays for the next time. */
  async leave(id: MachineId): Promise<void> {
    await rmdir(join(this.#place.folder, id)).catch(() => undefined);
  }

  /** Ends what an earlier life of this node has left in its groups, but for these Machines. */
  async endOthers(keep: ReadonlySet<string>, clock: Clock): Promise<void> {
    const entries = await readdir(this.#place.folder, { withFileTypes: true }).catch(() => []);
    for (const { name } of entries.filter((entry) => entry.isDirectory() && !keep.has(entry.name))) {
      const id = name as MachineId;
      const until = clock.now() + KILL_PATIENCE;
      while (this.processes(id).length > 0 && clock.now() < until) {
        await this.kill(id);
        for (const pid of this.processes(id)) signal(pid);
        await sleep(clock, ms(2));
      }
      await this.leave(id);
    }
  }

  async close(): Promise<void> {
    await removeEmpty(this.#place.folder);
  }

  /** Another node may find our folder empty and remove it at any moment; then it is made again. */
  async #inGroup(id: MachineId, act: (folder: string) => Promise<void>): Promise<void> {
    const folder = join(this.#place.folder, id);
    for (let attempt = 1; ; attempt++) {
      try {
        await mkdir(folder).catch(unless("EEXIST"));
        return await act(folder);
      } catch (thrown) {
        if (attempt === 5 || !isGone(thrown)) throw thrown;
        await layOut(this.#place.parent, this.#place.folder);
      }
    }
  }

  async #limit(folder: string, guest: Guest): Promise<void> {
    const { controllers } = this.#place;
    const memory = guest.memoryMb === undefined ? "max" : String(guest.memoryMb * 1024 * 1024);
    const cpu = guest.cpus === undefined ? "max" : String(Math.round(guest.cpus * PERIOD));
    if (controllers.includes("memory")) await writeFile(join(folder, "memory.max"), memory);
    if (controllers.includes("cpu")) await writeFile(join(folder, "cpu.max"), `${cpu} ${PERIOD}`);
  }
}

async function move(folder: string, pid: number): Promise<void> {
  // ESRCH: it has ended meanwhile.
  await writeFile(join(folder, "cgroup.procs"), String(pid)).catch(unless("ESRCH"));
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

function signal(pid: number): void {
  try {
    process.kill(pid, "SIGKILL");
  } catch {
    // It was quicker, or is not ours.
  }
}

// Synchronous on purpose: a few bytes of the kernel's memory.
function read(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
}

function unless(code: string): (thrown: unknown) => void {
  return (thrown) => {
    if ((thrown as NodeJS.ErrnoException).code !== code) throw thrown;
  };
}
