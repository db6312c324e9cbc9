import { ApiClient } from "./client.ts";
import { appOf } from "./machines.ts";
import { EXIT, print, printJson } from "./output.ts";
import type { GlobalOptions } from "./program.ts";

type Options = GlobalOptions & { app?: string; force?: boolean; signal?: string; timeout?: string };
type Verb = "start" | "stop" | "suspend" | "restart" | "cordon" | "uncordon" | "destroy";

// flyctl's own words, which scripts look for.
const DONE: Readonly<Record<Verb, (id: string) => string>> = {
  start: (id) => `${id} has been started`,
  stop: (id) => `${id} has been successfully stopped`,
  suspend: (id) => `${id} has been successfully suspended`,
  restart: (id) => `Machine ${id} restarted successfully!`,
  cordon: (id) => `Machine ${id} is cordoned: it takes no new connections`,
  uncordon: (id) => `Machine ${id} takes connections again`,
  destroy: (id) => `${id} has been destroyed`,
};

/** One verb over one or more Machines. */
export function machineAction(verb: Verb): (options: Options, args: readonly string[]) => Promise<number> {
  return async (options, args) => {
    const client = new ApiClient(options);
    for (const id of args) {
      const base = `/v1/apps/${encodeURIComponent(await appOf(client, id, options))}/machines/${encodeURIComponent(id)}`;
      if (options.json !== true && verb === "stop") print(`Sending kill signal to machine ${id}...`);
      if (verb === "destroy") await client.delete(`${base}?force=${options.force === true}`);
      else await client.post(`${base}/${verb}`, bodyOf(verb, options));
      if (options.json === true) printJson({ id, done: verb });
      else print(DONE[verb](id));
    }
    return EXIT.done;
  };
}

function bodyOf(verb: Verb, options: Options): object {
  if (verb !== "stop") return {};
  return {
    ...(options.signal === undefined ? {} : { signal: options.signal }),
    ...(options.timeout === undefined
      ? {}
      : { timeout: /^\d+$/.test(options.timeout) ? `${options.timeout}s` : options.timeout }),
  };
}
