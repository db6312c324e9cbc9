import { accessSync, constants, existsSync, readFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
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

/**
 * `--api` / FLYCAST_API, else the state folder: `--state-dir` / FLYCAST_STATE_DIR, else ./.flycast or that of a folder above
 * (commands are typed in an app's folder, too), else /var/lib/flycast.
 *
 * @errors node_unreachable, no_privilege
 */
export function findNode(options: NodeOptions, env: NodeJS.ProcessEnv, cwd: string): NodeAddress {
  const given = options.stateDir ?? env["FLYCAST_STATE_DIR"];
  const candidates = given === undefined ? [...foldersAbove(cwd), "/var/lib/flycast"] : [resolve(cwd, given)];
  const stateDir =
    candidates.find((dir) => existsSync(join(dir, NODE_FILE))) ?? candidates.find((dir) => existsSync(dir));
  const token = options.token ?? env["FLYCAST_TOKEN"] ?? (stateDir === undefined ? undefined : readToken(stateDir));
  const api = options.api ?? env["FLYCAST_API"];
  if (api !== undefined) return { url: api.includes("://") ? api : `http://${api}`, token, stateDir };
  const file = stateDir === undefined ? undefined : join(stateDir, NODE_FILE);
  if (stateDir !== undefined && !isOpen(stateDir)) {
    throw new AppError("no_privilege", `The state folder ${stateDir} belongs to another user.`, {
      details: { next: "the same command as the user who runs the node, or with --api and --token" },
    });
  }
  if (file === undefined || !existsSync(file)) {
    const where =
      given === undefined ? `${cwd}, in the folders above it or in /var/lib/flycast` : candidates.join(" or ");
    throw new AppError("node_unreachable", `No running node was found in ${where}.`, {
      details: {
        next:
          given === undefined
            ? "flycast up; or the same command in the folder whose `up` runs, or with --state-dir FOLDER/.flycast"
            : "flycast up",
      },
    });
  }
  const parsed: unknown = JSON.parse(readFileSync(file, "utf8"));
  const url = typeof parsed === "object" && parsed !== null && "api" in parsed ? parsed.api : undefined;
  if (typeof url !== "string") throw new AppError("node_unreachable", `${file} is damaged: it has no "api".`);
  return { url, token, stateDir };
}

/** The state folders of a folder and of those above it, nearest first. */
function foldersAbove(folder: string): readonly string[] {
  const above = dirname(folder);
  return [join(folder, ".flycast"), ...(above === folder ? [] : foldersAbove(above))];
}

function isOpen(folder: string): boolean {
  try {
    accessSync(folder, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

function readToken(stateDir: string): string | undefined {
  try {
    return readFileSync(join(stateDir, "token"), "utf8").trim();
  } catch {
    return undefined;
  }
}
