import { spawn } from "node:child_process";
import { accessSync, constants } from "node:fs";
import { join } from "node:path";
import { AppError } from "../../core/errors.ts";

export interface RunResult {
  /** Undefined: ended by a signal, or never started. */
  readonly code: number | undefined;
  readonly stdout: string;
  readonly stderr: string;
}

/** Far above what `ip`, `nft` and `unshare` say; what comes after is dropped. */
const MAX_OUTPUT = 256 * 1024;

/** Runs a system program to its end. Never rejects: a program that is not there is an exit with its reason in `stderr`. */
export function run(
  argv: readonly string[],
  options: { readonly input?: string; readonly timeout?: number; readonly env?: Readonly<Record<string, string>> } = {},
): Promise<RunResult> {
  const [file = "", ...args] = argv;
  return new Promise((resolve) => {
    const child = spawn(file, args, {
      stdio: ["pipe", "pipe", "pipe"],
      env: { ...process.env, PATH: systemPath(), LC_ALL: "C", ...options.env },
    });
    // Not spawn's own timeout: its timer outlives a program that could not be started, and keeps this process alive.
    const timer = setTimeout(() => child.kill("SIGKILL"), options.timeout ?? 30_000);
    const output = { stdout: "", stderr: "" };
    for (const name of ["stdout", "stderr"] as const) {
      child[name].setEncoding("utf8").on("data", (text: string) => {
        if (output[name].length < MAX_OUTPUT) output[name] += text;
      });
    }
    // A program that ends without reading its input is told apart by its exit code.
    child.stdin.on("error", () => undefined);
    child.stdin.end(options.input ?? "");
    child.once("error", (error) => {
      clearTimeout(timer);
      resolve({ code: undefined, stdout: "", stderr: error.message });
    });
    child.once("close", (code) => {
      clearTimeout(timer);
      resolve({ code: code ?? undefined, ...output });
    });
  });
}

/** Like `run`, but a failure throws. @errors internal, with the program's own words */
export async function mustRun(argv: readonly string[], input?: string): Promise<string> {
  const result = await run(argv, input === undefined ? {} : { input });
  if (result.code === 0) return result.stdout;
  throw new AppError(
    "internal",
    `${argv[0] ?? ""} failed: ${result.stderr.trim() || `exit ${result.code ?? "by signal"}`}`,
    {
      details: { argv: argv.slice(0, 6), code: result.code },
    },
  );
}

/** PATH with the folders that hold `ip` and `nft`, which an ordinary user's PATH often lacks. */
export function systemPath(): string {
  const path = process.env["PATH"] ?? "/usr/local/bin:/usr/bin:/bin";
  return `${path}:/usr/local/sbin:/usr/sbin:/sbin`;
}

/**
 * Where a tool of ours is, for a chain of programs that begins with a Machine's environment: its PATH is its own affair, and
 * may name none of the system's folders. The bare name where it is not found.
 */
export function toolPath(name: string): string {
  for (const folder of systemPath().split(":")) {
    const path = join(folder, name);
    try {
      accessSync(path, constants.X_OK);
      if (folder.startsWith("/")) return path;
    } catch {
      // Not there.
    }
  }
  return name;
}
