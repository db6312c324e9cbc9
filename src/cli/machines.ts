import { ApiClient } from "./client.ts";
import { appOption } from "./app-option.ts";
import { EXIT, print, printJson } from "./output.ts";
import type { GlobalOptions } from "./command.ts";
import { ago, table } from "./table.ts";

/** A Machine as the platform's API gives it, as far as the commands look. */
export interface MachineJson {
  readonly id: string;
  readonly name: string;
  readonly state: string;
  readonly region: string;
  readonly instance_id: string;
  readonly private_ip: string;
  readonly created_at: string;
  readonly updated_at: string;
  readonly cordoned: boolean;
  readonly checks: readonly { readonly name: string; readonly status: string; readonly output: string }[];
  readonly config: {
    readonly image?: string;
    readonly guest?: { readonly cpu_kind?: string; readonly cpus?: number; readonly memory_mb?: number };
    readonly metadata?: Readonly<Record<string, string>>;
  };
  readonly events: readonly {
    readonly type: string;
    readonly status: string;
    readonly source: string;
    readonly timestamp: number;
    readonly request?: { readonly exit_event?: { readonly exit_code: number } };
  }[];
}

/** The app of a Machine: `-a`, else whoever has it. */
export async function appOf(client: ApiClient, id: string, options: { readonly app?: string }): Promise<string> {
  if (options.app !== undefined) return options.app;
  const { app } = (await client.get(`/flycast/v1/machines/${encodeURIComponent(id)}/why`)) as { app: string };
  return app;
}

/** `flycast machines list`, with flyctl's columns. */
export async function run(options: GlobalOptions & { app?: string; quiet?: boolean }): Promise<number> {
  const client = new ApiClient(options);
  const app = await appOption(client, options);
  const list = (await client.get(`/v1/apps/${encodeURIComponent(app)}/machines`)) as readonly MachineJson[];
  if (options.json === true) printJson(list);
  else if (options.quiet === true) for (const machine of list) print(machine.id);
  else print(formatMachines(app, list, Date.now()));
  return EXIT.done;
}

function formatMachines(app: string, list: readonly MachineJson[], now: number): string {
  if (list.length === 0) return `No Machines are available on this app ${app}`;
  const rows = list.map((machine) => {
    const passing = machine.checks.filter((check) => check.status === "passing").length;
    const guest = machine.config.guest;
    return [
      machine.id,
      machine.name,
      machine.state,
      machine.checks.length === 0 ? "" : `${passing}/${machine.checks.length}`,
      machine.region,
      machine.cordoned ? "cordoned" : "",
      machine.config.image ?? "",
      machine.private_ip,
      "",
      ago(Date.parse(machine.created_at), now),
      ago(Date.parse(machine.updated_at), now),
      machine.config.metadata?.["fly_process_group"] ?? "",
      guest === undefined ? "" : `${guest.cpu_kind ?? "shared"}-cpu-${guest.cpus ?? 1}x:${guest.memory_mb ?? 256}MB`,
    ];
  });
  const headers = [
    "ID",
    "Name",
    "State",
    "Checks",
    "Region",
    "Role",
    "Image",
    "IP Address",
    "Volume",
    "Created",
    "Last Updated",
    "Process Group",
    "Size",
  ];
  return `${list.length} machines have been retrieved from app ${app}.\n\n${table(headers, rows)}`;
}
