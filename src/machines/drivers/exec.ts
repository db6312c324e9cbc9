import { spawn } from "node:child_process";
import { sleep, type Clock } from "../../core/clock.ts";
import type { Milliseconds } from "../../core/units.ts";
import type { Exit } from "../driver.ts";
import type { Chain } from "./launch.ts";

/** A command to run beside a Machine's main process. */
export interface ExecOrder {
  readonly argv: readonly [string, ...string[]];
  readonly env: Readonly<Record<string, string>>;
  readonly stdin: string;
  /** It is killed after this time. */
  readonly timeout: Milliseconds;
}

export interface ExecResult {
  readonly exit: Exit;
  readonly timedOut: boolean;
  /** At most 256 KiB each: what comes after is dropped. */
  readonly stdout: string;
  readonly stderr: string;
}

const MOST_OUTPUT = 256 * 1024;

/** Runs it to its end, or kills it with everything in its process group. @errors whatever keeps the first program from running */
export async function runToEnd(
  chain: Chain,
  how: { readonly cwd: string } & Pick<ExecOrder, "env" | "stdin" | "timeout">,
  clock: Clock,
): Promise<ExecResult> {
  const [program, ...args] = chain.argv;
  const child = spawn(program, args, { cwd: how.cwd, env: how.env, detached: true, ...chain.owner });
  const [stdout, stderr] = [collect(child.stdout), collect(child.stderr)];
  // A command that does not read its input closes it early.
  child.stdin.on("error", () => undefined).end(how.stdin);
  const ended = new Promise<Exit>((resolve, reject) => {
    child.once("error", reject);
    child.once("exit", (code, signal) => resolve({ code: code ?? undefined, signal: signal ?? undefined }));
  });
  const late = sleep(clock, how.timeout).then(() => "late" as const);
  const first = await Promise.race([ended, late]);
  if (first === "late") killGroup(child.pid);
  const exit = first === "late" ? await ended : first;
  // What it left in the background may hold the pipes open: whatever has arrived by now counts.
  await Promise.race([Promise.all([stdout.done, stderr.done]), sleep(clock, GRACE)]);
  for (const pipe of [child.stdout, child.stderr]) pipe.destroy();
  return { exit, timedOut: first === "late", stdout: stdout.text(), stderr: stderr.text() };
}

const GRACE = 200 as Milliseconds;

function killGroup(pid: number | undefined): void {
  if (pid === undefined) return;
  try {
    process.kill(-pid, "SIGKILL");
  } catch {
    // It was quicker.
  }
}

function collect(stream: NodeJS.ReadableStream): { readonly done: Promise<void>; text(): string } {
  const chunks: Buffer[] = [];
  let size = 0;
  stream.on("data", (chunk: Buffer) => {
    // Read on, so that the command is never held up; only the beginning is kept.
    if (size < MOST_OUTPUT) chunks.push(chunk.subarray(0, MOST_OUTPUT - size));
    size += chunk.length;
  });
  const done = new Promise<void>((resolve) => stream.once("close", resolve));
  return { done, text: () => Buffer.concat(chunks).toString("utf8") };
}
