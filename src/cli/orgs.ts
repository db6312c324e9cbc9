import { ApiClient } from "./client.ts";
import { EXIT, print, printJson } from "./output.ts";
import type { GlobalOptions } from "./program.ts";
import { table } from "./table.ts";

interface OrgJson {
  readonly slug: string;
  readonly name: string;
  readonly type: string;
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

export async function create(options: GlobalOptions, args: readonly string[]): Promise<number> {
  const org = (await new ApiClient(options).post("/flycast/v1/orgs", {
    slug: args[0],
    name: args[1] ?? args[0],
  })) as OrgJson;
  if (options.json === true) printJson(org);
  else print(`Organization ${org.slug} created; its default network is ${org.networks[0]?.prefix ?? "?"}`);
  return EXIT.done;
}
