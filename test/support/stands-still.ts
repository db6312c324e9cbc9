import { readFileSync } from "node:fs";
import { join } from "node:path";

/** Whether a process is suspended, by whichever means: stopped by a signal, or in a control group that is frozen. */
export function standsStill(pid: number | string): boolean {
  const stat = read(`/proc/${pid}/stat`);
  const state = stat.slice(stat.lastIndexOf(")") + 2)[0];
  if (state === "T") return true;
  const group = /^0::(\/.*)$/m.exec(read(`/proc/${pid}/cgroup`))?.[1];
  const tree = / (\/\S+) \S+ .*- cgroup2 /.exec(
    read("/proc/self/mountinfo")
      .split("\n")
      .find((line) => line.includes(" - cgroup2 ")) ?? "",
  )?.[1];
  if (group === undefined || tree === undefined) return false;
  return /^frozen 1$/m.test(read(join(tree, group, "cgroup.events")));
}

function read(path: string): string {
  try {
    return readFileSync(path, "latin1");
  } catch {
    return "";
  }
}
