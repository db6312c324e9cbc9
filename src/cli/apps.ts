import { AppError } from "../core/errors.ts";
import { ApiClient } from "./client.ts";
import { ask, confirm } from "./ask.ts";
import { EXIT, print, printJson } from "./output.ts";
import { withProgress } from "./progress.ts";
import type { GlobalOptions } from "./command.ts";
import { ago, table } from "./table.ts";

interface AppJson {
  readonly name: string;
  readonly network: string;
  readonly status: string;
  readonly organization: { readonly slug: string };
}

export async function list(options: GlobalOptions & { org?: string }): Promise<number> {
  const query = options.org === undefined ? "" : `?org_slug=${encodeURIComponent(options.org)}`;
  const client = new ApiClient(options);
  const { apps } = (await client.get(`/v1/apps${query}`)) as { apps: readonly AppJson[] };
  if (apps.length === 0 && options.org !== undefined) await mustBeOrganization(client, options.org);
  if (options.json === true) {
    printJson(apps);
    return EXIT.done;
  }
  const deployed = (await client.get("/api/v1/releases/all_current")) as Readonly<Record<string, string>>;
  const latest = (name: string): string => {
    const time = deployed[name];
    return time === undefined ? "" : ago(Date.parse(time), Date.now());
  };
  print(
    table(
      ["Name", "Owner", "Status", "Network", "Latest Deploy"],
      apps.map((app) => [app.name, app.organization.slug, app.status, app.network, latest(app.name)]),
    ),
  );
  return EXIT.done;
}

/** @errors not_found */
async function mustBeOrganization(client: ApiClient, slug: string): Promise<void> {
  const { organizations } = (await client.get("/flycast/v1/orgs")) as { organizations: readonly { slug: string }[] };
  if (organizations.some((org) => org.slug === slug)) return;
  throw new AppError("not_found", `Could not find Organization "${slug}"`, { details: { next: "flycast orgs list" } });
}

export async function create(
  options: GlobalOptions & { org?: string; network?: string; name?: string },
  args: readonly string[],
): Promise<number> {
  const name = args[0] ?? options.name ?? (await ask("App name: ", "Which name? Give it: flycast apps create NAME"));
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
    const gone = client.delete(`/v1/apps/${encodeURIComponent(name)}`);
    await withProgress(`Destroying ${name}`, options.json === true, gone);
    if (options.json === true) printJson({ destroyed: name });
    else print(`Destroyed app ${name}`);
  }
  return EXIT.done;
}
