import { dirname, join, resolve } from "node:path";
import type { RawApp } from "./flycast-toml-schema.ts";
import { loadWorkspaceApp, loneEntry } from "./load-workspace-app.ts";
import type { NodeConfig, Workspace, WorkspaceApp } from "./model.ts";
import { knownRegions, normaliseNode, type NodeOverrides } from "./normalise-node.ts";
import { checkPublishedTwice, checkWorkspaceReferences } from "./normalise-workspace-app.ts";
import type { Problem } from "./problem.ts";
import { readFlycastToml } from "./read-flycast-toml.ts";
import { findTarget, flycastTomlOf } from "./target.ts";

export interface LoadOptions {
  readonly cwd: string;
  /** Refusals that become warnings, beside those of `[compat] allow`. */
  readonly allow?: ReadonlySet<string>;
  /** Settings of the command line, which win over the file. */
  readonly overrides?: NodeOverrides;
  /** For `serve`: the file may list no apps, and the state is elsewhere by default. */
  readonly service?: { readonly stateDir: string };
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

/**
 * What `up` runs. `target`: a flycast.toml, a folder with one, or a folder with only a fly.toml, which makes a workspace of
 * one app; undefined is the working directory. Bad input gives problems, all of them together; it never throws.
 */
export async function loadWorkspace(target: string | undefined, options: LoadOptions): Promise<LoadedWorkspace> {
  const found = await findTarget(resolve(options.cwd, target ?? "."), options.cwd);
  if (found.kind === "problem") {
    return { workspace: undefined, problems: [found.problem], files: found.files, sources: new Map() };
  }
  const file = found.kind === "flycast" ? found.file : undefined;
  const files = file === undefined ? [] : [file];
  const folder = dirname(found.file);
  const read = await readFlycastToml(file, options.cwd);
  if (read.raw === undefined) return { workspace: undefined, problems: read.problems, files, sources: read.sources };
  const { raw, findings, document, shown } = read;
  const node = normaliseNode(
    raw,
    findings,
    nodeDefaults(folder, options.service?.stateDir ?? join(folder, ".flycast"), options),
  );
  const entries = file === undefined ? [loneEntry(found.file)] : [...raw.apps].map(([key, app]) => ({ key, app }));
  if (entries.length === 0 && options.service === undefined) {
    findings.error(["apps"], "no-apps", "the file lists no apps", 'write [apps.web] with path = "web"');
  }

  const sources = new Map(read.sources);
  const problems: Problem[] = [];
  const loaded: { raw: RawApp; app: WorkspaceApp }[] = [];
  const regions = knownRegions(raw, options.overrides ?? {});
  const workspaceFile = file === undefined ? undefined : shown;
  for (const entry of entries) {
    const one = await loadWorkspaceApp(entry, { cwd: options.cwd, folder, workspaceFile, node, regions, findings });
    files.push(one.file);
    problems.push(...one.problems);
    if (one.source !== undefined) sources.set(one.shown, one.source);
    if (one.app !== undefined) loaded.push({ raw: entry.app, app: one.app });
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

/** What `serve` runs: a flycast.toml (or a folder with one) of which the apps do not matter, or none at all. */
export async function loadNode(path: string | undefined, options: LoadOptions): Promise<LoadedNode> {
  const file = path === undefined ? undefined : await flycastTomlOf(resolve(options.cwd, path));
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
