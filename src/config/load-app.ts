import { dirname, join } from "node:path";
import { access } from "node:fs/promises";
import { fileProblem } from "./findings.ts";
import type { WorkspaceApp } from "./model.ts";
import { parseFlyToml, type FlyTomlOptions, type ParsedFlyToml } from "./parse-fly-toml.ts";
import type { Problem } from "./problem.ts";
import { readConfigFile, shownPath } from "./read-file.ts";
import { shellSplit } from "./shell-split.ts";
import { suggestCommand } from "./suggest-command.ts";

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

/** Groups for which neither file names a command, each with the line to write. */
export async function missingCommands(
  app: WorkspaceApp,
  place: {
    readonly shownFlyToml: string;
    readonly flycastToml: string | undefined;
    readonly dockerfile: string | undefined;
  },
): Promise<readonly Problem[]> {
  const problems: Problem[] = [];
  for (const { group, count } of runs(app)) {
    if (count === 0 || Object.hasOwn(app.commands, group)) continue;
    const hint = await suggestCommand(app.folder, group, place.dockerfile);
    const from = hint === undefined ? "" : ` (as in its ${hint.from})`;
    const where = place.flycastToml;
    const remedy =
      where === undefined
        ? `write in ${place.shownFlyToml}${from}:\n${flyTomlLines(app, group, hint?.command ?? EXAMPLE)}`
        : `write in ${where} under [apps.${app.name}]${from}:\n${flycastTomlLine(app, group, hint?.command ?? EXAMPLE)}`;
    const message =
      app.config.groups.length > 1
        ? `the app ${app.name} names no command for its process group ${group}`
        : `the app ${app.name} names no command: on the platform the image does`;
    problems.push({
      ...fileProblem(place.shownFlyToml, "error", "missing-command", message, remedy),
      path: "processes",
    });
  }
  return problems;
}

const EXAMPLE = "node server.js";

function flycastTomlLine(app: WorkspaceApp, group: string, command: string): string {
  const line = JSON.stringify(command);
  return app.config.groups.length > 1 ? `command = { ${group} = ${line} }` : `command = ${line}`;
}

/** `[processes]` where there is one; adding it to a file without would ask every service for its groups. */
function flyTomlLines(app: WorkspaceApp, group: string, command: string): string {
  if (app.config.groups.length > 1) return `[processes]\n${group} = ${JSON.stringify(command)}`;
  const words = shellSplit(command);
  return `[experimental]\ncmd = ${JSON.stringify(words.ok ? words.value : [command])}`;
}

function runs(app: WorkspaceApp): readonly { readonly group: string; readonly count: number }[] {
  const totals = new Map<string, number>();
  for (const { group, count } of app.machines) totals.set(group, (totals.get(group) ?? 0) + count);
  return [...totals].map(([group, count]) => ({ group, count }));
}

/** Files that an app's part of flycast.toml names and that are not there. */
export async function missingFiles(app: WorkspaceApp, report: (key: string, path: string) => void): Promise<void> {
  const named = { env_file: app.envFile, "tls.cert": app.tls?.cert, "tls.key": app.tls?.key };
  for (const [key, path] of Object.entries(named)) {
    if (path === undefined) continue;
    await access(path).catch(() => report(key, path));
  }
}
