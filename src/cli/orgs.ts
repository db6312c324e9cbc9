import { ApiClient } from "./client.ts";
import { EXIT, print, printJson } from "./output.ts";
import type { GlobalOptions } from "./command.ts";
import { table } from "./table.ts";

interface OrgJson {
  readonly slug: string;
  readonly name: string;
  readonly type: string;
  readonly user: string | null;
  readonly networks: readonly { readonly name: string; readonly prefix: string }[];
}

export async function list(options: GlobalOptions): Promise<number> {
  const { organizations } = (await new ApiClient(options).get("/flycast/v1/orgs")) as {
    organizations: readonly OrgJson[];
  };
  if (options.json === true) printJson(organizations);
  else {
    const rows = organizations.flatMap((org) =>
      org.networks.map((network) => [org.name, org.slug, org.type, network.name, network.prefix]),
    );
    print(table(["Name", "Slug", "Type", "Network", "Prefix"], rows));
  }
  return EXIT.done;
}

interface Change {
  readonly user?: string;
  readonly name?: string;
}

export async function create(options: GlobalOptions & Change, args: readonly string[]): Promise<number> {
  const org = (await new ApiClient(options).post("/flycast/v1/orgs", {
    slug: args[0],
    name: args[1] ?? args[0],
    user: options.user,
  })) as OrgJson;
  if (options.json === true) printJson(org);
  else print(`Organization ${org.slug} created; its default network is ${org.networks[0]?.prefix ?? "?"}`);
  return EXIT.done;
}

export async function update(options: GlobalOptions & Change, args: readonly string[]): Promise<number> {
  const { user, name } = options;
  if (user === undefined && name === undefined) {
    process.stderr.write("Error: nothing to change: give --user or --name\n");
    return EXIT.usage;
  }
  const path = `/flycast/v1/orgs/${encodeURIComponent(args[0] ?? "")}`;
  const org = (await new ApiClient(options).post(path, { user, name })) as OrgJson;
  if (options.json === true) printJson(org);
  else print(`Organization ${org.slug} updated${org.user === null ? "" : `; its API Machines run as ${org.user}`}`);
  return EXIT.done;
}
