import { readFile, stat } from "node:fs/promises";
import { resolve } from "node:path";
import { shellQuote } from "./shell-split.ts";

/** A command line that the app's folder hints at, and the file that does. Never run unasked. */
export interface CommandHint {
  readonly command: string;
  readonly from: string;
}

// Files beside fly.toml are the user's own, but a core dump named Procfile should not be read.
const MAX_HINT_BYTES = 256 * 1024;

/** The last CMD or ENTRYPOINT of the Dockerfile (a path from `folder`), else `group` in the Procfile, else package.json's start. */
export async function suggestCommand(
  folder: string,
  group: string,
  dockerfile = "Dockerfile",
): Promise<CommandHint | undefined> {
  for (const [name, read] of [
    [dockerfile, dockerfileCommand],
    ["Procfile", (text: string) => procfileCommand(text, group)],
    ["package.json", packageCommand],
  ] as const) {
    const text = await readSmall(resolve(folder, name));
    const command = text === undefined ? undefined : read(text);
    if (command !== undefined) return { command, from: name };
  }
  return undefined;
}

async function readSmall(path: string): Promise<string | undefined> {
  try {
    const info = await stat(path);
    return info.isFile() && info.size <= MAX_HINT_BYTES ? await readFile(path, "utf8") : undefined;
  } catch {
    return undefined;
  }
}

/** What the image of the last stage would run: the entrypoint, then the command. */
export function dockerfileCommand(text: string): string | undefined {
  let entrypoint: string | undefined;
  let cmd: string | undefined;
  for (const line of text.replaceAll(/\\\r?\n/g, " ").split(/\r?\n/)) {
    const match = /^\s*(FROM|CMD|ENTRYPOINT)\s+(.*\S)\s*$/i.exec(line.slice(0, 4096));
    const rest = match?.[2] ?? "";
    switch (match?.[1]?.toUpperCase()) {
      case "FROM":
        // A new stage starts from another image.
        entrypoint = cmd = undefined;
        break;
      case "ENTRYPOINT":
        // Docker forgets a command that came before.
        entrypoint = instruction(rest);
        cmd = undefined;
        break;
      case "CMD":
        cmd = instruction(rest);
        break;
      default:
    }
  }
  const parts = [entrypoint, cmd].filter((part) => part !== undefined && part !== "");
  return parts.length === 0 ? undefined : parts.join(" ");
}

/** `["node", "server.js"]` or the shell form, as one command line. */
function instruction(rest: string): string {
  if (!rest.startsWith("[")) return /[$&|;<>]/.test(rest) ? `sh -c ${shellQuote(rest)}` : rest;
  try {
    const words: unknown = JSON.parse(rest);
    if (Array.isArray(words) && words.every((word) => typeof word === "string")) return words.map(shellQuote).join(" ");
  } catch {
    // Not JSON: Docker takes it for the shell form, and so do we.
  }
  return `sh -c ${shellQuote(rest)}`;
}

/** The line of the group, or of `web` for the group `app`. */
export function procfileCommand(text: string, group: string): string | undefined {
  const lines = new Map<string, string>();
  for (const line of text.split(/\r?\n/)) {
    const match = /^([A-Za-z0-9_-]+):\s*(.*\S)\s*$/.exec(line.slice(0, 4096));
    if (match?.[1] !== undefined && match[2] !== undefined) lines.set(match[1], match[2]);
  }
  return lines.get(group) ?? (group === "app" ? lines.get("web") : undefined);
}

export function packageCommand(text: string): string | undefined {
  try {
    const parsed: unknown = JSON.parse(text);
    const scripts = typeof parsed === "object" && parsed !== null && "scripts" in parsed ? parsed.scripts : undefined;
    const start = typeof scripts === "object" && scripts !== null && "start" in scripts ? scripts.start : undefined;
    if (typeof start !== "string" || start.trim() === "") return undefined;
    // `npm start` puts a process between us and the app that swallows signals; a plain command needs none.
    return /^[\w./@:=-]+( [\w./@:=-]+)*$/.test(start) && /^(node|tsx|deno|bun|python3?)\b/.test(start)
      ? start
      : "npm start";
  } catch {
    return undefined;
  }
}
