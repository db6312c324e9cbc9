import { existsSync, readFileSync } from "node:fs";
import { AppError } from "../core/errors.ts";
import type { ApiClient } from "./client.ts";

/** `-a`, else FLY_APP, else the `app` of ./fly.toml, else the only app that there is. @errors invalid */
export async function appOption(client: ApiClient, options: { readonly app?: string }): Promise<string> {
  const given = options.app ?? process.env["FLY_APP"] ?? appOfFlyToml("fly.toml");
  if (given !== undefined) return given;
  const { apps } = (await client.get("/v1/apps")) as { apps: readonly { name: string }[] };
  const [only, ...more] = apps;
  if (only !== undefined && more.length === 0) return only.name;
  throw new AppError("invalid", "Which app? Name it with -a, or run the command in a folder with a fly.toml.", {
    details: { next: "flycast apps list" },
  });
}

/** Only the one key: a file with other mistakes still names its app. */
export function appOfFlyToml(path: string): string | undefined {
  if (!existsSync(path)) return undefined;
  return /^\s*app\s*=\s*["']([^"']+)["']/m.exec(readFileSync(path, "utf8"))?.[1];
}
