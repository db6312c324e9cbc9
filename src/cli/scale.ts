import { appOption } from "./app-option.ts";
import { ApiClient } from "./client.ts";
import type { MachineJson } from "./machines.ts";
import { EXIT, print, printJson } from "./output.ts";
import { withProgress } from "./progress.ts";
import type { GlobalOptions } from "./command.ts";
import { table } from "./table.ts";

interface Options extends GlobalOptions {
  readonly app?: string;
  readonly region?: string;
  readonly processGroup?: string;
}

/** `flycast scale count N`: as many Machines as that, of one process group. */
export async function count(options: Options, args: readonly string[]): Promise<number> {
  const client = new ApiClient(options);
  const app = await appOption(client, options);
  const wish = { count: Number(args[0]), region: options.region, group: options.processGroup };
  const scaled = client.post(`/flycast/v1/apps/${encodeURIComponent(app)}/scale`, wish);
  const result = (await withProgress(`Scaling ${app}`, options.json === true, scaled)) as {
    created: readonly string[];
    destroyed: readonly string[];
  };
  if (options.json === true) {
    printJson(result);
    return EXIT.done;
  }
  for (const id of result.created) print(`+ created ${id}`);
  for (const id of result.destroyed) print(`- destroyed ${id}`);
  if (result.created.length + result.destroyed.length === 0) print(`App ${app} already has that many Machines.`);
  return EXIT.done;
}

interface Group {
  readonly process: string;
  readonly count: number;
  readonly cpuKind: string;
  readonly cpus: number;
  readonly memory: number;
  readonly regions: Readonly<Record<string, number>>;
}

/** `flycast scale show`: process groups, with flyctl's columns. */
export async function show(options: Options): Promise<number> {
  const client = new ApiClient(options);
  const app = await appOption(client, options);
  const machines = (await client.get(`/v1/apps/${encodeURIComponent(app)}/machines`)) as readonly MachineJson[];
  const groups = groupsOf(machines);
  if (options.json === true) {
    printJson(groups);
    return EXIT.done;
  }
  const rows = groups.map((group) => [
    group.process,
    String(group.count),
    group.cpuKind,
    String(group.cpus),
    `${group.memory} MB`,
    Object.entries(group.regions)
      .map(([region, count]) => (count === 1 ? region : `${region}(${count})`))
      .join(","),
  ]);
  print(`VM Resources for app: ${app}\n`);
  print(table(["Name", "Count", "Kind", "CPUs", "Memory", "Regions"], rows));
  return EXIT.done;
}

/** Process groups by name; the size is that of a group's first Machine. */
function groupsOf(machines: readonly MachineJson[]): readonly Group[] {
  const names = [...new Set(machines.map(nameOf))].toSorted();
  return names.map((process) => {
    const members = machines.filter((machine) => nameOf(machine) === process);
    const guest = members[0]?.config.guest;
    const regions: Record<string, number> = {};
    for (const { region } of members) regions[region] = (regions[region] ?? 0) + 1;
    const size = { cpuKind: guest?.cpu_kind ?? "shared", cpus: guest?.cpus ?? 1, memory: guest?.memory_mb ?? 256 };
    return { process, count: members.length, ...size, regions };
  });
}

function nameOf(machine: MachineJson): string {
  return machine.config.metadata?.["fly_process_group"] ?? "app";
}
