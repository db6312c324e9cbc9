import { resolve } from "node:path";
import pc from "picocolors";
import { watch } from "chokidar";
import type { SystemEvent } from "../api/events.ts";
import type { AppStatus } from "../api/status.ts";
import { toAppError } from "../core/errors.ts";
import { formatProblems } from "../config/format-problem.ts";
import { loadWorkspace, type LoadedWorkspace } from "../config/load.ts";
import { checkAllowances } from "./allowances.ts";
import { chooseMode, LOOPBACK_NOTE } from "./choose-mode.ts";
import { humanLine, jsonLine } from "./event-printer.ts";
import { errorOf, startNode, type NodeProcess } from "./node-process.ts";
import { EXIT, print, reportError } from "./output.ts";
import type { GlobalOptions } from "./program.ts";
import { serviceTable } from "./status.ts";
import { version } from "./version.ts";

interface Options extends GlobalOptions {
  readonly networkMode?: "auto" | "lab" | "loopback";
  readonly allow?: readonly string[];
}

/** Runs a workspace in the foreground. */
export async function run(options: Options, args: readonly string[]): Promise<number> {
  const json = options.json === true;
  const load = () =>
    loadWorkspace(args[0], {
      cwd: process.cwd(),
      allow: new Set(options.allow),
      overrides: {
        ...(options.networkMode === undefined ? {} : { networkMode: options.networkMode }),
        ...(options.stateDir === undefined ? {} : { stateDir: resolve(options.stateDir) }),
      },
    });
  checkAllowances(options.allow ?? []);
  const loaded = await load();
  showProblems(loaded, json);
  if (loaded.workspace === undefined) return EXIT.failed;

  const chosen = await chooseMode(loaded.workspace.node.networkMode);
  const say = (event: SystemEvent, apps?: readonly AppStatus[]): void => {
    if (json) return print(jsonLine(event, new Date()));
    if (event.event === "ready") return print(readyText(event, apps ?? [], loaded.workspace?.node.region ?? ""));
    const line = humanLine(event, new Date());
    if (line !== undefined) print(line);
  };
  const notes = [...chosen.notes, ...(chosen.mode === "loopback" ? [LOOPBACK_NOTE] : [])];
  for (const note of notes) process.stderr.write(`${pc.yellow("note:")} ${note}\n`);

  const node = await startNode({
    workspace: loaded.workspace,
    mode: chosen.mode,
    nftables: chosen.nftables,
    prettyLog: !json && process.stderr.isTTY === true,
    version: version(),
    onEvent: say,
  });
  const stopWatching = followFiles(loaded.files, async () => {
    const again = await load();
    if (again.workspace === undefined) {
      showProblems(again, json);
      say({
        event: "problem",
        code: "config_invalid",
        message: "the files have errors: the running configuration is unchanged",
      });
      return;
    }
    try {
      say({ event: "reload", changed: await node.apply(again.workspace) });
    } catch (thrown) {
      const error = toAppError(thrown);
      say({ event: "problem", code: error.code, message: `${error.message} The running configuration is unchanged.` });
    }
  });
  followSignals(node, json);

  const { cut, failure } = await node.ended;
  await stopWatching();
  for (const what of cut) process.stderr.write(`cut: ${what}\n`);
  if (failure !== undefined) {
    reportError(errorOf(failure), json);
    return EXIT.failed;
  }
  return EXIT.done;
}

/** The first Ctrl-C drains, the second one cuts. */
function followSignals(node: NodeProcess, json: boolean): void {
  let asked = false;
  const stop = (): void => {
    node.shutdown(asked);
    if (!asked && !json) process.stderr.write("\nStopping: connections in use may finish. Once more to cut them.\n");
    asked = true;
  };
  process.on("SIGINT", stop);
  process.on("SIGTERM", stop);
}

/** Calls back after a change of the files has settled, and on SIGHUP; one call at a time. */
function followFiles(files: readonly string[], changed: () => Promise<void>): () => Promise<void> {
  let running: Promise<void> = Promise.resolve();
  const again = (): void => {
    running = running.then(changed).catch(() => undefined);
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

function showProblems(loaded: LoadedWorkspace, json: boolean): void {
  const shown = loaded.problems.filter((problem) => problem.grade !== "note");
  if (shown.length === 0) return;
  if (json) {
    for (const problem of shown) process.stderr.write(`${JSON.stringify({ event: "config-problem", ...problem })}\n`);
    return;
  }
  const color = pc.isColorSupported && process.stderr.isTTY === true;
  process.stderr.write(`${formatProblems(shown, { color, sources: loaded.sources })}\n`);
}

function readyText(event: SystemEvent & { event: "ready" }, apps: readonly AppStatus[], region: string): string {
  const head = `flycast ${version()} is up in ${event.mode} mode, region ${region}`;
  const where = `API ${event.api}   DNS ${event.dns.join(" and ")}`;
  return [pc.bold(head), where, "", serviceTable(apps), "", pc.dim("Ctrl-C ends everything. What happens:")].join("\n");
}
