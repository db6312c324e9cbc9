import type { Grade, Problem } from "./problem.ts";
import { pathText, type Finding, type ReadContext } from "./schema.ts";
import type { Path, TomlDocument } from "./toml-document.ts";
import type { Rule } from "./rules.ts";

/** More problems of one grade than anybody reads; a hostile file could make a hundred thousand. */
const MAX_FINDINGS = 200;

/** Collects what readers and checks find in one file, and knows where each table of it was written. */
export class Findings implements ReadContext {
  readonly origins = new WeakMap<object, Path>();
  readonly rootKeys: ReadonlySet<string>;
  readonly #found: Finding[] = [];
  readonly #known = new Set<string>();
  readonly #counts: Record<Grade, number> = { error: 0, warning: 0, note: 0 };

  constructor(root: { readonly keys: Readonly<Record<string, unknown>> }) {
    this.rootKeys = new Set(Object.keys(root.keys));
  }

  /** Also as a plain function, because readers pass it on. */
  readonly report = (finding: Finding): void => {
    if (this.#isKnown(finding)) return;
    this.#counts[finding.grade] += 1;
    if (this.#counts[finding.grade] <= MAX_FINDINGS) this.#found.push(finding);
  };

  error(path: Path, rule: Rule, message: string, remedy?: string): void {
    this.#add("error", path, rule, message, remedy);
  }

  warning(path: Path, rule: Rule, message: string, remedy?: string): void {
    this.#add("warning", path, rule, message, remedy);
  }

  /** The path of something inside a table that was read from this file. */
  at(table: object, ...inner: Path): Path {
    return [...(this.origins.get(table) ?? []), ...inner];
  }

  /** Whether a key is there and was refused: then nothing should be said about its absence. */
  isRefused(table: object, key: string): boolean {
    const path = this.at(table, key);
    return this.#found.some(
      (finding) => finding.grade === "error" && path.every((part, i) => finding.path[i] === part),
    );
  }

  get hasErrors(): boolean {
    return this.#counts.error > 0;
  }

  /** As problems, in the order of the file; those without a place first. */
  problems(file: string, document: TomlDocument): readonly Problem[] {
    const problems = this.#found.map((finding): Problem => {
      const position = document.locate(finding.path, finding.part ?? "value");
      return {
        grade: finding.grade,
        file,
        line: position?.line,
        column: position?.column,
        path: pathText(finding.path),
        message: finding.message,
        remedy: typeof finding.remedy === "function" ? finding.remedy() : finding.remedy,
        rule: finding.rule,
      };
    });
    problems.sort((a, b) => (a.line ?? 0) - (b.line ?? 0) || (a.column ?? 0) - (b.column ?? 0));
    for (const grade of ["error", "warning", "note"] as const) {
      const more = this.#counts[grade] - MAX_FINDINGS;
      if (more > 0) problems.push(fileProblem(file, grade, "too-many-problems", `and ${more} more ${grade}s`));
    }
    return problems;
  }

  /**
   * Whether the same was said before: [http_service] is checked as two ports, and a key without meaning is noted once,
   * not for every item of a list.
   */
  #isKnown({ grade, path, rule, message }: Finding): boolean {
    const place = grade === "note" ? path.filter((part) => typeof part === "string") : path;
    const key = JSON.stringify([rule, place, grade === "note" ? "" : message]);
    const known = this.#known.has(key);
    this.#known.add(key);
    return known;
  }

  #add(grade: Grade, path: Path, rule: Rule, message: string, remedy: string | undefined): void {
    this.report(remedy === undefined ? { grade, path, rule, message } : { grade, path, rule, message, remedy });
  }
}

/** A problem with a file as a whole. */
export function fileProblem(file: string, grade: Grade, rule: Rule, message: string, remedy?: string): Problem {
  return { grade, file, line: undefined, column: undefined, path: "", message, remedy, rule };
}
