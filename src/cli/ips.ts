import { AppError } from "../core/errors.ts";
import { appOption } from "./app-option.ts";
import { ApiClient } from "./client.ts";
import type { MachineJson } from "./machines.ts";
import { EXIT, print, printJson } from "./output.ts";
import type { GlobalOptions } from "./command.ts";
import { ago, table } from "./table.ts";

interface IpJson {
  readonly ip: string;
  readonly region: string;
  readonly created_at: string;
}

type Options = GlobalOptions & { app?: string; org?: string; network?: string; private?: boolean };

export async function list(options: Options): Promise<number> {
  const client = new ApiClient(options);
  const app = await appOption(client, options);
  const { ips } = (await client.get(path(app))) as { ips: readonly IpJson[] };
  if (options.json === true) printJson(ips);
  else print(formatIps(ips, Date.now()));
  return EXIT.done;
}

/** `flycast ips private`: where an app's Machines are themselves. */
export async function listPrivate(options: Options): Promise<number> {
  const client = new ApiClient(options);
  const app = await appOption(client, options);
  const machines = (await client.get(`/v1/apps/${encodeURIComponent(app)}/machines`)) as readonly MachineJson[];
  const list = machines.map((machine) => ({ id: machine.id, region: machine.region, ip: machine.private_ip }));
  if (options.json === true) printJson(list);
  else
    print(
      table(
        ["ID", "Region", "IP"],
        list.map(({ id, region, ip }) => [id, region, ip]),
      ),
    );
  return EXIT.done;
}

export async function allocateV6(options: Options): Promise<number> {
  if (options.private !== true) {
    throw new AppError("unsupported", "This node has no public addresses: allocate a private one.", {
      details: { next: "flycast ips allocate-v6 --private" },
    });
  }
  const client = new ApiClient(options);
  const app = await appOption(client, options);
  const ip = (await client.post(path(app), {
    type: "private_v6",
    region: "",
    org_slug: options.org ?? "",
    network: options.network ?? "",
    service_name: "",
  })) as IpJson;
  if (options.json === true) printJson(ip);
  else print(formatIps([ip], Date.now()));
  return EXIT.done;
}

export async function release(options: Options, args: readonly string[]): Promise<number> {
  const client = new ApiClient(options);
  const app = await appOption(client, options);
  for (const address of args) {
    await client.delete(`${path(app)}/${encodeURIComponent(address)}`);
    if (options.json === true) printJson({ released: address, app });
    else print(`Released ${address} from ${app}`);
  }
  return EXIT.done;
}

function path(app: string): string {
  return `/v1/apps/${encodeURIComponent(app)}/ip_assignments`;
}

/** The columns and the TYPE of the platform's documentation (networking/private-networking). */
function formatIps(ips: readonly IpJson[], now: number): string {
  return table(
    ["Version", "IP", "Type", "Region", "Created At"],
    ips.map((ip) => ["v6", ip.ip, "private", ip.region, ago(Date.parse(ip.created_at), now)]),
  );
}
