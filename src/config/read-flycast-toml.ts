import { Findings } from "./findings.ts";
import { flycastToml, type RawFlycastToml } from "./flycast-toml-schema.ts";
import { tomlProblem } from "./parse-fly-toml.ts";
import type { Problem } from "./problem.ts";
import { readConfigFile, shownPath } from "./read-file.ts";
import { parseToml, type TomlDocument } from "./toml-document.ts";

/** What an absent flycast.toml says. */
const EMPTY = parseToml("");

/** A flycast.toml, typed but not yet checked. `sources`: its text, by the name that its problems carry. */
export type ReadFlycastToml = { readonly sources: ReadonlyMap<string, string> } & (
  | { readonly raw: undefined; readonly problems: readonly Problem[] }
  | {
      readonly raw: RawFlycastToml;
      readonly findings: Findings;
      readonly document: TomlDocument;
      readonly shown: string;
    }
);

/** `file`: absolute; undefined reads as an empty file. */
export async function readFlycastToml(file: string | undefined, cwd: string): Promise<ReadFlycastToml> {
  const shown = file === undefined ? "the command line" : shownPath(file, cwd);
  const sources = new Map<string, string>();
  let parsed = EMPTY;
  if (file !== undefined) {
    const text = await readConfigFile(file, shown);
    if (!text.ok) return { raw: undefined, problems: [text.error], sources };
    sources.set(shown, text.value);
    parsed = parseToml(text.value);
  }
  if (!parsed.ok) return { raw: undefined, problems: [tomlProblem(parsed.error, shown)], sources };
  const findings = new Findings(flycastToml);
  const raw = flycastToml.read(parsed.value.value, [], findings);
  if (raw === undefined) return { raw: undefined, problems: findings.problems(shown, parsed.value), sources };
  return { raw, findings, document: parsed.value, shown, sources };
}
