import pc from "picocolors";
import { formatProblems } from "../config/format-problem.ts";
import type { LoadedWorkspace } from "../config/load.ts";

/** What is wrong or doubtful in the files, on standard error. */
export function showProblems(loaded: Pick<LoadedWorkspace, "problems" | "sources">, json: boolean): void {
  const shown = loaded.problems.filter((problem) => problem.grade !== "note");
  if (shown.length === 0) return;
  if (json) {
    for (const problem of shown) process.stderr.write(`${JSON.stringify({ event: "config-problem", ...problem })}\n`);
    return;
  }
  const color = pc.isColorSupported && process.stderr.isTTY === true;
  process.stderr.write(`${formatProblems(shown, { color, sources: loaded.sources })}\n`);
}
