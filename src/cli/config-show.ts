import { existsSync, statSync } from "node:fs";
import { join, resolve } from "node:path";
import { formatProblems } from "../config/format-problem.ts";
import { flyTomlOf, loadFlyToml } from "../config/load-app.ts";
import { loadWorkspace } from "../config/load.ts";
import { showApp, showWorkspace } from "../config/show.ts";
import { EXIT } from "./output.ts";
import type { GlobalOptions } from "./command.ts";

/** A configuration as it is understood: one internal shape, every default filled in. TOML, or JSON with `--json`. */
export async function run(
  options: GlobalOptions & { allow?: readonly string[] },
  args: readonly string[],
): Promise<number> {
  const cwd = process.cwd();
  const allow = new Set(options.allow);
  const format = options.json === true ? "json" : "toml";
  const path = resolve(cwd, args[0] ?? ".");
  const alone = isFlyToml(path);
  const loaded = alone
    ? await loadFlyToml(flyTomlOf(path), cwd, { allow }).then(({ problems, config, source, shown }) => ({
        problems,
        sources: new Map(source === undefined ? [] : [[shown, source]]),
        text: config === undefined ? undefined : showApp(config, format),
      }))
    : await loadWorkspace(path, { cwd, allow }).then(({ problems, workspace, sources }) => ({
        problems,
        sources,
        text: workspace === undefined ? undefined : showWorkspace(workspace, format),
      }));
  if (loaded.text === undefined) {
    process.stderr.write(
      `${formatProblems(loaded.problems, { color: process.stderr.isTTY, sources: loaded.sources })}\n`,
    );
    return EXIT.failed;
  }
  process.stdout.write(loaded.text.endsWith("\n") ? loaded.text : `${loaded.text}\n`);
  return EXIT.done;
}

/** A file that is no flycast.toml, or a folder that holds only a fly.toml. */
function isFlyToml(path: string): boolean {
  if (existsSync(path) && statSync(path).isDirectory()) {
    return !existsSync(join(path, "flycast.toml")) && existsSync(join(path, "fly.toml"));
  }
  return !/flycast[^/\\]*\.toml$/.test(path);
}
