import { resolve } from "node:path";
import { ApiClient } from "./client.ts";
import { EXIT, print, printJson } from "./output.ts";
import { withProgress } from "./progress.ts";
import type { GlobalOptions } from "./command.ts";

/** The node reads the folder itself: it stands on the same computer. */
export async function run(options: GlobalOptions, args: readonly string[]): Promise<number> {
  const path = resolve(args[0] ?? ".");
  const client = new ApiClient(options);
  const { changed } = (await withProgress(
    `Deploying ${path}: release commands, then one Machine after the other`,
    options.json === true,
    client.post("/flycast/v1/deploy", { path }),
  )) as { changed: readonly string[] };
  if (options.json === true) printJson({ changed });
  else print(changed.length === 0 ? "Nothing changed." : `Deployed ${changed.join(", ")}.`);
  return EXIT.done;
}
