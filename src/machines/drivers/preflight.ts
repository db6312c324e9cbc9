/**
 * What can be known to be wrong before a Machine is started. Behind nsenter and setpriv a missing program is only an
 * exit code 127, so the common mistakes are looked for first and told in plain words.
 */
import { statSync, type Stats } from "node:fs";
import { isAbsolute, join, resolve } from "node:path";
import { err, ok, type Result } from "../../core/result.ts";

export interface Intention {
  readonly app: string;
  readonly command: readonly string[];
  readonly folder: string;
  readonly path: string;
  /** Paths that only exist inside the Machine's place: what lies below cannot be checked from here. */
  readonly inside: readonly string[];
}

/** The command, proved to be non-empty, or what is wrong with it, for people. */
export function preflight(intention: Intention): Result<readonly [string, ...string[]], string> {
  const { app, folder } = intention;
  const [program, ...args] = intention.command;
  if (program === undefined || program === "") return err(`app "${app}" names no command`);
  const folderStat = look(folder);
  if ("code" in folderStat) return err(`the folder of app "${app}", ${folder}, ${reason(folderStat.code)}`);
  if (!folderStat.isDirectory()) return err(`the folder of app "${app}", ${folder}, is not a folder`);
  const problem = program.includes("/")
    ? checkFile(app, program, resolve(folder, program), intention.inside)
    : checkSearch(app, program, intention);
  return problem === undefined ? ok([program, ...args]) : err(problem);
}

function checkFile(app: string, program: string, path: string, inside: readonly string[]) {
  if (isInside(path, inside)) return undefined;
  const found = look(path);
  const named = program === path ? path : `${program} (${path})`;
  if ("code" in found) return `the program of app "${app}", ${named}, ${reason(found.code)}`;
  if (found.isDirectory()) return `the program of app "${app}", ${named}, is a folder`;
  if ((found.mode & 0o111) === 0) return `the program of app "${app}", ${named}, is not executable (chmod +x)`;
  return undefined;
}

function checkSearch(app: string, program: string, { folder, path, inside }: Intention) {
  let notExecutable: string | undefined;
  for (const part of path.split(":")) {
    const file = join(isAbsolute(part) ? part : resolve(folder, part), program);
    if (isInside(file, inside)) return undefined;
    const found = look(file);
    if ("code" in found || !found.isFile()) continue;
    if ((found.mode & 0o111) !== 0) return undefined;
    notExecutable = file;
  }
  if (notExecutable !== undefined) {
    return `the program of app "${app}", ${notExecutable}, is not executable (chmod +x)`;
  }
  const beside = look(join(folder, program));
  const here = "code" in beside ? "" : ` (there is one in the app's folder: write ./${program})`;
  return `the program "${program}" of app "${app}" was not found in PATH (${path})${here}`;
}

function isInside(path: string, inside: readonly string[]): boolean {
  return inside.some((top) => path === top || path.startsWith(`${top.replace(/\/$/, "")}/`));
}

/** What an errno means to the reader of a message that begins with a path. */
export function reason(code: string): string {
  switch (code) {
    case "ENOENT":
      return "does not exist";
    case "EACCES":
    case "EPERM":
      return "may not be used by this user (permission denied)";
    case "ENOTDIR":
      return "lies below something that is not a folder";
    case "ENOEXEC":
      return "is not a program that this computer can run";
    case "ELOOP":
      return "is a loop of symbolic links";
    case "EAGAIN":
      return "could not be started: too many processes";
    case "ENOMEM":
      return "could not be started: out of memory";
    case "EMFILE":
    case "ENFILE":
      return "could not be started: too many open files";
    case "E2BIG":
      return "could not be started: its arguments and environment are too large";
    case "ERR_INVALID_ARG_VALUE":
      return "cannot be started: its arguments or environment hold a zero byte";
    default:
      return `cannot be used (${code})`;
  }
}

// Synchronous on purpose: a handful of looks at cached inodes take 50 µs, and through the thread pool 1 ms of every wake.
function look(path: string): Stats | { readonly code: string } {
  try {
    return statSync(path, { throwIfNoEntry: false }) ?? { code: "ENOENT" }; // an error object costs more than the look
  } catch (thrown) {
    const error = thrown as NodeJS.ErrnoException;
    return { code: error.code ?? error.message };
  }
}
