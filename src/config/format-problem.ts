import pc from "picocolors";
import type { Grade, Problem } from "./problem.ts";

export interface FormatOptions {
  readonly color: boolean;
  /** Text of each file, by the name that its problems carry. Files that are missing here are shown without a frame. */
  readonly sources?: ReadonlyMap<string, string>;
}

// A minified line would fill the screen and hide what is wrong.
const MAX_LINE = 120;
const CONTEXT_LINES = 1;

/**
 * Problems for people:
 *
 *     error: web/fly.toml:9:17 http_service.force_https: … [force-https]
 *         8 │   internal_port = 8080
 *     >   9 │   force_https = true
 *           │                 ^
 *       → write force_https = false
 *
 * Control characters of the file are escaped. Ends with a line that counts, unless there is nothing to show.
 */
export function formatProblems(problems: readonly Problem[], options: FormatOptions): string {
  const paint = pc.createColors(options.color);
  const colour: Readonly<Record<Grade, (text: string) => string>> = {
    error: paint.red,
    warning: paint.yellow,
    note: paint.blue,
  };
  const show = (problem: Problem): string => {
    const place = [problem.file, problem.line, problem.column].filter((part) => part !== undefined).join(":");
    const head = `${paint.bold(colour[problem.grade](problem.grade))}: ${paint.bold(printable(place))}`;
    const path = problem.path === "" ? "" : ` ${paint.cyan(printable(problem.path))}`;
    const first = `${head}${path}: ${printable(problem.message)} ${paint.dim(`[${problem.rule}]`)}`;
    if (problem.grade === "note") return first;
    const lines = [first, ...frame(problem, options.sources, paint)];
    for (const [i, line] of (problem.remedy?.split("\n") ?? []).entries()) {
      lines.push(paint.green(`  ${i === 0 ? "→" : " "} ${printable(line)}`));
    }
    return lines.join("\n");
  };
  if (problems.length === 0) return "";
  const blocks = problems.filter(({ grade }) => grade !== "note").map(show);
  // Notes are quiet: one line each, at the end.
  const notes = problems.filter(({ grade }) => grade === "note").map(show);
  if (notes.length > 0) blocks.push(notes.join("\n"));
  return `${blocks.join("\n\n")}\n\n${countProblems(problems)}\n`;
}

/** `2 errors, 1 warning`. Empty text for no problems. */
export function countProblems(problems: readonly Problem[]): string {
  const counts = (["error", "warning", "note"] as const).flatMap((grade) => {
    const count = problems.filter((problem) => problem.grade === grade).length;
    return count === 0 ? [] : [`${count} ${grade}${count === 1 ? "" : "s"}`];
  });
  return counts.join(", ");
}

function frame(
  problem: Problem,
  sources: FormatOptions["sources"],
  paint: { readonly dim: (text: string) => string; readonly red: (text: string) => string },
): readonly string[] {
  const source = sources?.get(problem.file);
  const { line, column } = problem;
  if (source === undefined || line === undefined) return [];
  const lines = source.replace(/^\u{FEFF}/u, "").split(/\r?\n/);
  const first = Math.max(1, line - CONTEXT_LINES);
  const last = Math.min(lines.length, line + CONTEXT_LINES);
  const width = String(last).length;
  const shown: string[] = [];
  for (let number = first; number <= last; number += 1) {
    // A long line is cut around what is wrong in it.
    const from = number === line && column !== undefined ? Math.max(0, column - MAX_LINE) : 0;
    const text = printable((lines[number - 1] ?? "").slice(from, from + MAX_LINE));
    const mark = number === line ? ">" : " ";
    shown.push(paint.dim(`    ${mark} ${String(number).padStart(width)} │ `) + text);
    if (number !== line || column === undefined) continue;
    const before = printable((lines[number - 1] ?? "").slice(from, column - 1));
    shown.push(paint.dim(`      ${" ".repeat(width)} │ `) + " ".repeat(before.length) + paint.red("^"));
  }
  return shown;
}

/** Control characters could rewrite the terminal. Tabs become one space, so that the caret stays under its character. */
function printable(text: string): string {
  return text
    .replaceAll("\t", " ")
    .replaceAll(
      /[\u0000-\u001f\u007f-\u009f\u2028-\u202e\u2066-\u2069]/g,
      (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, "0")}`,
    );
}
