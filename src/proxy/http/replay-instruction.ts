/** What an app asks for when it answers with `fly-replay` (reference §4.4). Checked like a client's bytes: an app is no authority. */
import { type AppName, type MachineId, parseAppName, parseMachineId, type RegionCode } from "../../core/ids.ts";
import { err, ok, type Result } from "../../core/result.ts";
import { type Milliseconds, ms, seconds } from "../../core/units.ts";
import type { CacheInstruction } from "./replay-cache.ts";
import { expandRegions } from "./region-list.ts";

export interface ReplayInstruction {
  /** Undefined: anywhere. */
  readonly regions: readonly RegionCode[] | undefined;
  readonly instance: MachineId | undefined;
  readonly preferInstance: MachineId | undefined;
  /** Undefined: the app that answered. */
  readonly app: AppName | undefined;
  readonly state: string | undefined;
  /** Not the Machine that answered. */
  readonly elsewhere: boolean;
  /** To find and reach the target. */
  readonly timeout: Milliseconds | undefined;
  readonly fallback: "force_self" | "prefer_self" | undefined;
  readonly transform: ReplayTransform | undefined;
  readonly cache: CacheInstruction | undefined;
}

export interface ReplayTransform {
  readonly path: string | undefined;
  /** Lower case. */
  readonly deleteHeaders: readonly string[];
  readonly setHeaders: readonly { readonly name: string; readonly value: string }[];
}

export const REPLAY_CONTENT_TYPE = "application/vnd.fly.replay+json";
/** An instruction is a few fields; what is larger is no instruction. */
export const MAX_REPLAY_JSON = 64 * 1024;

type Fields = Readonly<Record<string, unknown>>;

/** `region=iad,ord;app=other;state="a;b"`. Keys that nobody knows are passed over. */
export function parseReplayHeader(value: string): Result<ReplayInstruction, string> {
  const fields: Record<string, string> = {};
  for (const part of splitOutsideQuotes(value)) {
    if (part.trim() === "") continue;
    const equals = part.indexOf("=");
    if (equals === -1) return err(`"${part.trim()}" is not of the form key=value`);
    const text = part.slice(equals + 1).trim();
    const quoted = text.length >= 2 && text.startsWith('"') && text.endsWith('"');
    fields[part.slice(0, equals).trim().toLowerCase()] = quoted ? text.slice(1, -1) : text;
  }
  if (Object.keys(fields).length === 0) return err("it is empty");
  return fromFields(fields);
}

export function parseReplayJson(text: string): Result<ReplayInstruction, string> {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return err("it is not JSON");
  }
  return isObject(value) ? fromFields(value) : err("it is not an object");
}

function fromFields(fields: Fields): Result<ReplayInstruction, string> {
  const text = (key: string): string | undefined => {
    const value = fields[key];
    return typeof value === "string" && value !== "" ? value : undefined;
  };
  for (const key of ["region", "instance", "prefer_instance", "app", "state", "timeout", "fallback"]) {
    const value = fields[key];
    if (value !== undefined && value !== null && typeof value !== "string") return err(`${key} is not a string`);
  }

  let regions: readonly RegionCode[] | undefined;
  const region = text("region");
  if (region !== undefined) {
    const expanded = expandRegions(region);
    if (expanded === undefined) return err("region is not a list of region codes");
    regions = expanded === "any" ? undefined : expanded;
  }
  const instance = optional(text("instance"), parseMachineId);
  if (!instance.ok) return instance;
  const preferInstance = optional(text("prefer_instance"), parseMachineId);
  if (!preferInstance.ok) return preferInstance;
  const app = optional(text("app"), parseAppName);
  if (!app.ok) return app;
  const state = text("state");
  if (state !== undefined && (state.length > 4096 || !/^[\x20-\x7e]*$/.test(state))) {
    return err("state is longer than 4096 bytes or has bytes that no header may have");
  }
  const timeout = optional(text("timeout"), parseTimeout);
  if (!timeout.ok) return timeout;
  const fallback = text("fallback");
  if (fallback !== undefined && fallback !== "force_self" && fallback !== "prefer_self") {
    return err("fallback is neither force_self nor prefer_self");
  }
  const transform = readTransform(fields["transform"]);
  if (!transform.ok) return transform;
  return ok({
    regions,
    instance: instance.value,
    preferInstance: preferInstance.value,
    app: app.value,
    state,
    elsewhere: fields["elsewhere"] === true || fields["elsewhere"] === "true",
    timeout: timeout.value,
    fallback,
    transform: transform.value,
    cache: readCache(fields),
  });
}

function readTransform(value: unknown): Result<ReplayTransform | undefined, string> {
  if (value === undefined || value === null) return ok(undefined);
  if (!isObject(value)) return err("transform is not an object");
  const path = value["path"];
  if (path !== undefined && (typeof path !== "string" || !path.startsWith("/")))
    return err("transform.path is no path");
  const deleted = value["delete_headers"] ?? [];
  if (!Array.isArray(deleted) || !deleted.every((name) => typeof name === "string")) {
    return err("transform.delete_headers is not a list of names");
  }
  const set = value["set_headers"] ?? [];
  if (!Array.isArray(set)) return err("transform.set_headers is not a list");
  const setHeaders: { name: string; value: string }[] = [];
  for (const entry of set as unknown[]) {
    if (!isObject(entry) || typeof entry["name"] !== "string" || typeof entry["value"] !== "string") {
      return err("transform.set_headers is not a list of {name, value}");
    }
    setHeaders.push({ name: entry["name"], value: entry["value"] });
  }
  return ok({ path, deleteHeaders: deleted.map((name: string) => name.toLowerCase()), setHeaders });
}

/** `cache: {prefix, ttl, invalidate, allow_bypass}`; `ttl` in seconds. What is no instruction is none: a cache is a help, no promise. */
function readCache(fields: Fields): CacheInstruction | undefined {
  const cache = fields["cache"];
  if (!isObject(cache)) return undefined;
  const { prefix, ttl, invalidate } = cache;
  return {
    prefix: typeof prefix === "string" ? prefix : undefined,
    ttl: typeof ttl === "number" && ttl > 0 ? seconds(ttl) : undefined,
    invalidate: invalidate === true,
    allowBypass: (cache["allow_bypass"] ?? fields["allow_bypass"]) === true,
  };
}

/** The header form of the same: `fly-replay-cache`, `fly-replay-cache-ttl-secs`, `fly-replay-cache-allow-bypass`. */
export function parseCacheHeaders(headers: ReadonlyMap<string, string>): CacheInstruction | undefined {
  const cache = headers.get("fly-replay-cache");
  if (cache === undefined) return undefined;
  const ttl = headers.get("fly-replay-cache-ttl-secs") ?? "";
  return {
    prefix: cache === "invalidate" ? undefined : cache,
    ttl: /^\d{1,8}$/.test(ttl) ? seconds(Number(ttl)) : undefined,
    invalidate: cache === "invalidate",
    allowBypass: headers.get("fly-replay-cache-allow-bypass") === "yes",
  };
}

function optional<T>(
  text: string | undefined,
  parse: (text: string) => Result<T, string>,
): Result<T | undefined, string> {
  return text === undefined ? ok(undefined) : parse(text);
}

/** `10s`, `800ms`. */
function parseTimeout(text: string): Result<Milliseconds, string> {
  const match = /^(\d{1,6})(ms|s)$/.exec(text);
  if (match === null) return err("timeout is not of the form 10s or 800ms");
  return ok(ms(Number(match[1]) * (match[2] === "s" ? 1000 : 1)));
}

function splitOutsideQuotes(value: string): string[] {
  const parts: string[] = [];
  let quoted = false;
  let start = 0;
  for (let i = 0; i < value.length; i++) {
    const char = value[i];
    if (char === '"') quoted = !quoted;
    else if (char === ";" && !quoted) {
      parts.push(value.slice(start, i));
      start = i + 1;
    }
  }
  parts.push(value.slice(start));
  return parts;
}

function isObject(value: unknown): value is Fields {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
