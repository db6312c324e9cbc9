import { dirname, join } from "node:path";
import { access } from "node:fs/promises";
import { fileProblem } from "./findings.ts";
import type { AppConfig, WorkspaceApp } from "./model.ts";
import { parseFlyToml, type FlyTomlOptions } from "./parse-fly-toml.ts";
import type { Problem } from "./problem.ts";
import { readConfigFile, shownPath } from "./read-file.ts";
import { suggestCommand } from "./suggest-command.ts";

/** A fly.toml that was looked for and perhaps found good. */
export interface LoadedFlyToml {
  readonly folder: string;
  readonly file: string;
  readonly config: AppConfig | undefined;
  readonly problems: readonly Problem[];
}

/** `path`: a folder with a fly.toml, or a file that ends in `.toml`. Absolute. */
export async function loadFlyToml(path: string, cwd: string, options: FlyTomlOptions): Promise<LoadedFlyToml> {
  const file = path.endsWith(".toml") ? path : join(path, "fly.toml");
  const folder = dirname(file);
  const shown = shownPath(file, cwd);
  const text = await readConfigFile(file, shown);
  if (!text.ok) return { folder, file, config: undefined, problems: [text.error] };
  return { folder, file, ...parseFlyToml(text.value, shown, options) };
}

/** Groups for which neither file names a command, each with the line to write. */
export async function missingCommands(
  app: WorkspaceApp,
  place: { readonly shownFlyToml: string; readonly flycastToml: string | undefined },
): Promise<readonly Problem[]> {
  const problems: Problem[] = [];
  for (const { group, count } of runs(app)) {
    if (count === 0 || Object.hasOwn(app.commands, group)) continue;
    const hint = await suggestCommand(app.folder, group);
    const command = JSON.stringify(hint?.command ?? "node server.js");
    const from = hint === undefined ? "" : ` (as in its ${hint.from})`;
    const remedy =
      place.flycastToml === undefined
        ? `write in ${place.shownFlyToml}:\n[processes]\n${group} = ${command}${from === "" ? "" : `  #${from}`}`
        : `write in ${place.flycastToml} under [apps.${app.name}]: ${commandLine(app, group, command)}${from}`;
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

function commandLine(app: WorkspaceApp, group: string, command: string): string {
  return app.config.groups.length > 1 ? `command = { ${group} = ${command} }` : `command = ${command}`;
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
