import type { Rule } from "./rules.ts";
/** How bad: `error` refuses, `warning` is accepted but may surprise, `note` has no meaning here. */
export type Grade = "error" | "warning" | "note";

/** One thing that is wrong with a file: where, what, and what to write instead. */
export interface Problem {
  readonly grade: Grade;
  /** As the user named it; relative to the working directory where that is shorter. */
  readonly file: string;
  /** From 1. Undefined when the problem has no place in the text, such as a missing file. */
  readonly line: number | undefined;
  readonly column: number | undefined;
  /** Dotted path of the key: `services[0].ports[1].handlers`. Empty for the whole file. */
  readonly path: string;
  readonly message: string;
  /** What to write, in one or two lines. */
  readonly remedy: string | undefined;
  /** A stable short name of the kind of problem, such as `unknown-key`. */
  readonly rule: Rule;
}
