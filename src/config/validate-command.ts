import { stat } from "node:fs/promises";
import { join, resolve } from "node:path";
import { formatProblems } from "./format-problem.ts";
import { loadWorkspace } from "./load.ts";
import { flyTomlOf, loadFlyToml } from "./load-app.ts";
import type { Problem } from "./problem.ts";

export interface ValidateOptions {
  readonly cwd: string;
  /** Warnings refuse too. @default false */
  readonly strict?: boolean;
  /** Refusals that become warnings: `force_https`. */
  readonly allow?: ReadonlySet<string>;
  /** @default false */
  readonly color?: boolean;
}

/** What `config validate --json` prints of one path. */
export interface ValidatedPath {
  /** As it was given; the file's name where none was. */
  readonly path: string;
  readonly valid: boolean;
  readonly problems: readonly Problem[];
}

export interface Validation {
  /** For people: every problem with its code frame, then one line for each path. Ends with a line feed. */
  readonly report: string;
  readonly problems: readonly Problem[];
  readonly paths: readonly ValidatedPath[];
  /** 0: all may be used. 1: something is refused. */
  readonly exitCode: 0 | 1;
}

/**
 * `config validate`: any number of fly.toml files, flycast.toml files and folders; without any, the working directory.
 * A flycast.toml (or a folder with one) is checked with all its apps, as `up` would. A fly.toml alone need not name a
 * command, because on the platform the image does. Never throws for bad input.
 */
export async function validatePaths(paths: readonly string[], options: ValidateOptions): Promise<Validation> {
  const { cwd, strict = false, allow = new Set<string>(), color = false } = options;
  const validated: ValidatedPath[] = [];
  const sources = new Map<string, string>();
  // A file that is given twice, alone and through its workspace, says everything once.
  const unique = new Map<string, Problem>();
  for (const path of paths.length > 0 ? paths : [await fileOf(cwd)]) {
    const one = await validateOne(resolve(cwd, path), cwd, allow);
    for (const [name, text] of one.sources) sources.set(name, text);
    for (const problem of one.problems) unique.set(JSON.stringify(problem), problem);
    const refused = one.problems.some(({ grade }) => grade === "error" || (strict && grade === "warning"));
    validated.push({ path, valid: !refused, problems: one.problems });
  }
  const problems = [...unique.values()];
  const verdicts = validated.map(({ path, valid }) => `${path}: ${valid ? "valid" : "refused"}\n`).join("");
  const report = `${formatProblems(problems, { color, sources })}${problems.length > 0 ? "\n" : ""}${verdicts}`;
  return { report, problems, paths: validated, exitCode: validated.every(({ valid }) => valid) ? 0 : 1 };
}

/** What stands in a folder, by its name; the folder where nothing does. */
async function fileOf(folder: string): Promise<string> {
  for (const name of ["flycast.toml", "fly.toml"]) if (await isFile(join(folder, name))) return name;
  return ".";
}

async function validateOne(
  path: string,
  cwd: string,
  allow: ReadonlySet<string>,
): Promise<{ readonly problems: readonly Problem[]; readonly sources: ReadonlyMap<string, string> }> {
  // Files of other names are taken for a fly.toml: people validate `staging.toml`, and a flycast.toml has its name.
  const named = await isFile(path);
  const alone = named ? !/flycast[^/\\]*\.toml$/.test(path) : await holdsOnlyFlyToml(path);
  if (!alone) return loadWorkspace(path, { cwd, allow });
  const loaded = await loadFlyToml(named ? path : flyTomlOf(path), cwd, { allow });
  return {
    problems: loaded.problems,
    sources: new Map(loaded.source === undefined ? [] : [[loaded.shown, loaded.source]]),
  };
}

async function isFile(path: string): Promise<boolean> {
  return stat(path).then(
    (info) => !info.isDirectory(),
    () => false,
  );
}

async function holdsOnlyFlyToml(folder: string): Promise<boolean> {
  return !(await isFile(join(folder, "flycast.toml"))) && (await isFile(join(folder, "fly.toml")));
}
