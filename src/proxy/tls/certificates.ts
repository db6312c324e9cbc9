import { X509Certificate } from "node:crypto";
import { readFileSync, statSync } from "node:fs";
import { createSecureContext, type SecureContext } from "node:tls";
import type { TlsOptions } from "../../config/model.ts";
import type { Clock } from "../../core/clock.ts";
import { AppError } from "../../core/errors.ts";
import type { AppName } from "../../core/ids.ts";
import type { Monotonic } from "../../core/units.ts";
import type { App } from "../../registry/model.ts";
import type { Log } from "../phases.ts";
import type { Authority } from "./authority.ts";

/** Files are looked at again at the first handshake after this. */
const LOOK_AGAIN_MS = 1000;
const DAY_MS = 86_400_000;

interface Loaded {
  readonly pair: { readonly cert: string; readonly key: string };
  readonly names: X509Certificate;
  readonly stamp: string;
}

interface FileEntry {
  loaded: Loaded | undefined;
  lookedAt: Monotonic;
  failure: string | undefined;
}

type Versions = TlsOptions["versions"];

/** Which certificate an app shows to a client that asks for a name. */
export class Certificates {
  readonly #authority: () => Authority;
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #files = new Map<string, FileEntry>();
  readonly #own = new Map<AppName, { readonly pair: Loaded["pair"]; readonly until: number }>();
  /** A context holds the keys of session tickets, so the same one must serve a client that comes again. */
  readonly #contexts = new WeakMap<object, Map<string, SecureContext>>();

  constructor(authority: () => Authority, clock: Clock, log: Log) {
    this.#authority = authority;
    this.#clock = clock;
    this.#log = log;
  }

  /**
   * The app's own certificate if it has one for the name (or nothing better is at hand); else, where the port allows it,
   * one for `<app>.flycast` from the local authority.
   * @errors PT05 nothing for that name, PT06 nothing at all
   */
  contextFor(app: App, options: TlsOptions, serverName: string | undefined): SecureContext {
    const own = app.tls === undefined ? undefined : this.#fromFiles(app.tls);
    const isOwn = own !== undefined && (serverName === undefined || own.names.checkHost(serverName) !== undefined);
    if (own !== undefined && (isOwn || !options.defaultSelfSigned)) return this.#context(own.pair, options.versions);
    if (options.defaultSelfSigned && (serverName === undefined || isLocalName(app.name, serverName)))
      return this.#context(this.#selfSigned(app.name), options.versions);
    if (own !== undefined) return this.#context(own.pair, options.versions);
    throw new AppError(options.defaultSelfSigned ? "PT05" : "PT06");
  }

  /** Whether any handshake could succeed. */
  has(app: App, options: TlsOptions): boolean {
    return options.defaultSelfSigned || (app.tls !== undefined && this.#fromFiles(app.tls) !== undefined);
  }

  #fromFiles(files: NonNullable<App["tls"]>): Loaded | undefined {
    const key = `${files.cert}\0${files.key}`;
    let entry = this.#files.get(key);
    const now = this.#clock.now();
    if (entry === undefined) this.#files.set(key, (entry = { loaded: undefined, lookedAt: now, failure: undefined }));
    else if (now - entry.lookedAt < LOOK_AGAIN_MS) return entry.loaded;
    entry.lookedAt = now;
    try {
      const stamp = stampOf(files.cert) + stampOf(files.key);
      if (entry.loaded?.stamp !== stamp) entry.loaded = load(files, stamp);
      entry.failure = undefined;
    } catch (thrown) {
      // A renewal writes two files, one after the other: what was good a moment ago stays until both fit again.
      const failure = thrown instanceof Error ? thrown.message : String(thrown);
      if (failure !== entry.failure) this.#log.warn({ cert: files.cert, failure }, "a certificate cannot be used");
      entry.failure = failure;
    }
    return entry.loaded;
  }

  #selfSigned(app: AppName): Loaded["pair"] {
    const now = this.#clock.wall();
    const known = this.#own.get(app);
    if (known !== undefined && known.until > now) return known.pair;
    const names = [`${app}.flycast`, `${app}.internal`, `*.${app}.internal`];
    const pair = this.#authority().issue(names, new Date(now));
    this.#own.set(app, { pair, until: Math.min(pair.notAfter.getTime() - DAY_MS, now + 30 * DAY_MS) });
    return pair;
  }

  #context(pair: Loaded["pair"], versions: Versions): SecureContext {
    let contexts = this.#contexts.get(pair);
    if (contexts === undefined) this.#contexts.set(pair, (contexts = new Map()));
    const key = versions.join();
    let context = contexts.get(key);
    if (context === undefined) {
      const both = versions.length === 0;
      context = createSecureContext({
        ...pair,
        minVersion: both || versions.includes("TLSv1.2") ? "TLSv1.2" : "TLSv1.3",
        maxVersion: both || versions.includes("TLSv1.3") ? "TLSv1.3" : "TLSv1.2",
      });
      contexts.set(key, context);
    }
    return context;
  }
}

function isLocalName(app: AppName, serverName: string): boolean {
  const name = serverName.toLowerCase();
  return name === `${app}.flycast` || name === `${app}.internal` || name.endsWith(`.${app}.internal`);
}

function stampOf(path: string): string {
  const { mtimeMs, size, ino } = statSync(path);
  return `${mtimeMs} ${size} ${ino};`;
}

function load(files: NonNullable<App["tls"]>, stamp: string): Loaded {
  const pair = { cert: readFileSync(files.cert, "utf8"), key: readFileSync(files.key, "utf8") };
  // Throws when they do not belong together.
  createSecureContext(pair);
  return { pair, names: new X509Certificate(pair.cert), stamp };
}
