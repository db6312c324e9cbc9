import type { AppError } from "../core/errors.ts";

/** Exit codes: 0 done, 1 refused or failed, 2 wrong usage, 130 ended by Ctrl-C as shells say it. */
export const EXIT = { done: 0, failed: 1, usage: 2, interrupted: 130 } as const;

export function print(text: string): void {
  process.stdout.write(`${text}\n`);
}

export function printJson(value: unknown): void {
  process.stdout.write(`${JSON.stringify(value, undefined, 2)}\n`);
}

/** Values that came from clients or apps may hold control characters, which must not reach a terminal. */
export function printable(text: string): string {
  return text.replace(/[\u0000-\u001f\u007f-\u009f]/g, (c) => `\\x${c.charCodeAt(0).toString(16).padStart(2, "0")}`);
}

/** One error, with its code and, where there is one, the next command to try. */
export function reportError(error: AppError, json: boolean): void {
  const next = typeof error.details["next"] === "string" ? error.details["next"] : undefined;
  if (json) {
    process.stderr.write(
      `${JSON.stringify({ error: error.message, code: error.code, ...(next === undefined ? {} : { next }) })}\n`,
    );
    return;
  }
  process.stderr.write(`Error: ${error.message} [${error.code}]\n`);
  if (next !== undefined) process.stderr.write(`  Try: ${next}\n`);
}
