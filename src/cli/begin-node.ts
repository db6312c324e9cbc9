import { resolve } from "node:path";
import pc from "picocolors";
import type { SystemEvent } from "../api/events.ts";
import type { AppStatus } from "../api/status.ts";
import type { LoadedWorkspace } from "../config/load.ts";
import type { NodeConfig, Workspace } from "../config/model.ts";
import type { KeptListeners } from "../network/linux/kept-listeners.ts";
import type { NetworkMode } from "../network/plane.ts";
import { checkAllowances } from "./allowances.ts";
import { LOOPBACK_NOTE, type ChosenMode } from "./choose-mode.ts";
import type { GlobalOptions } from "./command.ts";
import { showProblems } from "./config-problems.ts";
import { startNode, type NodeProcess } from "./node-process.ts";
import { version } from "./version.ts";

/** Options of `up` and `serve` alike. */
export interface NodeCommandOptions extends GlobalOptions {
  readonly networkMode?: "auto" | NetworkMode;
  readonly egress?: "auto" | "none";
  readonly allow?: readonly string[];
}

/** How files are read that such a command names: the options stand above what they say. */
export function loadOptions(options: NodeCommandOptions) {
  return {
    cwd: process.cwd(),
    allow: new Set(options.allow),
    overrides: {
      ...(options.networkMode === undefined ? {} : { networkMode: options.networkMode }),
      ...(options.egress === undefined ? {} : { egress: options.egress }),
      ...(options.stateDir === undefined ? {} : { stateDir: resolve(options.stateDir) }),
    },
  };
}

/** What was decided before the node starts. */
export interface Decided {
  readonly workspace: Workspace;
  readonly files: readonly string[];
  readonly chosen: ChosenMode;
}

export interface NodePlan {
  readonly options: NodeCommandOptions;
  readonly load: () => Promise<LoadedWorkspace>;
  readonly choose: (wanted: NodeConfig["networkMode"]) => Promise<ChosenMode>;
  /** Told just before the node starts. @returns what tells its events */
  readonly begin: (decided: Decided) => (event: SystemEvent, apps?: readonly AppStatus[]) => void;
  readonly kept?: KeptListeners;
}

/** Reads the files, finds out where the node can stand, and starts it. Undefined when the files have problems, which are shown. */
export async function beginNode(plan: NodePlan): Promise<(Decided & { readonly node: NodeProcess }) | undefined> {
  const json = plan.options.json === true;
  checkAllowances(plan.options.allow ?? []);
  const loaded = await plan.load();
  showProblems(loaded, json);
  const { workspace, files } = loaded;
  if (workspace === undefined) return undefined;
  const chosen = await plan.choose(workspace.node.networkMode);
  const onEvent = plan.begin({ workspace, files, chosen });
  const notes = [...chosen.notes, ...(chosen.mode === "loopback" ? [LOOPBACK_NOTE] : [])];
  for (const note of notes) process.stderr.write(`${pc.yellow("note:")} ${note}\n`);
  const node = await startNode({
    workspace,
    mode: chosen.mode,
    nftables: chosen.nftables,
    prettyLog: !json && process.stderr.isTTY === true,
    version: version(),
    onEvent,
    ...(plan.kept === undefined ? {} : { kept: plan.kept }),
  });
  return { workspace, files, chosen, node };
}
