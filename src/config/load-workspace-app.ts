import { access } from "node:fs/promises";
import { parseAppName } from "../core/ids.ts";
import { Findings } from "./findings.ts";
import { flycastToml, type RawApp } from "./flycast-toml-schema.ts";
import { flyTomlOf, loadFlyToml } from "./load-app.ts";
import { missingCommands } from "./missing-commands.ts";
import type { NodeConfig, WorkspaceApp } from "./model.ts";
import { resolveIn } from "./normalise-node.ts";
import { normaliseWorkspaceApp } from "./normalise-workspace-app.ts";
import type { Problem } from "./problem.ts";
import { shownPath } from "./read-file.ts";

/** `[apps.KEY]`; without a key, an app that is nothing but a fly.toml. */
export interface AppEntry {
  readonly key: string | undefined;
  readonly app: RawApp;
}

export interface AppContext {
  readonly cwd: string;
  /** Absolute folder of the workspace. */
  readonly folder: string;
  /** The flycast.toml as people know it; undefined when there is none. */
  readonly workspaceFile: string | undefined;
  readonly node: NodeConfig;
  readonly regions: ReadonlySet<string>;
  /** Of the flycast.toml: what is wrong with its own lines goes there. */
  readonly findings: Findings;
}

export interface LoadedApp {
  /** Undefined when the fly.toml cannot be understood at all; there despite errors otherwise. */
  readonly app: WorkspaceApp | undefined;
  /** Absolute path of the fly.toml, its name in problems, and its text if it could be read. */
  readonly file: string;
  readonly shown: string;
  readonly source: string | undefined;
  /** Problems of the fly.toml. */
  readonly problems: readonly Problem[];
}

/** One app of a workspace: its fly.toml, joined with what flycast.toml says of it. */
export async function loadWorkspaceApp({ key, app }: AppEntry, context: AppContext): Promise<LoadedApp> {
  const { findings, folder, node } = context;
  const name = key === undefined ? undefined : parseAppName(key);
  if (key !== undefined && name?.ok === false) findings.error(["apps", key], "bad-app-name", name.error);
  const fly = await loadFlyToml(flyTomlOf(resolveIn(folder, app.path ?? key ?? ".")), context.cwd, {
    allow: node.compatAllow,
    knownRegions: context.regions,
    requireName: true,
    defaultName: name?.ok === true ? name.value : undefined,
  });
  const { file, shown, source } = fly;
  const problems: Problem[] = [];
  if (source === undefined && key !== undefined) {
    // The line to change is the one that names the folder.
    for (const { rule, message } of fly.problems) findings.error(findings.at(app, "path"), rule, message);
  } else {
    problems.push(...fly.problems);
  }
  if (fly.draft === undefined) return { app: undefined, file, shown, source, problems };

  if (key !== undefined && name?.ok === true && fly.draft.name !== name.value) {
    const message = `${shown} names the app ${fly.draft.name}, not ${name.value}`;
    findings.error(["apps", key], "app-name-differs", message, `write [apps.${fly.draft.name}]`);
  }
  // Other problems speak of the name that flycast.toml uses.
  const config = name?.ok === true ? { ...fly.draft, name: name.value } : fly.draft;
  const place = { base: folder, folder: fly.folder, file };
  const joined = normaliseWorkspaceApp(app, config, node, place, findings, context.regions);
  if (!findings.isRefused(app, "command")) {
    const where = { shownFlyToml: shown, flycastToml: context.workspaceFile, dockerfile: fly.dockerfile };
    problems.push(...(await missingCommands(joined, where)));
  }
  await missingFiles(joined, (option, missing) => {
    const message = `there is no file ${shownPath(missing, context.cwd)}`;
    findings.error(findings.at(app, ...option.split(".")), "missing-file", message);
  });
  return { app: joined, file, shown, source, problems };
}

/** An app that is nothing but a fly.toml. */
export function loneEntry(file: string): AppEntry {
  const app = flycastToml.read({ apps: { app: { path: file } } }, [], new Findings(flycastToml))?.apps.get("app");
  if (app === undefined) throw new Error("an app with a path is always valid");
  return { key: undefined, app };
}

/** Files that an app's part of flycast.toml names and that are not there. */
async function missingFiles(app: WorkspaceApp, report: (key: string, path: string) => void): Promise<void> {
  const named = { env_file: app.envFile, "tls.cert": app.tls?.cert, "tls.key": app.tls?.key };
  for (const [key, path] of Object.entries(named)) {
    if (path === undefined) continue;
    await access(path).catch(() => report(key, path));
  }
}
