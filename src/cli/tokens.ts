import { ApiClient } from "./client.ts";
import { EXIT, print, printJson } from "./output.ts";
import type { GlobalOptions } from "./command.ts";
import { ago, table } from "./table.ts";

interface TokenJson {
  readonly id: string;
  readonly name: string;
  readonly org: string | null;
  readonly created_at: string;
  /** Only in the answer that made it. */
  readonly token?: string;
}

export async function list(options: GlobalOptions): Promise<number> {
  const { tokens } = (await new ApiClient(options).get("/flycast/v1/tokens")) as { tokens: readonly TokenJson[] };
  if (options.json === true) printJson(tokens);
  else {
    const rows = tokens.map((t) => [t.id, t.name, t.org ?? "(node)", ago(Date.parse(t.created_at), Date.now())]);
    print(table(["ID", "Name", "Org", "Created At"], rows));
  }
  return EXIT.done;
}

/** Prints the token once; only its hash is kept. */
export async function create(options: GlobalOptions & { org?: string; name?: string }): Promise<number> {
  const made = (await new ApiClient(options).post("/flycast/v1/tokens", {
    org: options.org ?? "personal",
    name: options.name ?? "cli",
  })) as TokenJson;
  if (options.json === true) printJson(made);
  else print(made.token ?? "");
  return EXIT.done;
}

export async function revoke(options: GlobalOptions, args: readonly string[]): Promise<number> {
  const client = new ApiClient(options);
  for (const id of args) {
    await client.delete(`/flycast/v1/tokens/${encodeURIComponent(id)}`);
    if (options.json === true) printJson({ revoked: id });
    else print(`Revoked token ${id}`);
  }
  return EXIT.done;
}
