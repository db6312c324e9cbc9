/** What /proc tells of the processes of a lab, seen from outside. */
import { readdirSync, readFileSync, readlinkSync } from "node:fs";

/** A process that cannot be mistaken for a later one with its number. Numbers of namespaces are reused at once: none is kept. */
export interface Running {
  readonly pid: number;
  /** Clock ticks since the computer started. */
  readonly startTime: string;
}

/** The process with this pid; undefined when there is none, or only its zombie. */
export function running(pid: number): Running | undefined {
  try {
    const [state, , ...rest] = statOf(pid);
    const startTime = rest[17];
    return state === "Z" || startTime === undefined ? undefined : { pid, startTime };
  } catch {
    return undefined;
  }
}

export function isRunning(process: Running): boolean {
  return running(process.pid)?.startTime === process.startTime;
}

/** Process 1 of a lab and everything that runs in it. */
export function labProcesses(init: number): readonly Running[] {
  const space = readlinkSync(`/proc/${init}/ns/pid`);
  return readdirSync("/proc").flatMap((name) => {
    if (!/^\d+$/.test(name)) return [];
    try {
      const found = readlinkSync(`/proc/${name}/ns/pid`) === space ? running(Number(name)) : undefined;
      return found === undefined ? [] : [found];
    } catch {
      return []; // ended meanwhile, or not ours to look at
    }
  });
}

export function parentOf(pid: number): number {
  return Number(statOf(pid)[1]);
}

/** The fields of /proc/PID/stat after the command's name, which may hold anything. */
function statOf(pid: number): readonly string[] {
  const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
  return stat.slice(stat.lastIndexOf(")") + 2).split(" ");
}
