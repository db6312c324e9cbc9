/** The one small file of a Machine's running life. Not synced: after a power loss nothing of what it names runs any more. */
import { readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Exit } from "../driver.ts";

export interface LifeRecord {
  readonly id: string;
  readonly generation: number;
  readonly pid: number;
  /** Field 22 of /proc/PID/stat. */
  readonly startTime: number;
  readonly boot: string;
  readonly pidNamespace: string;
  /** The process that reaps it and will write `exit`. */
  readonly starter: number;
  readonly exit?: Exit;
}

const NAME = "life.json";

/** Written beside and renamed, so that a reader never sees half of it. */
export function writeLife(folder: string, life: LifeRecord): void {
  const path = join(folder, NAME);
  writeFileSync(`${path}.new`, JSON.stringify(life), { mode: 0o600 });
  renameSync(`${path}.new`, path);
}

/** Undefined when there is none, or when it cannot be understood. */
export function readLife(folder: string): LifeRecord | undefined {
  try {
    return parseLife(JSON.parse(readFileSync(join(folder, NAME), "utf8")));
  } catch {
    return undefined;
  }
}

export function removeLife(folder: string): void {
  rmSync(join(folder, NAME), { force: true });
}

function parseLife(value: unknown): LifeRecord | undefined {
  const life = value as Partial<LifeRecord> | null;
  if (typeof life?.id !== "string" || typeof life.boot !== "string" || typeof life.pidNamespace !== "string") {
    return undefined;
  }
  const numbers = [life.generation, life.pid, life.startTime, life.starter];
  if (!numbers.every((n) => Number.isInteger(n)) || Number(life.pid) < 2) return undefined;
  return life as LifeRecord;
}
