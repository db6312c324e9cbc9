import { createInterface } from "node:readline/promises";
import { AppError } from "../core/errors.ts";

/** Asks on a terminal; elsewhere `--yes` must have said it. @errors invalid */
export async function confirm(question: string, yes: boolean): Promise<boolean> {
  if (yes) return true;
  if (!process.stdin.isTTY)
    throw new AppError("invalid", `${question} Say so with --yes: there is no terminal to ask on.`);
  const terminal = createInterface({ input: process.stdin, output: process.stderr });
  try {
    return /^y(?:es)?$/i.test((await terminal.question(`${question} (y/N) `)).trim());
  } finally {
    terminal.close();
  }
}
