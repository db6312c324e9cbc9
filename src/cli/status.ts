import type { AppStatus, NodeStatus } from "../api/status.ts";
import { ApiClient } from "./client.ts";
import { EXIT, print, printable, printJson } from "./output.ts";
import type { GlobalOptions } from "./command.ts";
import { ago, table } from "./table.ts";

export async function run(options: GlobalOptions & { app?: string; watch?: boolean }): Promise<number> {
  const client = new ApiClient(options);
  const show = async (): Promise<string> => {
    if (options.app !== undefined) {
      const app = (await client.get(`/flycast/v1/apps/${encodeURIComponent(options.app)}/status`)) as AppStatus;
      return options.json === true ? JSON.stringify(app, undefined, 2) : formatApp(app, Date.now());
    }
    const node = (await client.get("/flycast/v1/status")) as NodeStatus;
    return options.json === true ? JSON.stringify(node, undefined, 2) : formatNode(node, Date.now());
  };
  if (options.watch !== true) {
    print(await show());
    return EXIT.done;
  }
  let last = "";
  // Ctrl-C is how it is meant to end.
  process.once("SIGINT", () => process.exit(EXIT.done));
  for (;;) {
    const text = await show();
    if (text !== last) {
      if (process.stdout.isTTY && options.json !== true) process.stdout.write("\u001b[H\u001b[2J");
      if (options.json === true) printJson(JSON.parse(text));
      else print(text);
    }
    last = text;
    await new Promise((resolve) => setTimeout(resolve, 500));
  }
}

export function formatNode(node: NodeStatus, now: number): string {
  const head = `flycast ${node.version}, ${node.mode} mode, region ${node.region}, API ${node.api}, DNS ${node.dns.join(" and ") || "none"}`;
  if (node.apps.length === 0) return `${head}\n\nNo apps yet.`;
  return [head, "", serviceTable(node.apps), "", machineTable(node.apps, now)].join("\n");
}

export function formatApp(app: AppStatus, now: number): string {
  return [
    "App",
    `  Name     = ${app.name}`,
    `  Owner    = ${app.org}`,
    `  Network  = ${app.network}`,
    `  Hostname = ${app.name}.flycast`,
    "",
    serviceTable([app]),
    "",
    "Machines",
    machineTable([app], now),
  ].join("\n");
}

/** The table that `up` prints first: where each app is reached. */
export function serviceTable(apps: readonly AppStatus[]): string {
  const rows = apps.flatMap((app) => {
    const state = summary(app);
    if (app.services.length === 0) return [[app.name, "", "", "", "", state]];
    return app.services.map((service) => [
      app.name,
      service.address,
      service.endPort === undefined ? String(service.port) : `${service.port}-${service.endPort}`,
      service.handlers.join(",") || "tcp",
      service.published === undefined ? "" : publishedUrl(service.published, service.handlers),
      state,
    ]);
  });
  return table(["App", "Address", "Port", "Handlers", "Published", "State"], rows);
}

function publishedUrl(at: string, handlers: readonly string[]): string {
  if (!handlers.includes("http")) return at;
  return `${handlers.includes("tls") ? "https" : "http"}://${at}`;
}

/** `2 started, 1 stopped`, or the one word when all are in the same state. */
function summary(app: AppStatus): string {
  const counts = new Map<string, number>();
  for (const machine of app.machines) {
    const state = machine.state === "created" ? "stopped" : machine.state;
    counts.set(state, (counts.get(state) ?? 0) + 1);
  }
  if (counts.size === 0) return "no Machines";
  if (counts.size === 1 && app.machines.length === 1) return [...counts.keys()].join("");
  return [...counts].map(([state, count]) => `${count} ${state}`).join(", ");
}

function machineTable(apps: readonly AppStatus[], now: number): string {
  const rows = apps.flatMap((app) =>
    app.machines.map((machine) => {
      const passing = machine.checks.filter((check) => check.status === "passing").length;
      return [
        machine.processGroup,
        machine.id,
        app.name,
        String(machine.version),
        machine.region,
        machine.state,
        machine.cordoned ? "cordoned" : "",
        machine.checks.length === 0 ? "" : `${passing}/${machine.checks.length} passing`,
        String(machine.inUse),
        ago(Date.parse(machine.since), now),
        printable(machine.because),
      ];
    }),
  );
  return table(
    ["Process", "ID", "App", "Version", "Region", "State", "Role", "Checks", "In use", "Last updated", "Because"],
    rows,
  );
}
