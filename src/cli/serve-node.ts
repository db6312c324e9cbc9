import { existsSync } from "node:fs";
import { resolve } from "node:path";
import pc from "picocolors";
import type { SystemEvent } from "../api/events.ts";
import type { AppStatus } from "../api/status.ts";
import { ms } from "../core/units.ts";
import { loadNode, loadWorkspace, type LoadedWorkspace } from "../config/load.ts";
import { checkAllowances } from "./allowances.ts";
import { chooseServeMode, LOOPBACK_NOTE } from "./choose-mode.ts";
import { showProblems } from "./config-problems.ts";
import { humanLine, jsonLine } from "./event-printer.ts";
import { followSignals, reload, waitForEnd } from "./foreground.ts";
import { startNode } from "./node-process.ts";
import { EXIT, print } from "./output.ts";
import type { KeeperLink } from "./keeper-link.ts";
import type { GlobalOptions } from "./command.ts";
import { version } from "./version.ts";

interface Options extends GlobalOptions {
  readonly networkMode?: "auto" | "host" | "lab" | "loopback";
  readonly egress?: "auto" | "none";
  readonly allow?: readonly string[];
}

const STATE_DIR = "/var/lib/flycast";
/** Read when no file is named, if it is there. */
const DEFAULT_FILE = "/etc/flycast/flycast.toml";

/** How long connections in use may go on when another process takes over: new ones wait so long. */
const HAND_OVER = ms(10_000);

/** Serves, in a process whose listeners another one keeps. In host mode Machines outlive it, and the next one serves them again. */
export async function serve(options: Options, args: readonly string[], keeper: KeeperLink): Promise<number> {
  const json = options.json === true;
  checkAllowances(options.allow ?? []);
  // Whoever reads our log may go away: that ends no service.
  process.stdout.removeAllListeners("error").on("error", () => undefined);
  let again: () => void = () => undefined;
  process.on("SIGHUP", () => again());
  const file = args[0] ?? (existsSync(DEFAULT_FILE) ? DEFAULT_FILE : undefined);
  const load = () => loadFor(file, options);
  const loaded = await load();
  showProblems(loaded, json);
  if (loaded.workspace === undefined) return EXIT.failed;
  const { node: settings } = loaded.workspace;

  const chosen = await chooseServeMode(settings.networkMode);
  const say = (event: SystemEvent, apps?: readonly AppStatus[]): void => {
    if (event.event === "ready" && chosen.mode === "host") keeper.stay();
    if (json) return print(jsonLine(event, new Date()));
    if (event.event === "ready") return print(readyText(event, apps ?? []));
    const line = humanLine(event, new Date());
    if (line !== undefined) print(line);
  };
  if (!json) {
    const where = `${chosen.mode} mode, region ${settings.region}, state in ${settings.stateDir}`;
    print(`flycast ${version()} starts as process ${process.ppid}: ${where}, ${file ?? "no configuration file"}`);
  }
  const notes = [...chosen.notes, ...(chosen.mode === "loopback" ? [LOOPBACK_NOTE] : [])];
  for (const note of notes) process.stderr.write(`${pc.yellow("note:")} ${note}\n`);

  const node = await startNode({
    workspace: loaded.workspace,
    mode: chosen.mode,
    nftables: chosen.nftables,
    prettyLog: !json && process.stderr.isTTY === true,
    version: version(),
    onEvent: say,
    kept: keeper.kept,
  });
  keeper.onLeave(() => {
    keeper.kept.freeze();
    node.shutdown(false, HAND_OVER);
  });
  let reloading: Promise<void> = Promise.resolve();
  again = () => {
    reloading = reloading.then(() => reload(node, load, say, json)).catch(() => undefined);
  };
  followSignals(node, () => {
    const stay = chosen.mode === "host" ? " Machines go on without the node." : "";
    if (!json) print(`Stopping: connections in use may finish; a second signal cuts them.${stay}`);
  });
  return waitForEnd(node, json);
}

async function loadFor(file: string | undefined, options: Options): Promise<LoadedWorkspace> {
  const how = {
    cwd: process.cwd(),
    allow: new Set(options.allow),
    overrides: {
      ...(options.networkMode === undefined ? {} : { networkMode: options.networkMode }),
      ...(options.egress === undefined ? {} : { egress: options.egress }),
      ...(options.stateDir === undefined ? {} : { stateDir: resolve(options.stateDir) }),
    },
  };
  if (file !== undefined) return loadWorkspace(file, { ...how, service: { stateDir: STATE_DIR } });
  const { node, ...rest } = await loadNode(undefined, how);
  return { ...rest, workspace: node === undefined ? undefined : { file: undefined, node, apps: [] } };
}

function readyText(event: SystemEvent & { event: "ready" }, apps: readonly AppStatus[]): string {
  const machines = apps.flatMap((app) => app.machines);
  const running = machines.filter((machine) => machine.state === "started").length;
  const what = `${apps.length} apps, ${machines.length} Machines of which ${running} run`;
  return `ready: API ${event.api}, DNS ${event.dns.join(" and ")}, ${what}`;
}
