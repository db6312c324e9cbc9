import { AppError } from "../../core/errors.ts";
import type { Commands } from "./guard.ts";
import { run } from "./run.ts";

/** One process for all of them. The texts come as arguments: a Machine's lines are far below the limit of 128 KiB each. */
const APPLY = `
if [ -n "$1" ]; then printf %s "$1" | ip -batch - || exit 60; fi
if [ -n "$2" ]; then printf %s "$2" | ip -6 -batch - || exit 60; fi
if [ -n "$3" ]; then printf %s "$3" | nft -f - || exit 61; fi
`;
/** Goes on after a line that fails, and fails in the end. */
const APPLY_AGAIN = `
refused=0
if [ -n "$1" ]; then printf %s "$1" | ip -force -batch - || refused=60; fi
if [ -n "$2" ]; then printf %s "$2" | ip -6 -force -batch - || refused=60; fi
if [ -n "$3" ]; then printf %s "$3" | nft -f - || refused=61; fi
exit $refused
`;
/** Unprivileged nftables transactions are bounded (2,000 elements pass, 3,000 do not), and so is one argument. */
const MAX_LINES = 400;

/**
 * What a line may complain about: when it is applied again, one by one, after a batch that failed (`add`); when an earlier
 * life of the node may have done it (`ensure`); when the thing goes by itself (`remove`).
 */
const DONE_ALREADY = {
  add: /File exists|already assigned/,
  ensure: /File exists|already assigned|No such file/,
  remove: /Cannot find device|No such (process|file|device)/,
} as const;

interface Job {
  readonly commands: Commands;
  readonly purpose: keyof typeof DONE_ALREADY;
  readonly done: () => void;
  readonly failed: (error: AppError) => void;
}

/**
 * Applies changes to our namespace one after the other. What comes in meanwhile goes out together: a hundred Machines
 * that start at once cost a few runs of `ip` and `nft`, not two hundred.
 */
export class CommandQueue {
  readonly #waiting: Job[] = [];
  #running = false;

  /** @errors internal with the words of `ip` or `nft`; a removal of what has gone already is no error */
  apply(commands: Commands, purpose: Job["purpose"] = "add"): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ commands, purpose, done: resolve, failed: reject });
      void this.#drain();
    });
  }

  async #drain(): Promise<void> {
    if (this.#running) return;
    this.#running = true;
    while (this.#waiting.length > 0) await this.#runBatch(this.#takeBatch());
    this.#running = false;
  }

  #takeBatch(): readonly Job[] {
    let lines = 0;
    let count = 0;
    for (const { commands } of this.#waiting) {
      lines += commands.ip.length + commands.ip6.length + commands.nft.length;
      if (count > 0 && lines > MAX_LINES) break;
      count++;
    }
    return this.#waiting.splice(0, count);
  }

  async #runBatch(jobs: readonly Job[]): Promise<void> {
    const error = await applyNow({
      ip: jobs.flatMap((job) => job.commands.ip),
      ip6: jobs.flatMap((job) => job.commands.ip6),
      nft: jobs.flatMap((job) => job.commands.nft),
    });
    if (error === undefined) {
      for (const job of jobs) job.done();
    } else if (jobs.length === 1 && jobs[0]?.purpose === "add") {
      jobs[0].failed(error);
    } else {
      await this.#runEach(jobs);
    }
  }

  /** One of them failed, and `ip -batch` stopped at it: each again by itself, where what is done already is no error. */
  async #runEach(jobs: readonly Job[]): Promise<void> {
    for (const job of jobs) {
      const error = await applyNow(job.commands, APPLY_AGAIN);
      if (error === undefined || isDoneAlready(error.message, job.purpose)) job.done();
      else job.failed(error);
    }
  }
}

async function applyNow(commands: Commands, script = APPLY): Promise<AppError | undefined> {
  const text = (lines: readonly string[]): string => lines.map((line) => `${line}\n`).join("");
  const result = await run(["sh", "-c", script, "sh", text(commands.ip), text(commands.ip6), text(commands.nft)]);
  if (result.code === 0) return undefined;
  const program = result.code === 61 ? "nft" : "ip";
  return new AppError("internal", `${program} refused a change: ${result.stderr.trim()}`, {
    details: { code: result.code },
  });
}

function isDoneAlready(message: string, purpose: Job["purpose"]): boolean {
  const complaints = message.split("\n").filter((line) => /Error:|RTNETLINK|Cannot/.test(line));
  return complaints.length > 0 && complaints.every((line) => DONE_ALREADY[purpose].test(line));
}
