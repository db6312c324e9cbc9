import { AppError } from "../core/errors.ts";
import { dig, digArguments } from "../dns/dig.ts";
import { digFailure, formatDig, formatDigShort } from "../dns/dig-text.ts";
import { ApiClient } from "./client.ts";
import { EXIT, print, printJson } from "./output.ts";
import type { GlobalOptions } from "./command.ts";

interface Options extends GlobalOptions {
  readonly short?: boolean;
  readonly tcp?: boolean;
  readonly org?: string;
  readonly network?: string;
}

/** Asks the node's DNS (or `@SERVER`) as a client of a network. */
export async function run(options: Options, args: readonly string[]): Promise<number> {
  const { name, type, server: given } = digArguments(args);
  if (name === undefined) {
    process.stderr.write("Error: no name. For example: flycast dig web.flycast\n");
    return EXIT.usage;
  }
  const server = given ?? (await askNode(options));
  const answer = await dig({
    server: parseServer(server),
    name,
    ...(type === undefined ? {} : { type }),
    ...(options.tcp === true ? { tcp: true } : {}),
  });
  if (options.json === true) printJson(answer);
  else {
    const text = options.short === true ? formatDigShort(answer) : formatDig(answer);
    if (text !== "") print(text.trimEnd());
  }
  if (options.short === true && answer.rcode !== "NOERROR") {
    process.stderr.write(`${digFailure(answer)}\n`);
    return EXIT.failed;
  }
  return EXIT.done;
}

async function askNode(options: Options): Promise<string> {
  const { server } = (await new ApiClient(options).post("/flycast/v1/dns", {
    org: options.org,
    network: options.network,
  })) as {
    server: string;
  };
  return server;
}

/** `ADDRESS`, `ADDRESS:PORT`, `[ADDRESS]:PORT`; port 53 where none is given. */
function parseServer(text: string): { host: string; port: number } {
  const match = /^\[([^\]]+)\](?::(\d+))?$|^([^:]+)(?::(\d+))?$/.exec(text);
  if (match === null) return { host: text, port: 53 };
  const host = match[1] ?? match[3];
  if (host === undefined)
    throw new AppError("invalid", `"${text}" is not a server: ADDRESS, ADDRESS:PORT or [ADDRESS]:PORT`);
  return { host, port: Number(match[2] ?? match[4] ?? 53) };
}
