/** Looking at and signalling the processes of this computer. Used by the starter and, where there is no starter, by the node. */
import { spawnSync } from "node:child_process";
import { readdirSync, readFileSync, readlinkSync } from "node:fs";

export interface ProcessInfo {
  readonly pid: number;
  readonly parent: number;
  readonly session: number;
  /** As in /proc/PID/stat: R, S, D, T (stopped), Z (zombie), … */
  readonly state: string;
  /** Clock ticks since boot: together with pid and boot id it names a process for ever. 0 where the system cannot tell. */
  readonly startTime: number;
}

/** What tells a Machine's processes from all others. */
export interface FamilyMark {
  readonly id: string;
  /** Its main process, which leads its session. */
  readonly main: number;
  /** Start time of the main process. Nothing of the Machine is older, and a process of that pid with another is a stranger. */
  readonly since: number;
  /** Real path of the file that its output goes to. */
  readonly output: string;
}

/** Parses /proc/PID/stat (proc_pid_stat(5)). The name in parentheses may hold anything, so fields count from the last one. */
export function parseStat(pid: number, text: string): ProcessInfo | undefined {
  const fields = text.slice(text.lastIndexOf(")") + 2).split(" ");
  const [state, parent, , session] = fields;
  const startTime = Number(fields[19]);
  if (state === undefined || session === undefined || !Number.isFinite(startTime)) return undefined;
  return { pid, parent: Number(parent), session: Number(session), state, startTime };
}

/** Undefined when there is no such process, or no /proc. */
export function readProcess(pid: number): ProcessInfo | undefined {
  try {
    return parseStat(pid, readFileSync(`/proc/${pid}/stat`, "latin1"));
  } catch {
    return undefined;
  }
}

export function listProcesses(): readonly ProcessInfo[] {
  if (process.platform !== "linux") return listWithPs();
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .flatMap((name) => readProcess(Number(name)) ?? []);
}

// Systems without /proc: sessions cannot be told there, so the process group stands for them.
function listWithPs(): readonly ProcessInfo[] {
  const { stdout } = spawnSync("ps", ["-A", "-o", "pid=,ppid=,pgid=,state="], { encoding: "utf8" });
  return (stdout ?? "").split("\n").flatMap((line) => {
    const [pid, parent, session, state] = line.trim().split(/\s+/);
    if (pid === undefined || state === undefined) return [];
    return [
      { pid: Number(pid), parent: Number(parent), session: Number(session), state: state[0] ?? "", startTime: 0 },
    ];
  });
}

/** Whether it still does anything: a zombie only waits for its parent. */
export function isLiving(info: Pick<ProcessInfo, "state">): boolean {
  return info.state !== "Z" && info.state !== "X";
}

/** Whether the process that had this pid and start time still lives. A reused pid has another start time. */
export function isSameProcess(pid: number, startTime: number): boolean {
  const info = readProcess(pid);
  return info !== undefined && info.startTime === startTime && isLiving(info);
}

/**
 * Every living process of a Machine that has no namespace of its own: the session of its main process, whoever carries
 * the Machine's id in its environment or writes to its output, and all descendants of those. Each finds what others
 * miss: a daemon leaves session and parent, Postgres backends leave the session and overwrite their environment with
 * their titles, and when their parent has been killed it is only their output that tells.
 */
export function familyOf(mark: FamilyMark, all: readonly ProcessInfo[] = listProcesses()): readonly ProcessInfo[] {
  const members = new Set<number>();
  const leader = all.find((info) => info.pid === mark.main);
  // Pids come round again, on a busy computer within a minute, and then that session is somebody else's.
  const main = leader === undefined || leader.startTime === mark.since ? mark.main : undefined;
  for (const info of all) {
    // Flycast may itself run inside somebody's Machine and then carries an id too, but it is older than its own Machines.
    if (info.pid === process.pid || info.startTime < mark.since) continue;
    if (info.session === main || carries(info.pid, mark)) members.add(info.pid);
  }
  for (let grown = true; grown;) {
    grown = false;
    for (const info of all) {
      if (members.has(info.pid) || !members.has(info.parent) || info.startTime < mark.since) continue;
      members.add(info.pid);
      grown = true;
    }
  }
  return all.filter((info) => members.has(info.pid) && isLiving(info));
}

function carries(pid: number, mark: FamilyMark): boolean {
  try {
    const environment = readFileSync(`/proc/${pid}/environ`, "latin1");
    if (`\0${environment}\0`.includes(`\0FLY_MACHINE_ID=${mark.id}\0`)) return true;
    return [1, 2].some((descriptor) => readlinkSync(`/proc/${pid}/fd/${descriptor}`) === mark.output);
  } catch {
    return false; // gone, without output, or somebody else's
  }
}

/** Sends a signal; a process that is gone or not ours is not an error, since everybody who asks looks again. */
export function trySignal(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch {
    // ESRCH: it was quicker. EPERM: it changed its user, and then only the namespace's end removes it.
  }
}

/** Changes with each boot. Empty where the system has none: then nothing is ever found again. */
export function bootId(): string {
  try {
    return readFileSync("/proc/sys/kernel/random/boot_id", "latin1").trim();
  } catch {
    return "";
  }
}

/** Pids mean something only inside their namespace. */
export function pidNamespace(): string {
  try {
    return readlinkSync("/proc/self/ns/pid");
  } catch {
    return "";
  }
}
