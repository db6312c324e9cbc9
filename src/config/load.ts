import { stat } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import { parseAppName } from "../core/ids.ts";
import { fileProblem, Findings } from "./findings.ts";
import { flycastToml, type RawApp, type RawFlycastToml } from "./flycast-toml-schema.ts";
import { flyTomlOf, loadFlyToml, missingCommands, missingFiles } from "./load-app.ts";
import type { NodeConfig, Workspace, WorkspaceApp } from "./model.ts";
import { knownRegions, normaliseNode, resolveIn, type NodeOverrides } from "./normalise-node.ts";
import { checkPublishedTwice, checkWorkspaceReferences, normaliseWorkspaceApp } from "./normalise-workspace-app.ts";
import { tomlProblem } from "./parse-fly-toml.ts";
import type { Problem } from "./problem.ts";
import { readConfigFile, shownPath } from "./read-file.ts";
import { parseToml, type TomlDocument } from "./toml-document.ts";

export interface LoadOptions {
  readonly cwd: string;
  /** Refusals that become warnings, beside those of `[compat] allow`. */
  readonly allow?: ReadonlySet<string>;
  /** Settings of the command line, which win over the file. */
  readonly overrides?: NodeOverrides;
}

interface Loaded {
  readonly problems: readonly Problem[];
  /** Absolute paths of every file that was read or looked for: what a reload watches. */
  readonly files: readonly string[];
  /** Text of each file that was read, by the name that its problems carry: for `formatProblems`. */
  readonly sources: ReadonlyMap<string, string>;
}

export interface LoadedWorkspace extends Loaded {
  /** Undefined if and only if a problem is an error. */
  readonly workspace: Workspace | undefined;
}

export interface LoadedNode extends Loaded {
  /** Undefined if and only if a problem is an error. */
  readonly node: NodeConfig | undefined;
  /** Absolute path of the flycast.toml, if there is one. */
  readonly file: string | undefined;
}

/** What an absent flycast.toml says. */
const EMPTY = parseToml("");

/**
 * What `up` runs. `target`: a flycast.toml, a folder with one, or a folder with only a fly.toml, which makes a workspace of
 * one app; undefined is the working directory. Bad input gives problems, all of them together; it never throws.
 */
export async function loadWorkspace(target: string | undefined, options: LoadOptions): Promise<LoadedWorkspace> {
  const found = await findTarget(resolve(options.cwd, target ?? "."), options.cwd);
  if (found.kind === "problem")
    return { workspace: undefined, problems: [found.problem], files: found.files, sources: new Map() };
  const file = found.kind === "flycast" ? found.file : undefined;
  const folder = dirname(found.file);
  const read = await readFlycastToml(file, options.cwd);
  if (read.raw === undefined)
    return {
      workspace: undefined,
      problems: read.problems,
      files: file === undefined ? [] : [file],
      sources: read.sources,
    };
  const { raw, findings, document, shown } = read;
  const sources = new Map(read.sources);
  const node = normaliseNode(raw, findings, nodeDefaults(folder, join(folder, ".flycast"), options));
  const entries = found.kind === "flycast" ? [...raw.apps] : [["", loneApp(found.file)] as const];
  if (entries.length === 0)
    findings.error(["apps"], "no-apps", "the file lists no apps", 'write [apps.web] with path = "web"');

  const files = file === undefined ? [] : [file];
  const problems: Problem[] = [];
  const loaded: { raw: RawApp; app: WorkspaceApp }[] = [];
  const regions = knownRegions(raw, options.overrides ?? {});
  for (const [key, app] of entries) {
    const keyName = key === "" ? undefined : parseAppName(key);
    if (keyName?.ok === false) findings.error(["apps", key], "bad-app-name", keyName.error);
    const path = resolveIn(folder, app.path ?? key);
    const one = await loadFlyToml(flyTomlOf(path), options.cwd, {
      allow: node.compatAllow,
      knownRegions: regions,
      requireName: true,
      defaultName: keyName?.ok === true ? keyName.value : undefined,
    });
    files.push(one.file);
    if (one.source !== undefined) sources.set(one.shown, one.source);
    if (one.source === undefined && file !== undefined) {
      // The line to change is the one that names the folder.
      for (const { rule, message } of one.problems) findings.error(findings.at(app, "path"), rule, message);
    } else {
      problems.push(...one.problems);
    }
    if (one.draft === undefined) continue;
    const shownFlyToml = one.shown;
    if (keyName?.ok === true && one.draft.name !== keyName.value) {
      const message = `${shownFlyToml} names the app ${one.draft.name}, not ${keyName.value}`;
      findings.error(["apps", key], "app-name-differs", message, `write [apps.${one.draft.name}]`);
    }
    // Other problems speak of the name that this file uses.
    const config = keyName?.ok === true ? { ...one.draft, name: keyName.value } : one.draft;
    const place = { base: folder, folder: one.folder, file: one.file };
    const workspaceApp = normaliseWorkspaceApp(app, config, node, place, findings, regions);
    loaded.push({ raw: app, app: workspaceApp });
    if (!findings.isRefused(app, "command")) {
      const flycastTomlName = file === undefined ? undefined : shown;
      const where = { shownFlyToml, flycastToml: flycastTomlName, dockerfile: one.dockerfile };
      problems.push(...(await missingCommands(workspaceApp, where)));
    }
    await missingFiles(workspaceApp, (name, missing) => {
      const message = `there is no file ${shownPath(missing, options.cwd)}`;
      findings.error(findings.at(app, ...name.split(".")), "missing-file", message);
    });
  }
  checkPublishedTwice(loaded, findings);
  checkWorkspaceReferences(loaded, new Set(raw.apps.keys()), findings);
  // Two apps of one folder share the problems of its file.
  const unique = new Map(problems.map((problem) => [JSON.stringify(problem), problem]));
  const all = [...findings.problems(shown, document), ...unique.values()];
  const refused = all.some((problem) => problem.grade === "error");
  const workspace = refused ? undefined : { file, node, apps: loaded.map(({ app }) => app) };
  return { workspace, problems: all, files, sources };
}

/** What `serve` runs: a flycast.toml of which the apps do not matter, or none at all. */
export async function loadNode(path: string | undefined, options: LoadOptions): Promise<LoadedNode> {
  const file = path === undefined ? undefined : resolve(options.cwd, path);
  const files = file === undefined ? [] : [file];
  const read = await readFlycastToml(file, options.cwd);
  if (read.raw === undefined) return { node: undefined, file, problems: read.problems, files, sources: read.sources };
  const folder = file === undefined ? options.cwd : dirname(file);
  const node = normaliseNode(read.raw, read.findings, nodeDefaults(folder, "/var/lib/flycast", options));
  const problems = read.findings.problems(read.shown, read.document);
  return { node: read.findings.hasErrors ? undefined : node, file, problems, files, sources: read.sources };
}

function nodeDefaults(folder: string, stateDir: string, options: LoadOptions) {
  const { cwd, allow = new Set<string>(), overrides = {} } = options;
  return { folder, stateDir, cwd, allow, overrides };
}

type Target =
  | { readonly kind: "flycast" | "fly"; readonly file: string }
  | { readonly kind: "problem"; readonly problem: Problem; readonly files: readonly string[] };

// fly.toml, fly.staging.toml, web-fly.toml; any other name is a flycast.toml.
const FLY_TOML = /(?:^|[/\\_.-])fly(?:[._-][^/\\]*)?\.toml$/;

async function findTarget(path: string, cwd: string): Promise<Target> {
  const shown = shownPath(path, cwd);
  const kind = await kindOfPath(path);
  if (kind === "file") return { kind: FLY_TOML.test(path) ? "fly" : "flycast", file: path };
  const candidates = [join(path, "flycast.toml"), join(path, "fly.toml")];
  const refuse = (message: string, remedy?: string): Target => ({
    kind: "problem",
    problem: fileProblem(shown, "error", "missing-file", message, remedy),
    files: kind === "folder" ? candidates : [path],
  });
  if (kind === undefined) return refuse(`there is no file or folder ${shown}`);
  if (kind === "other") return refuse(`${shown} is neither a file nor a folder`);
  for (const file of candidates) {
    if ((await kindOfPath(file)) === undefined) continue;
    return { kind: file.endsWith("flycast.toml") ? "flycast" : "fly", file };
  }
  return refuse(`${shown} holds neither flycast.toml nor fly.toml`, "name a folder that holds one of them");
}

async function kindOfPath(path: string): Promise<"file" | "folder" | "other" | undefined> {
  try {
    const info = await stat(path);
    return info.isFile() ? "file" : info.isDirectory() ? "folder" : "other";
  } catch {
    return undefined;
  }
}

type ReadFlycastToml = { readonly sources: ReadonlyMap<string, string> } & (
  | { readonly raw: undefined; readonly problems: readonly Problem[] }
  | {
      readonly raw: RawFlycastToml;
      readonly findings: Findings;
      readonly document: TomlDocument;
      readonly shown: string;
    }
);

async function readFlycastToml(file: string | undefined, cwd: string): Promise<ReadFlycastToml> {
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

/** An app that is nothing but a folder with a fly.toml. */
function loneApp(file: string): RawApp {
  const findings = new Findings(flycastToml);
  const raw = flycastToml.read({ apps: { app: { path: file } } }, [], findings)?.apps.get("app");
  if (raw === undefined) throw new Error("an app with a path is always valid");
  return raw;
}
