/** From a Machine's command to the argv that the starter runs. */
import { execFile } from "node:child_process";
import { accessSync, constants } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { AppError, toAppError } from "../../core/errors.ts";
import type { NetworkPlane } from "../../network/plane.ts";
import { reason } from "./preflight.ts";
import { StartRefused } from "./starter-client.ts";
import type { User } from "./users.ts";

export interface Launch {
  /** `Place.enter`: empty where there are no namespaces. */
  readonly enter: readonly string[];
  readonly command: readonly [string, ...string[]];
  readonly user: User | undefined;
  /** `parentDeathWrapper`. */
  readonly dieWithUs: readonly string[];
}

export interface Chain {
  readonly argv: readonly [string, ...string[]];
  /** Set when the starter itself has to become the user. */
  readonly owner: { readonly uid: number; readonly gid: number } | undefined;
}

/** A chain that execs in place: the pid of its first program is the pid of the app. */
export function launchChain(launch: Launch): Chain {
  const { enter, command, user } = launch;
  const [first, ...rest] = enter;
  if (first !== undefined) return { argv: [absolute(first), ...rest, ...command], owner: undefined };
  const [setpriv, ...options] = launch.dieWithUs;
  if (setpriv === undefined) {
    return { argv: command, owner: user === undefined ? undefined : { uid: user.uid, gid: user.gid } };
  }
  // A numeric user has no groups to look up.
  const groups = user?.name === String(user?.uid) ? "--clear-groups" : "--init-groups";
  const become = user === undefined ? [] : [`--reuid=${user.uid}`, `--regid=${user.gid}`, groups];
  return { argv: [setpriv, ...become, ...options, "--", ...command], owner: undefined };
}

/**
 * Puts the kernel in charge of ending main processes with their starter, for the case that even that is killed with
 * SIGKILL. Needed only without namespaces: a lab's own process namespace does it for everything inside. Empty where
 * it is not wanted or the system has no setpriv that can do it.
 */
export async function parentDeathWrapper(options: {
  readonly plane: Pick<NetworkPlane, "mode">;
  readonly outlive: boolean;
}): Promise<readonly string[]> {
  if (options.outlive || options.plane.mode !== "loopback" || process.platform !== "linux") return [];
  const wrapper = [absolute("setpriv"), "--pdeathsig", "KILL"];
  const works = await promisify(execFile)(wrapper[0] ?? "", [
    ...wrapper.slice(1),
    "--",
    process.execPath,
    "--version",
  ]).then(
    () => true,
    () => false, // missing, or busybox's, which knows no --pdeathsig
  );
  return works ? wrapper : [];
}

/** The node's own PATH decides where our tools are; a Machine's may hold nothing but its own. */
function absolute(program: string): string {
  if (program.includes("/")) return program;
  for (const folder of [...(process.env["PATH"] ?? "").split(":"), "/usr/sbin", "/usr/bin", "/sbin", "/bin"]) {
    const path = join(folder, program);
    try {
      accessSync(path, constants.X_OK);
      if (folder.startsWith("/")) return path;
    } catch {
      // Not there.
    }
  }
  return program;
}

/** What the kernel said when the first program of the chain was to be run, in plain words. */
export function explainRefusal(thrown: unknown, app: string, program: string): AppError {
  if (!(thrown instanceof StartRefused)) return toAppError(thrown, "PM02");
  // The program was there a moment ago, so what is missing is what its first line names.
  const why =
    thrown.code === "ENOENT" ? "names an interpreter in its first line that does not exist" : reason(thrown.code);
  return new AppError("PM02", `the program of app "${app}", ${program}, ${why}`, { cause: thrown });
}
