import { ApiClient } from "./client.ts";
import { confirm } from "./confirm.ts";
import { EXIT, print, printJson } from "./output.ts";
import type { GlobalOptions } from "./program.ts";
import { table } from "./table.ts";

interface AppJson {
  readonly name: string;
  readonly network: string;
  readonly status: string;
  readonly organization: { readonly slug: string };
}

export async function list(options: GlobalOptions & { org?: string }): Promise<number> {
  const query = options.org === undefined ? "" : `?org_slug=${encodeURIComponent(options.org)}`;
  const { apps } = (await new ApiClient(options).get(`/v1/apps${query}`)) as { apps: readonly AppJson[] };
  if (options.json === true) printJson(apps);
  else
    print(
      table(
        ["Name", "Owner", "Status", "Network"],
        apps.map((app) => [app.name, app.organization.slug, app.status, app.network]),
      ),
    );
  return EXIT.done;
}

export async function create(
  options: GlobalOptions & { org?: string; network?: string; name?: string },
  args: readonly string[],
): Promise<number> {
  const name = args[0] ?? options.name;
  const app = (await new ApiClient(options).post("/v1/apps", {
    name,
    org_slug: options.org,
    network: options.network,
  })) as AppJson;
  if (options.json === true) printJson(app);
  else print(`New app created: ${app.name}`);
  return EXIT.done;
}

export async function destroy(options: GlobalOptions & { yes?: boolean }, args: readonly string[]): Promise<number> {
  const client = new ApiClient(options);
  for (const name of args) {
    if (!(await confirm(`Destroy app ${name} with its Machines and addresses?`, options.yes === true)))
      return EXIT.failed;
    await client.delete(`/v1/apps/${encodeURIComponent(name)}`);
    if (options.json === true) printJson({ destroyed: name });
    else print(`Destroyed app ${name}`);
  }
  return EXIT.done;
}
