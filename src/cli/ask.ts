import { createInterface } from "node:readline/promises";
import { AppError } from "../core/errors.ts";
import { EXIT } from "./output.ts";

/**
 * Asks on a terminal. Elsewhere nobody would answer: then `instead` says what to write. Ctrl-C and Ctrl-D end the command.
 * @errors invalid
 */
export async function ask(question: string, instead: string): Promise<string> {
  if (!process.stdin.isTTY) throw new AppError("invalid", instead);
  const terminal = createInterface({ input: process.stdin, output: process.stderr });
  const left = new Promise<never>(() => {
    const leave = (): void => {
      process.stderr.write("\n");
      process.exit(EXIT.interrupted);
    };
    terminal.once("SIGINT", leave);
    // Also after the answer; by then nobody listens any more.
    terminal.once("close", leave);
  });
  const answer = await Promise.race([terminal.question(question), left]);
  terminal.removeAllListeners("close");
  terminal.close();
  return answer.trim();
}

/** A yes or no; `--yes` says it beforehand. @errors invalid */
export async function confirm(question: string, yes: boolean): Promise<boolean> {
  if (yes) return true;
  const answer = await ask(`${question} (y/N) `, `${question} Say so with --yes: there is no terminal to ask on.`);
  return /^y(?:es)?$/i.test(answer);
}
