import { parseAppName, parseRegionCode, type AppName } from "../core/ids.ts";
import { REGIONS } from "../core/regions.ts";
import { checkFlyToml, type CheckOptions } from "./check-fly-toml.ts";
import { fileProblem, Findings } from "./findings.ts";
import { flyToml } from "./fly-toml-schema.ts";
import type { AppConfig } from "./model.ts";
import { normalise } from "./normalise.ts";
import type { Problem } from "./problem.ts";
import { isTable } from "./schema.ts";
import { parseToml, type TomlProblem } from "./toml-document.ts";

export type FlyTomlOptions = Partial<CheckOptions>;

export interface ParsedFlyToml {
  /** Undefined if and only if a problem is an error. */
  readonly config: AppConfig | undefined;
  /** What could be understood despite errors, so that the checks of a workspace can report theirs at the same time. */
  readonly draft: AppConfig | undefined;
  /** `build.dockerfile`: nothing is built, but its last CMD tells what to suggest as the command. */
  readonly dockerfile?: string;
  readonly problems: readonly Problem[];
}

export const PLATFORM_REGIONS: ReadonlySet<string> = new Set(REGIONS.map((region) => region.code));

const PLACEHOLDER_NAME = "app" as AppName;

/**
 * One fly.toml: text in, a config or problems out; both when there are only warnings and notes. Never throws.
 *
 * `file` is only a name for the problems. Defaults: nothing allowed, the platform's regions, and `app` may be missing
 * (a warning; the config is then named `app` or `defaultName`).
 */
export function parseFlyToml(text: string, file: string, options: FlyTomlOptions = {}): ParsedFlyToml {
  const parsed = parseToml(text);
  if (!parsed.ok) return { config: undefined, draft: undefined, problems: [tomlProblem(parsed.error, file)] };
  const document = parsed.value;
  const findings = new Findings(flyToml);
  const raw = flyToml.read(document.value, [], findings);
  if (raw !== undefined) {
    checkFlyToml(raw, findings, {
      allow: options.allow ?? new Set(),
      knownRegions: options.knownRegions ?? PLATFORM_REGIONS,
      requireName: options.requireName ?? false,
      defaultName: options.defaultName,
    });
  }
  const problems = findings.problems(file, document);
  if (raw === undefined) return { config: undefined, draft: undefined, problems };
  // A bad name was reported; the checks of a workspace go on with the name that flycast.toml gives.
  const name = [raw.app, options.defaultName].flatMap((given) => {
    const parsedName = given === undefined ? undefined : parseAppName(given);
    return parsedName?.ok === true ? [parsedName.value] : [];
  });
  const region = raw.primary_region === undefined ? undefined : parseRegionCode(raw.primary_region);
  const draft = normalise(raw, name[0] ?? PLACEHOLDER_NAME, region?.ok === true ? region.value : undefined);
  const build = isTable(raw.build) ? raw.build["dockerfile"] : undefined;
  const named = typeof build === "string" ? { dockerfile: build } : {};
  return { config: findings.hasErrors ? undefined : draft, draft, problems, ...named };
}

/** A TOML problem as a problem with the file. */
export function tomlProblem(problem: TomlProblem, file: string): Problem {
  const { position, rule, message } = problem;
  return { ...fileProblem(file, "error", rule, message), line: position?.line, column: position?.column };
}
