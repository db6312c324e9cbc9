import { AppError } from "../core/errors.ts";
import { appOption } from "./app-option.ts";
import { ApiClient } from "./client.ts";
import type { GlobalOptions } from "./command.ts";
import { EXIT, print, printJson } from "./output.ts";
import { ago, table } from "./table.ts";

interface SecretJson {
  readonly name: string;
  readonly digest: string;
  readonly created_at: string;
}

interface Listed {
  readonly secrets: readonly SecretJson[];
}

type Options = GlobalOptions & { readonly app?: string };

export async function list(options: Options): Promise<number> {
  const { client, path } = await place(options);
  const { secrets } = (await client.get(path)) as Listed;
  if (options.json === true) printJson(secrets);
  else {
    const rows = secrets.map((one) => [one.name, one.digest, ago(Date.parse(one.created_at), Date.now())]);
    print(table(["Name", "Digest", "Created At"], rows));
  }
  return EXIT.done;
}

/** Values of arguments can be read by others on this computer while the command runs; `NAME=-` reads standard input. */
export async function set(options: Options, args: readonly string[]): Promise<number> {
  const values: Record<string, string> = {};
  for (const assignment of args) {
    const [, name, value] = /^([^=]+)=(.*)$/s.exec(assignment) ?? [];
    if (name === undefined || value === undefined) {
      // Not repeated: it may be a value whose name was forgotten.
      process.stderr.write("Error: secrets are given as NAME=VALUE\n");
      return EXIT.usage;
    }
    values[name] = value === "-" ? await standardInput() : value;
  }
  return change(options, values, "set");
}

export async function unset(options: Options, args: readonly string[]): Promise<number> {
  return change(options, Object.fromEntries(args.map((name) => [name, null])), "unset");
}

async function change(
  options: Options,
  values: Readonly<Record<string, string | null>>,
  done: "set" | "unset",
): Promise<number> {
  const { client, path, app } = await place(options);
  const answer = (await client.post(path, { values })) as Listed;
  const names = Object.keys(values);
  if (options.json === true) printJson({ [done]: names, secrets: answer.secrets });
  else print(`${names.join(", ")} ${done} for ${app}; its Machines see that when they next start.`);
  return EXIT.done;
}

async function place(options: Options) {
  const client = new ApiClient(options);
  const app = await appOption(client, options);
  return { client, app, path: `/v1/apps/${encodeURIComponent(app)}/secrets` };
}

async function standardInput(): Promise<string> {
  if (process.stdin.isTTY)
    throw new AppError("invalid", "the value is to come from standard input, which is a terminal");
  const chunks: Buffer[] = [];
  for await (const chunk of process.stdin) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks).toString("utf8").replace(/\n$/, "");
}
