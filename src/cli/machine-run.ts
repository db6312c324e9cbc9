import { AppError } from "../core/errors.ts";
import { appOption } from "./app-option.ts";
import { ApiClient } from "./client.ts";
import type { GlobalOptions } from "./command.ts";
import type { MachineJson } from "./machines.ts";
import { EXIT, print, printJson } from "./output.ts";
import { withProgress } from "./progress.ts";
import { servicesOf } from "./published-services.ts";

interface Options extends GlobalOptions {
  readonly app?: string;
  readonly region?: string;
  readonly name?: string;
  readonly env?: readonly string[];
  readonly metadata?: readonly string[];
  readonly port?: readonly string[];
  readonly autostart?: string;
  readonly autostop?: string;
  readonly restart?: string;
  readonly rm?: boolean;
  readonly folder?: string;
  readonly detach?: boolean;
}

/** `flycast machines run COMMAND`: one more Machine of an app, made by the same API call that any client would send. */
export async function run(options: Options, args: readonly string[]): Promise<number> {
  const command = args[0] === "--" ? args.slice(1) : args;
  const client = new ApiClient(options);
  const app = await appOption(client, options);
  const base = `/v1/apps/${encodeURIComponent(app)}/machines`;
  const machine = (await client.post(base, {
    name: options.name,
    region: options.region,
    config: {
      image: "process",
      init: { exec: command },
      env: pairs(options.env, "env"),
      metadata: {
        fly_platform_version: "v2",
        flycast_folder: options.folder ?? process.cwd(),
        ...pairs(options.metadata, "metadata"),
      },
      services: servicesOf(options.port ?? [], {
        autostart: options.autostart !== "false",
        autostop: options.autostop ?? "off",
      }),
      ...(options.restart === undefined ? {} : { restart: { policy: options.restart } }),
      ...(options.rm === true ? { auto_destroy: true } : {}),
    },
  })) as MachineJson;
  const said = options.json !== true;
  // flyctl's words.
  if (said) {
    print(`Success! A Machine has been successfully launched in app ${app}`);
    print(` Machine ID: ${machine.id}\n Instance ID: ${machine.instance_id}\n State: ${machine.state}`);
  }
  if (options.detach !== true) {
    if (said) print("\n Attempting to start machine...\n");
    const end = await withProgress(`Waiting for ${machine.id} (start)`, !said, started(client, base, machine.id));
    if (said) {
      print(end ?? `Machine started, you can connect via the following private ip\n  ${machine.private_ip}`);
    }
  }
  if (!said) printJson(await client.get(`${base}/${machine.id}`));
  return EXIT.done;
}

/** Resolves when it runs, or has done what it was for: then with how it ended. @errors PM02 */
async function started(client: ApiClient, base: string, id: string): Promise<string | undefined> {
  for (;;) {
    try {
      await client.get(`${base}/${id}/wait?state=started,stopped,failed,destroyed&timeout=60`);
      break;
    } catch (error) {
      // Still on its way.
      if (!(error instanceof AppError) || error.code !== "timeout") throw error;
    }
  }
  const { state, events } = (await client.get(`${base}/${id}`)) as MachineJson;
  if (state === "started" || state === "starting") return undefined;
  const exit = events.find((event) => event.type === "exit")?.request?.exit_event;
  if (exit?.exit_code === 0) return `Machine ${id} has ended: exit code 0`;
  if (state === "destroyed" && exit === undefined) return `Machine ${id} has been destroyed`;
  const { because } = (await client.get(`/flycast/v1/machines/${id}/why`)) as { because: string };
  throw new AppError("PM02", `Machine ${id} does not run: ${because}`, {
    details: { next: `flycast logs -m ${id}` },
  });
}

/** @errors invalid */
function pairs(assignments: readonly string[] | undefined, what: string): Readonly<Record<string, string>> {
  return Object.fromEntries(
    (assignments ?? []).map((text) => {
      const equals = text.indexOf("=");
      if (equals < 1) throw new AppError("invalid", `--${what} "${text}": write NAME=VALUE`);
      return [text.slice(0, equals), text.slice(equals + 1)];
    }),
  );
}
