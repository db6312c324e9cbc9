import { spawn } from "node:child_process";
import { fileURLToPath } from "node:url";
import { NODE_TOKEN, type TestApi } from "../api/harness.ts";

/** The built program, as people run it: `npm test` builds it first. */
export const FLYCAST = fileURLToPath(new URL("../../dist/cli/flycast.js", import.meta.url));

export interface Ran {
  readonly code: number | null;
  readonly out: string;
  readonly err: string;
}

export interface How {
  readonly cwd?: string;
  readonly env?: Readonly<Record<string, string>>;
  readonly input?: string;
  readonly execArgv?: readonly string[];
}

/** The environment of a command: this one's, without what would steer it, and where the node is. */
export function environment(api: TestApi | undefined, more: How["env"] = {}): Record<string, string> {
  const own = Object.entries(process.env).filter(([name]) => !/^(?:FLY|NO_COLOR|FORCE_COLOR)/.test(name));
  const node = api === undefined ? {} : { FLYCAST_API: `http://127.0.0.1:${api.port()}`, FLYCAST_TOKEN: NODE_TOKEN };
  return { ...(Object.fromEntries(own) as Record<string, string>), ...node, ...more };
}

/** Runs a command of the CLI to its end, without a terminal. */
export function flycast(api: TestApi | undefined, args: readonly string[], how: How = {}): Promise<Ran> {
  const child = spawn(process.execPath, [...(how.execArgv ?? []), FLYCAST, ...args], {
    stdio: ["pipe", "pipe", "pipe"],
    env: environment(api, how.env),
    ...(how.cwd === undefined ? {} : { cwd: how.cwd }),
  });
  let out = "";
  let err = "";
  child.stdout.setEncoding("utf8").on("data", (chunk: string) => (out += chunk));
  child.stderr.setEncoding("utf8").on("data", (chunk: string) => (err += chunk));
  child.stdin.on("error", () => undefined).end(how.input ?? "");
  return new Promise((resolve, reject) => {
    child.on("error", reject);
    child.on("close", (code) => resolve({ code, out, err }));
  });
}
