import { rm, rename, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { Server } from "node:net";
import { AppError } from "../core/errors.ts";
import type { NodeConfig } from "../config/model.ts";
import type { Outside } from "../network/outside.ts";

/** The file in the state folder that says where a running node's API listens. */
export const NODE_FILE = "node.json";

export async function writeNodeFile(stateDir: string, facts: object): Promise<void> {
  const path = join(stateDir, NODE_FILE);
  await writeFile(`${path}.new`, `${JSON.stringify(facts)}\n`, { mode: 0o600 });
  await rename(`${path}.new`, path);
}

export async function removeNodeFile(stateDir: string): Promise<void> {
  await rm(join(stateDir, NODE_FILE), { force: true });
}

const HOST = "127.0.0.1";
const DEFAULT_PORT = 4280;

/** Where the configuration says; without a word 127.0.0.1:4280 if that is free, else any port. @errors port_taken */
export async function listenApi(outside: Outside, wanted: NodeConfig["api"]): Promise<Server> {
  if (wanted !== undefined) return outside.listen(wanted.host, wanted.port);
  try {
    return await outside.listen(HOST, DEFAULT_PORT);
  } catch (error) {
    if (error instanceof AppError && error.code === "port_taken") return outside.listen(HOST, 0);
    throw error;
  }
}

/** `http://127.0.0.1:4280` of a server that listens. */
export function urlOf(server: Server): string {
  const address = server.address();
  if (typeof address !== "object" || address === null) throw new AppError("internal", "the API does not listen");
  const host = address.family === "IPv6" ? `[${address.address}]` : address.address;
  return `http://${host}:${address.port}`;
}
