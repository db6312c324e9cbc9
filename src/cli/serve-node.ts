import { existsSync } from "node:fs";
import type { SystemEvent } from "../api/events.ts";
import type { AppStatus } from "../api/status.ts";
import { ms } from "../core/units.ts";
import { loadNode, loadWorkspace, type LoadedWorkspace } from "../config/load.ts";
import { beginNode, loadOptions, type NodeCommandOptions } from "./begin-node.ts";
import { chooseServeMode } from "./choose-mode.ts";
import { humanLine, jsonLine } from "./event-printer.ts";
import { followSignals, reload, waitForEnd } from "./foreground.ts";
import { EXIT, print } from "./output.ts";
import type { KeeperLink } from "./keeper-link.ts";
import { version } from "./version.ts";

const STATE_DIR = "/var/lib/flycast";
/** Read when no file is named, if it is there. */
const DEFAULT_FILE = "/etc/flycast/flycast.toml";

/** How long connections in use may go on when another process takes over: new ones wait so long. */
const HAND_OVER = ms(10_000);

/** Serves, in a process whose listeners another one keeps. In host mode Machines outlive it, and the next one serves them again. */
export async function serve(options: NodeCommandOptions, args: readonly string[], keeper: KeeperLink): Promise<number> {
  const json = options.json === true;
  // Whoever reads our log may go away: that ends no service.
  process.stdout.removeAllListeners("error").on("error", () => undefined);
  let again: () => void = () => undefined;
  process.on("SIGHUP", () => again());
  const file = args[0] ?? (existsSync(DEFAULT_FILE) ? DEFAULT_FILE : undefined);
  const load = () => loadFor(file, options);
  const say = (event: SystemEvent, apps?: readonly AppStatus[]): void => {
    if (event.event === "ready" && event.mode === "host") keeper.stay();
    if (json) return print(jsonLine(event, new Date()));
    if (event.event === "ready") return print(readyText(event, apps ?? []));
    const line = humanLine(event, new Date());
    if (line !== undefined) print(line);
  };
  const begun = await beginNode({
    options,
    load,
    choose: chooseServeMode,
    begin({ workspace: { node: settings }, chosen }) {
      const where = `${chosen.mode} mode, region ${settings.region}, state in ${settings.stateDir}`;
      const what = `flycast ${version()} starts as process ${process.ppid}: ${where}, ${file ?? "no configuration file"}`;
      if (!json) print(what);
      return say;
    },
    kept: keeper.kept,
  });
  if (begun === undefined) return EXIT.failed;
  const { node, chosen } = begun;
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

async function loadFor(file: string | undefined, options: NodeCommandOptions): Promise<LoadedWorkspace> {
  const how = loadOptions(options);
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
