import { open, stat } from "node:fs/promises";
import { relative } from "node:path";
import { err, type Result } from "../core/result.ts";
import { fileProblem } from "./findings.ts";
import { tomlProblem } from "./parse-fly-toml.ts";
import type { Problem } from "./problem.ts";
import { decodeToml, MAX_FILE_BYTES, tooLarge } from "./toml-document.ts";

/** A path as people should see it: relative to the working directory where that is shorter. */
export function shownPath(path: string, cwd: string): string {
  const short = relative(cwd, path);
  return short !== "" && short.length < path.length ? short : path;
}

/** The text of a configuration file. Never more than the limit is read, and never from a device or a pipe. */
export async function readConfigFile(path: string, shown: string): Promise<Result<string, Problem>> {
  try {
    // A pipe would be waited for as soon as it is opened, so we look first.
    const info = await stat(path);
    if (!info.isFile()) return err(fileProblem(shown, "error", "unreadable", `${shown} is not a file`));
    if (info.size > MAX_FILE_BYTES) return err(tomlProblem(tooLarge(info.size), shown));
    const handle = await open(path, "r");
    try {
      const buffer = new Uint8Array(MAX_FILE_BYTES + 1);
      let length = 0;
      while (length < buffer.length) {
        const { bytesRead } = await handle.read(buffer, length, buffer.length - length);
        if (bytesRead === 0) break;
        length += bytesRead;
      }
      // It may have grown since: one byte above the limit tells.
      const text = decodeToml(buffer.subarray(0, length));
      return text.ok ? text : err(tomlProblem(text.error, shown));
    } finally {
      await handle.close();
    }
  } catch (thrown) {
    return err(unreadable(thrown, shown));
  }
}

function unreadable(thrown: unknown, shown: string): Problem {
  const code = thrown instanceof Error && "code" in thrown ? String(thrown.code) : "";
  if (code === "ENOENT" || code === "ENOTDIR")
    return fileProblem(shown, "error", "missing-file", `there is no file ${shown}`);
  const message = thrown instanceof Error ? thrown.message : String(thrown);
  return fileProblem(shown, "error", "unreadable", `${shown} cannot be read: ${message}`);
}
