import { AppError } from "../core/errors.ts";
import { ApiClient } from "./client.ts";
import { appOf } from "./machines.ts";
import { EXIT, print, printJson } from "./output.ts";
import { withProgress } from "./progress.ts";
import type { GlobalOptions } from "./command.ts";

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
      await withProgress(`Waiting for ${id} (${verb})`, options.json === true, carryOut(client, base, verb, options));
      if (options.json === true) printJson({ id, done: verb });
      else print(DONE[verb](id));
    }
    return EXIT.done;
  };
}

/** What a command leads to. */
const GOAL: Partial<Record<Verb, string>> = {
  start: "started",
  stop: "stopped",
  suspend: "suspended,stopped",
  restart: "started",
  destroy: "destroyed",
};

async function carryOut(client: ApiClient, base: string, verb: Verb, options: Options): Promise<void> {
  const answer = (
    verb === "destroy"
      ? await client.delete(`${base}?force=${options.force === true}`)
      : await client.post(`${base}/${verb}`, bodyOf(verb, options))
  ) as { readonly pending?: boolean };
  // Connections in use may end first, which can take minutes: then the API answers before.
  while (answer.pending === true) {
    try {
      await client.get(`${base}/wait?state=${GOAL[verb] ?? "settled"},failed&timeout=60`);
      return;
    } catch (error) {
      // Still on its way. Ctrl-C ends the waiting, not the command.
      if (!(error instanceof AppError) || error.code !== "timeout") throw error;
    }
  }
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
