import { basename, dirname, relative, sep } from "node:path";
import pc from "picocolors";
import { watch, type FSWatcher } from "chokidar";
import type { SystemEvent } from "../api/events.ts";
import type { AppStatus } from "../api/status.ts";
import { loadWorkspace, type LoadedWorkspace } from "../config/load.ts";
import type { NodeConfig } from "../config/model.ts";
import { beginNode, loadOptions, type NodeCommandOptions } from "./begin-node.ts";
import { chooseMode } from "./choose-mode.ts";
import { humanLine, jsonLine } from "./event-printer.ts";
import { followSignals, reload, waitForEnd } from "./foreground.ts";
import { EXIT, print } from "./output.ts";
import { serviceTable } from "./status.ts";
import { version } from "./version.ts";

/** Runs a workspace in the foreground. */
export async function run(options: NodeCommandOptions, args: readonly string[]): Promise<number> {
  const json = options.json === true;
  const load = () => loadWorkspace(args[0], loadOptions(options));
  // People read what happened under the table that says to whom.
  let early: string[] | undefined = [];
  let settings: NodeConfig | undefined;
  const say = (event: SystemEvent, apps?: readonly AppStatus[]): void => {
    if (json) return print(jsonLine(event, new Date()));
    if (event.event === "ready") {
      print(readyText(event, apps ?? [], settings));
      for (const line of early?.splice(0) ?? []) print(line);
      early = undefined;
      return;
    }
    const line = humanLine(event, new Date());
    if (line === undefined) return;
    if (early === undefined) print(line);
    else early.push(line);
  };
  const begun = await beginNode({
    options,
    load,
    choose: chooseMode,
    begin({ workspace }) {
      settings = workspace.node;
      return say;
    },
  });
  if (begun === undefined) return EXIT.failed;
  const { node } = begun;
  const stopWatching = followFiles(begun.files, async (files) => {
    const loadAndFollow = async (): Promise<LoadedWorkspace> => {
      const again = await load();
      // An app that was added has files of its own.
      files.add([...again.files]);
      return again;
    };
    await reload(node, loadAndFollow, say, json);
  });
  followSignals(node, () => {
    if (!json) process.stderr.write("\nStopping: connections in use may finish. Once more to cut them.\n");
  });
  await node.ended;
  await stopWatching();
  return waitForEnd(node, json);
}

/** Calls back after a change of the files has settled, and on SIGHUP; one call at a time. */
function followFiles(
  files: readonly string[],
  changed: (watched: Pick<FSWatcher, "add">) => Promise<void>,
): () => Promise<void> {
  let running: Promise<void> = Promise.resolve();
  const again = (): void => {
    running = running.then(() => changed(watcher)).catch(() => undefined);
  };
  const watcher = watch([...files], {
    ignoreInitial: true,
    awaitWriteFinish: { stabilityThreshold: 100, pollInterval: 20 },
  });
  watcher.on("all", again);
  watcher.on("error", () => undefined);
  process.on("SIGHUP", again);
  return () => watcher.close();
}

function readyText(
  event: SystemEvent & { event: "ready" },
  apps: readonly AppStatus[],
  node: Pick<NodeConfig, "region" | "stateDir"> | undefined,
): string {
  const head = `flycast ${version()} is up in ${event.mode} mode, region ${node?.region ?? ""}`;
  const where = `API ${event.api}   DNS ${event.dns.join(" and ")}`;
  const other = otherCommands(node?.stateDir);
  const end = pc.dim(`Ctrl-C ends everything.${other} What happens:`);
  return [pc.bold(head), where, "", serviceTable(apps), "", end].join("\n");
}

/** How the commands in another terminal find this node, where they would not from the same folder. */
function otherCommands(stateDir: string | undefined): string {
  if (stateDir === undefined || isIn(process.cwd(), dirname(stateDir), basename(stateDir))) return "";
  const quoted = (path: string): string => (/^[\w./-]+$/.test(path) ? path : `'${path.replaceAll("'", "'\\''")}'`);
  if (basename(stateDir) !== ".flycast") return ` Elsewhere: flycast --state-dir ${quoted(stateDir)} status.`;
  return ` In another terminal: cd ${quoted(relative(process.cwd(), dirname(stateDir)))} && flycast status.`;
}

function isIn(cwd: string, folder: string, name: string): boolean {
  const way = relative(folder, cwd);
  return name === ".flycast" && way !== ".." && !way.startsWith(`..${sep}`);
}
