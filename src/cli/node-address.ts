import { existsSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { AppError } from "../core/errors.ts";

/** Where a command finds its node, and the token to show. */
export interface NodeAddress {
  readonly url: string;
  readonly token: string | undefined;
  readonly stateDir: string | undefined;
}

export interface NodeOptions {
  readonly api?: string | undefined;
  readonly stateDir?: string | undefined;
  readonly token?: string | undefined;
}

// The same name as in api/node-file.ts, which a command does not load.
const NODE_FILE = "node.json";

/** `--api` / FLYCAST_API, else the state folder: `--state-dir` / FLYCAST_STATE_DIR, else ./.flycast, else /var/lib/flycast. */
export function findNode(options: NodeOptions, env: NodeJS.ProcessEnv, cwd: string): NodeAddress {
  const given = options.stateDir ?? env["FLYCAST_STATE_DIR"];
  const candidates = given === undefined ? [join(cwd, ".flycast"), "/var/lib/flycast"] : [resolve(cwd, given)];
  const stateDir =
    candidates.find((dir) => existsSync(join(dir, NODE_FILE))) ?? candidates.find((dir) => existsSync(dir));
  const token = options.token ?? env["FLYCAST_TOKEN"] ?? (stateDir === undefined ? undefined : readToken(stateDir));
  const api = options.api ?? env["FLYCAST_API"];
  if (api !== undefined) return { url: api.includes("://") ? api : `http://${api}`, token, stateDir };
  const file = stateDir === undefined ? undefined : join(stateDir, NODE_FILE);
  if (file === undefined || !existsSync(file)) {
    throw new AppError(
      "node_unreachable",
      `No running node was found: there is no ${NODE_FILE} in ${candidates.join(" or ")}.`,
      {
        details: { next: given === undefined ? "flycast up, or name the state folder with --state-dir" : "flycast up" },
      },
    );
  }
  const parsed: unknown = JSON.parse(readFileSync(file, "utf8"));
  const url = typeof parsed === "object" && parsed !== null && "api" in parsed ? parsed.api : undefined;
  if (typeof url !== "string") throw new AppError("node_unreachable", `${file} is damaged: it has no "api".`);
  return { url, token, stateDir };
}

function readToken(stateDir: string): string | undefined {
  try {
    return readFileSync(join(stateDir, "token"), "utf8").trim();
  } catch {
    return undefined;
  }
}
