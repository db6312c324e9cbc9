import { stat } from "node:fs/promises";
import { join } from "node:path";
import { fileProblem } from "./findings.ts";
import type { Problem } from "./problem.ts";
import { shownPath } from "./read-file.ts";

/** What a path on the command line stands for. */
export type Target =
  | { readonly kind: "flycast" | "fly"; readonly file: string }
  | { readonly kind: "problem"; readonly problem: Problem; readonly files: readonly string[] };

// fly.toml, fly.staging.toml, web-fly.toml; any other name is a flycast.toml.
const FLY_TOML = /(?:^|[/\\_.-])fly(?:[._-][^/\\]*)?\.toml$/;

/** `path`: absolute. `flycast`: a flycast.toml. `fly`: a fly.toml alone. */
export async function findTarget(path: string, cwd: string): Promise<Target> {
  const shown = shownPath(path, cwd);
  const kind = await kindOfPath(path);
  if (kind === "file") return { kind: FLY_TOML.test(path) ? "fly" : "flycast", file: path };
  const candidates = [join(path, "flycast.toml"), join(path, "fly.toml")];
  const refuse = (message: string, remedy?: string): Target => ({
    kind: "problem",
    problem: fileProblem(shown, "error", "missing-file", message, remedy),
    files: kind === "folder" ? candidates : [path],
  });
  if (kind === undefined) return refuse(`there is no file or folder ${shown}`);
  if (kind === "other") return refuse(`${shown} is neither a file nor a folder`);
  for (const file of candidates) {
    if ((await kindOfPath(file)) === undefined) continue;
    return { kind: file.endsWith("flycast.toml") ? "flycast" : "fly", file };
  }
  return refuse(`${shown} holds neither flycast.toml nor fly.toml`, "name a folder that holds one of them");
}

async function kindOfPath(path: string): Promise<"file" | "folder" | "other" | undefined> {
  try {
    const info = await stat(path);
    return info.isFile() ? "file" : info.isDirectory() ? "folder" : "other";
  } catch {
    return undefined;
  }
}

/** `path` itself, or the flycast.toml of that folder. */
export async function flycastTomlOf(path: string): Promise<string> {
  return (await kindOfPath(path)) === "folder" ? join(path, "flycast.toml") : path;
}
