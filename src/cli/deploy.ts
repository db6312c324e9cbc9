import { resolve } from "node:path";
import { ApiClient } from "./client.ts";
import { EXIT, print, printJson } from "./output.ts";
import type { GlobalOptions } from "./program.ts";

/** The node reads the folder itself: it stands on the same computer. */
export async function run(options: GlobalOptions, args: readonly string[]): Promise<number> {
  const path = resolve(args[0] ?? ".");
  const client = new ApiClient(options);
  if (options.json !== true && process.stderr.isTTY)
    process.stderr.write(`Deploying ${path}: release commands, then one Machine after the other…\n`);
  const { changed } = (await client.post("/flycast/v1/deploy", { path })) as { changed: readonly string[] };
  if (options.json === true) printJson({ changed });
  else print(changed.length === 0 ? "Nothing changed." : `Deployed ${changed.join(", ")}.`);
  return EXIT.done;
}
