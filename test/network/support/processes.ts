/** What /proc tells of the processes of a lab, seen from outside. */
import { readdirSync, readFileSync, readlinkSync } from "node:fs";

function processesWhere(condition: (pid: number) => boolean): readonly number[] {
  return readdirSync("/proc").flatMap((name) => {
    if (!/^\d+$/.test(name)) return [];
    try {
      return condition(Number(name)) ? [Number(name)] : [];
    } catch {
      return []; // ended meanwhile, or not ours to look at
    }
  });
}

/** Every process whose network namespace is this one, as `readlink /proc/PID/ns/net` prints it. */
export function processesIn(namespace: string): readonly number[] {
  return processesWhere((pid) => readlinkSync(`/proc/${pid}/ns/net`) === namespace);
}

/** Process 1 of a lab and everything that runs in it. */
export function labProcesses(init: number): readonly number[] {
  const space = readlinkSync(`/proc/${init}/ns/pid`);
  return processesWhere((pid) => readlinkSync(`/proc/${pid}/ns/pid`) === space);
}

export function parentOf(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
  return Number(stat.slice(stat.lastIndexOf(")") + 2).split(" ")[1]);
}
