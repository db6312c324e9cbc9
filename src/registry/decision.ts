import { AppError } from "../core/errors.ts";
import type { AppName, HostId, MachineId, NetworkId } from "../core/ids.ts";
import { err, type Result } from "../core/result.ts";
import type { WallTime } from "../core/units.ts";
import type { CatalogueEvent } from "./events.ts";

/** Values that a command may need and that nobody can compute. */
export interface Draws {
  readonly now: WallTime;
  readonly host: HostId;
  random(bytes: number): Uint8Array;
  ulid(): string;
}

/** `value` is what the command answers once `events` are durable. No events: nothing changes. */
export type Decision<T> = Result<{ readonly events: readonly CatalogueEvent[]; readonly value: T }, AppError>;

/** Names for people: printable, one line. */
export const TITLE = /^[^\p{Cc}\p{Zl}\p{Zp}]{1,100}$/u;
// A second drawing meets the first by chance once in billions: this many in a row mean that the source is broken.
const DRAWS = 64;

/** The first candidate that is free; undefined when the source seems to be broken. */
export function draw<T>(from: () => T | undefined, isFree: (candidate: T) => boolean): T | undefined {
  for (let i = 0; i < DRAWS; i++) {
    const candidate = from();
    if (candidate !== undefined && isFree(candidate)) return candidate;
  }
  return undefined;
}

export function readU32(bytes: Uint8Array): number {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength).getUint32(0);
}

export function refuse(code: "not_found" | "name_taken" | "conflict" | "invalid" | "exhausted", message: string) {
  return err(new AppError(code, message));
}

export function noApp(name: AppName) {
  return refuse("not_found", `there is no app "${name}"`);
}

export function noNetwork(id: NetworkId) {
  return refuse("not_found", `there is no network ${id.toString(16).padStart(8, "0")}`);
}

export function noMachine(id: MachineId) {
  return refuse("not_found", `there is no Machine ${id}`);
}
