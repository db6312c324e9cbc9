/** Machines of an earlier life of the node, as their life files tell. */
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import type { Clock } from "../../core/clock.ts";
import { ms } from "../../core/units.ts";
import { readLife, removeLife, type LifeRecord } from "./life-file.ts";
import { killAll, membersOfFamily } from "./members.ts";
import { realOutputPath } from "./output-files.ts";
import { bootId, isSameProcess, pidNamespace } from "./processes.ts";

/**
 * `runs`: the main process lives. `ended`: it does not, but children of it may. `elsewhere`: another boot or another
 * pid namespace, where the numbers mean other processes or none; with those, all of it is gone.
 */
export function standing(record: LifeRecord): "runs" | "ended" | "elsewhere" {
  if (record.boot !== bootId() || record.pidNamespace !== pidNamespace()) return "elsewhere";
  return record.startTime > 0 && isSameProcess(record.pid, record.startTime) ? "runs" : "ended";
}

/** Kills what runs of Machines that life files name, but for those in `keep`. Resolves to how many it was. */
export async function endStrays(folder: string, clock: Clock, keep: ReadonlySet<string> = new Set()): Promise<number> {
  const names = await readdir(folder).catch(() => []);
  let ended = 0;
  for (const name of names) {
    const machineFolder = join(folder, name);
    const record = readLife(machineFolder);
    if (record === undefined || record.id !== name || keep.has(name)) continue;
    const state = standing(record);
    // With an exit on record its starter has swept already, and a search through all processes is not for nothing.
    if (state !== "elsewhere" && record.startTime > 0 && record.exit === undefined) {
      let found = 0;
      const output = realOutputPath(machineFolder);
      const members = membersOfFamily({ id: name, main: record.pid, since: record.startTime, output });
      await killAll(
        async (signal) => {
          const now = await members(signal);
          found += now.length;
          return now;
        },
        clock,
        ms(5000),
      );
      if (found > 0) ended++;
    }
    removeLife(machineFolder);
  }
  return ended;
}
