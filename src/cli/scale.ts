import { appOption } from "./app-option.ts";
import { ApiClient } from "./client.ts";
import { EXIT, print, printJson } from "./output.ts";
import { withProgress } from "./progress.ts";
import type { GlobalOptions } from "./command.ts";

interface Options extends GlobalOptions {
  readonly app?: string;
  readonly region?: string;
  readonly processGroup?: string;
}

/** `flycast scale count N`: as many Machines as that, of one process group. */
export async function run(options: Options, args: readonly string[]): Promise<number> {
  const client = new ApiClient(options);
  const app = await appOption(client, options);
  const wish = { count: Number(args[0]), region: options.region, group: options.processGroup };
  const scaled = client.post(`/flycast/v1/apps/${encodeURIComponent(app)}/scale`, wish);
  const result = (await withProgress(`Scaling ${app}`, options.json === true, scaled)) as {
    created: readonly string[];
    destroyed: readonly string[];
  };
  if (options.json === true) {
    printJson(result);
    return EXIT.done;
  }
  for (const id of result.created) print(`+ created ${id}`);
  for (const id of result.destroyed) print(`- destroyed ${id}`);
  if (result.created.length + result.destroyed.length === 0) print(`App ${app} already has that many Machines.`);
  return EXIT.done;
}
