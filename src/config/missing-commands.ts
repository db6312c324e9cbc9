import { fileProblem } from "./findings.ts";
import type { WorkspaceApp } from "./model.ts";
import type { Problem } from "./problem.ts";
import { shellSplit } from "./shell-split.ts";
import { suggestCommand } from "./suggest-command.ts";

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
