import { ApiClient } from "./client.ts";
import { EXIT, print, printable, printJson } from "./output.ts";
import type { GlobalOptions } from "./command.ts";

interface Options extends GlobalOptions {
  readonly app?: string;
  readonly machine?: string;
  readonly lines?: string;
  readonly follow?: boolean;
}

/** Milliseconds in which lines of the past would have come. */
const PATIENCE = 1000;

export async function run(options: Options): Promise<number> {
  const query = new URLSearchParams({ lines: options.lines ?? "100" });
  if (options.app !== undefined) query.set("app", options.app);
  if (options.machine !== undefined) query.set("machine", options.machine);
  if (options.follow === true) query.set("follow", "1");
  const abort = new AbortController();
  process.once("SIGINT", () => abort.abort());
  let silent = true;
  const whose = options.machine ?? options.app ?? "Machines";
  const waiting =
    options.follow === true ? setTimeout(() => note(`${whose}: nothing printed yet; waiting`), PATIENCE) : undefined;
  for await (const line of new ApiClient(options).lines(`/flycast/v1/logs?${query.toString()}`, abort.signal)) {
    silent = false;
    clearTimeout(waiting);
    if (options.json === true) printJson(parseLine(line));
    else print(process.stdout.isTTY ? printable(line).replaceAll("\\x09", "\t") : line);
  }
  clearTimeout(waiting);
  if (silent && options.follow !== true) note(`${whose}: nothing printed yet`);
  return EXIT.done;
}

/** Not on standard output: there are only lines of Machines. */
function note(text: string): void {
  process.stderr.write(`${text}\n`);
}

function parseLine(line: string): object {
  const match = /^(\S+) (\S+) \[([0-9a-f]{14})\] (.*)$/s.exec(line);
  if (match === null) return { message: line };
  return { app: match[1], region: match[2], machine: match[3], message: match[4] };
}
