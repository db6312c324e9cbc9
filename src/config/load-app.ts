import { dirname, join } from "node:path";
import { parseFlyToml, type FlyTomlOptions, type ParsedFlyToml } from "./parse-fly-toml.ts";
import { readConfigFile, shownPath } from "./read-file.ts";

/** A fly.toml that was looked for and perhaps found good. */
export interface LoadedFlyToml extends ParsedFlyToml {
  /** Absolute paths. */
  readonly folder: string;
  readonly file: string;
  /** The file as its problems name it, and its text if it could be read. */
  readonly shown: string;
  readonly source: string | undefined;
}

/** `path` as it is if it names a TOML file, else the fly.toml of that folder. */
export function flyTomlOf(path: string): string {
  return path.endsWith(".toml") ? path : join(path, "fly.toml");
}

/** `file`: absolute, whatever its name. */
export async function loadFlyToml(file: string, cwd: string, options: FlyTomlOptions): Promise<LoadedFlyToml> {
  const folder = dirname(file);
  const shown = shownPath(file, cwd);
  const text = await readConfigFile(file, shown);
  if (!text.ok)
    return { folder, file, shown, source: undefined, config: undefined, draft: undefined, problems: [text.error] };
  return { folder, file, shown, source: text.value, ...parseFlyToml(text.value, shown, options) };
}
