/**
 * Replays that an app allowed to be remembered, so that requests like it go to their target at once (reference §4.5):
 * by path, when the answer said so, or by session, when fly.toml names a cookie or header.
 */
import type { ReplayCacheRule } from "../../config/model.ts";
import type { Clock } from "../../core/clock.ts";
import type { AppName, MachineId } from "../../core/ids.ts";
import { type Milliseconds, seconds } from "../../core/units.ts";
import type { ReplayInstruction } from "./replay-instruction.ts";
import type { RequestHead } from "./request-head.ts";

/** What an answer says of remembering it. */
export interface CacheInstruction {
  /** `/path` or `host/path`, with or without `/*`. Undefined: by session only. */
  readonly prefix: string | undefined;
  readonly ttl: Milliseconds | undefined;
  readonly invalidate: boolean;
  readonly allowBypass: boolean;
}

export interface CachedReplay {
  readonly key: string;
  readonly instruction: ReplayInstruction;
  readonly answered: { readonly app: AppName; readonly machine: MachineId };
  readonly expires: number;
  readonly allowBypass: boolean;
}

const MIN_TTL = seconds(10);
const MAX_ENTRIES = 10_000;
const MAX_KEY = 2048;
const MAX_SEGMENTS = 64;

export class ReplayCache {
  readonly #clock: Clock;
  /** In order of storing: the oldest goes first when there are too many. */
  readonly #entries = new Map<string, CachedReplay>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  get isEmpty(): boolean {
    return this.#entries.size === 0;
  }

  find(app: AppName, request: RequestHead, rules: readonly ReplayCacheRule[]): CachedReplay | undefined {
    const host = hostOf(request.host);
    let path = pathOf(request.target);
    for (let i = 0; i < MAX_SEGMENTS; i++) {
      const found = this.#live(pathKey(app, host, path));
      if (found !== undefined) return found;
      if (path === "") break;
      path = path.slice(0, path.lastIndexOf("/"));
    }
    const key = sessionKey(app, host, request, rules)?.key;
    return key === undefined ? undefined : this.#live(key);
  }

  /** Remembers an instruction where it may be. Returns whether it did. */
  store(
    instruction: ReplayInstruction,
    cache: CacheInstruction,
    answered: { readonly app: AppName; readonly machine: MachineId },
    request: RequestHead,
    rules: readonly ReplayCacheRule[],
  ): boolean {
    const { state, transform, timeout, fallback } = instruction;
    // These belong to one request.
    if ([state, transform, timeout, fallback].some((value) => value !== undefined)) return false;
    const host = hostOf(request.host);
    if (cache.prefix !== undefined && cache.ttl !== undefined && cache.ttl >= MIN_TTL) {
      const prefix = prefixOf(cache.prefix, host);
      // An app may speak for what it was asked, not for other paths or hosts.
      if (prefix === undefined || !isUnder(pathOf(request.target), prefix)) return false;
      return this.#put(pathKey(answered.app, host, prefix), cache.ttl, cache.allowBypass, instruction, answered);
    }
    const session = sessionKey(answered.app, host, request, rules);
    if (session === undefined) return false;
    return this.#put(session.key, session.rule.ttl, session.rule.allowBypass, instruction, answered);
  }

  remove(key: string): void {
    this.#entries.delete(key);
  }

  #put(
    key: string,
    ttl: Milliseconds,
    allowBypass: boolean,
    instruction: ReplayInstruction,
    answered: CachedReplay["answered"],
  ): boolean {
    if (key.length > MAX_KEY) return false;
    this.#entries.delete(key);
    const oldest = this.#entries.size >= MAX_ENTRIES ? this.#entries.keys().next().value : undefined;
    if (oldest !== undefined) this.#entries.delete(oldest);
    this.#entries.set(key, { key, instruction, answered, allowBypass, expires: this.#clock.now() + ttl });
    return true;
  }

  #live(key: string): CachedReplay | undefined {
    const found = this.#entries.get(key);
    if (found === undefined || found.expires > this.#clock.now()) return found;
    this.#entries.delete(key);
    return undefined;
  }
}

/** `wanted` under which path of `host`; undefined when it names another host or no path. */
function prefixOf(wanted: string, host: string): string | undefined {
  const slash = wanted.indexOf("/");
  if (slash === -1 || (slash > 0 && wanted.slice(0, slash).toLowerCase() !== host)) return undefined;
  return wanted.slice(slash).replace(/\/?\*?$/, "");
}

function isUnder(path: string, prefix: string): boolean {
  return path === prefix || path.startsWith(`${prefix}/`);
}

function pathKey(app: AppName, host: string, path: string): string {
  return `${app} path ${host} ${path}`;
}

/** The longest matching rule of fly.toml whose cookie or header the request has. */
function sessionKey(
  app: AppName,
  host: string,
  request: RequestHead,
  rules: readonly ReplayCacheRule[],
): { readonly key: string; readonly rule: ReplayCacheRule } | undefined {
  let best: ReplayCacheRule | undefined;
  for (const rule of rules) {
    if (!request.target.startsWith(rule.pathPrefix)) continue;
    if (best === undefined || rule.pathPrefix.length > best.pathPrefix.length) best = rule;
  }
  if (best === undefined) return undefined;
  const value = best.type === "cookie" ? cookieOf(request.raw, best.name) : fieldOf(request.raw, best.name);
  if (value === undefined || value === "") return undefined;
  return { key: `${app} ${best.type} ${host} ${best.pathPrefix} ${best.name} ${value}`, rule: best };
}

/** Value of the first field of that name in a head that was parsed. */
export function fieldOf(raw: string, name: string): string | undefined {
  const wanted = name.toLowerCase();
  for (const line of raw.split("\r\n").slice(1)) {
    const colon = line.indexOf(":");
    if (colon > 0 && line.slice(0, colon).toLowerCase() === wanted) return line.slice(colon + 1).trim();
  }
  return undefined;
}

function cookieOf(raw: string, name: string): string | undefined {
  for (const pair of (fieldOf(raw, "cookie") ?? "").split(";")) {
    const equals = pair.indexOf("=");
    if (equals > 0 && pair.slice(0, equals).trim() === name) return pair.slice(equals + 1).trim();
  }
  return undefined;
}

function hostOf(host: string): string {
  return host.replace(/:\d*$/, "").toLowerCase();
}

function pathOf(target: string): string {
  const query = target.indexOf("?");
  return query === -1 ? target : target.slice(0, query);
}
