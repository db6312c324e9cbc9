/**
 * What can be known to be wrong before a Machine is started. Behind nsenter and setpriv a missing program is only an
 * exit code 127, so the common mistakes are looked for first and told in plain words.
 */
import { access, constants, stat } from "node:fs/promises";
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
export async function preflight(intention: Intention): Promise<Result<readonly [string, ...string[]], string>> {
  const { app, folder } = intention;
  const [program, ...args] = intention.command;
  if (program === undefined || program === "") return err(`app "${app}" names no command`);
  const folderStat = await stat(folder).catch(asErrno);
  if ("code" in folderStat) return err(`the folder of app "${app}", ${folder}, ${reason(folderStat.code)}`);
  if (!folderStat.isDirectory()) return err(`the folder of app "${app}", ${folder}, is not a folder`);
  const problem = program.includes("/")
    ? await checkFile(app, program, resolve(folder, program), intention.inside)
    : await checkSearch(app, program, intention);
  return problem === undefined ? ok([program, ...args]) : err(problem);
}

async function checkFile(app: string, program: string, path: string, inside: readonly string[]) {
  if (isInside(path, inside)) return undefined;
  const found = await stat(path).catch(asErrno);
  const named = program === path ? path : `${program} (${path})`;
  if ("code" in found) return `the program of app "${app}", ${named}, ${reason(found.code)}`;
  if (found.isDirectory()) return `the program of app "${app}", ${named}, is a folder`;
  if ((found.mode & 0o111) === 0) return `the program of app "${app}", ${named}, is not executable (chmod +x)`;
  return undefined;
}

async function checkSearch(app: string, program: string, { folder, path, inside }: Intention) {
  let notExecutable: string | undefined;
  for (const part of path.split(":")) {
    const file = join(isAbsolute(part) ? part : resolve(folder, part), program);
    if (isInside(file, inside)) return undefined;
    const found = await stat(file).catch(asErrno);
    if ("code" in found || !found.isFile()) continue;
    if ((found.mode & 0o111) !== 0) return undefined;
    notExecutable = file;
  }
  if (notExecutable !== undefined) {
    return `the program of app "${app}", ${notExecutable}, is not executable (chmod +x)`;
  }
  const here = await access(join(folder, program), constants.X_OK).then(
    () => ` (there is one in the app's folder: write ./${program})`,
    () => "",
  );
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
    default:
      return `cannot be used (${code})`;
  }
}

function asErrno(thrown: NodeJS.ErrnoException): { readonly code: string } {
  return { code: thrown.code ?? thrown.message };
}
