import { spawn, spawnSync, type ChildProcess } from "node:child_process";
import {
  chmodSync,
  chownSync,
  cpSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

/** The built program, as a newcomer starts it: `npm test` builds it first. */
export const FLYCAST = fileURLToPath(new URL("../../dist/cli/flycast.js", import.meta.url));
export const QUICKSTART = fileURLToPath(new URL("../../examples/quickstart", import.meta.url));

/** Who runs it: root, an ordinary user, or an ordinary user who may not make namespaces. */
export type Who = "root" | "user" | "denied";
const NOBODY = 65_534;
const AS_USER = ["setpriv", `--reuid=${NOBODY}`, `--regid=${NOBODY}`, "--clear-groups"];
// A user namespace in which no further one may be made, entered without a single capability: what hardened systems are like.
const DENY = [
  "unshare",
  "--user",
  "--map-current-user",
  "--keep-caps",
  "sh",
  "-c",
  'echo 0 > /proc/sys/user/max_user_namespaces || exit 9; exec setpriv --ambient-caps=-all --inh-caps=-all --bounding-set=-all --no-new-privs "$@"',
  "sh",
];

export function asWho(who: Who): readonly string[] {
  const isRoot = process.getuid?.() === 0;
  switch (who) {
    case "root":
      return [];
    case "user":
      return isRoot ? AS_USER : [];
    case "denied":
      return [...(isRoot ? AS_USER : []), ...DENY];
  }
}

/** Why this computer cannot play a part; undefined when it can. With CI=true it must. */
export function cannotPlay(who: Who): string | undefined {
  if (who === "root" && process.getuid?.() !== 0) return "not root";
  const [file, ...args] = [...asWho(who), "true"];
  if (spawnSync(file, args).status === 0) return undefined;
  return `cannot become ${who} here`;
}

/** A copy of a folder that belongs to whoever runs it, removed by `clean`. */
export function copyOf(folder: string, who: Who): string {
  const copy = emptyFolder(who);
  cpSync(folder, copy, { recursive: true, filter: (path) => !path.includes(".flycast") });
  own(copy, who);
  return copy;
}

export function emptyFolder(who: Who): string {
  const folder = mkdtempSync(join(tmpdir(), "flycast-e2e-"));
  chmodSync(folder, 0o755);
  own(folder, who);
  return folder;
}

/** Files by path, in a new folder. */
export function workspaceOf(files: Readonly<Record<string, string>>, who: Who): string {
  const folder = emptyFolder(who);
  for (const [path, text] of Object.entries(files)) {
    mkdirSync(dirname(join(folder, path)), { recursive: true });
    writeFileSync(join(folder, path), text);
  }
  own(folder, who);
  return folder;
}

function own(path: string, who: Who): void {
  if (who === "root" || process.getuid?.() !== 0) return;
  chownSync(path, NOBODY, NOBODY);
  for (const entry of readdirSync(path, { withFileTypes: true })) {
    const inner = join(path, entry.name);
    if (entry.isDirectory()) own(inner, who);
    else chownSync(inner, NOBODY, NOBODY);
  }
}

export interface UpEvent {
  readonly event: string;
  readonly time: string;
  readonly app?: string;
  readonly machine?: string;
  readonly [key: string]: unknown;
}

export interface ReadyService {
  readonly app: string;
  readonly address: string;
  readonly port: number;
  readonly published?: string;
}

/** A running `flycast up --json`. */
export class Up {
  readonly process: ChildProcess;
  readonly folder: string;
  readonly who: Who;
  readonly on: readonly string[];
  readonly events: UpEvent[] = [];
  stderr = "";
  readonly exited: Promise<{ code: number | null; signal: NodeJS.Signals | null }>;
  #waiting: {
    test: (event: UpEvent) => boolean;
    from: number;
    resolve: (event: UpEvent) => void;
    reject: (error: Error) => void;
  }[] = [];

  /** `on`: argv to put before all of it, and before every command: another computer's namespaces. */
  constructor(folder: string, who: Who, args: readonly string[] = [], on: readonly string[] = []) {
    this.folder = folder;
    this.who = who;
    this.on = on;
    const [file = process.execPath, ...rest]: readonly string[] = [
      ...on,
      ...asWho(who),
      process.execPath,
      FLYCAST,
      "up",
      folder,
      "--json",
      // As root a way out makes this computer forward packets; tests of it bring a computer of their own.
      "--egress",
      "none",
      ...args,
    ];
    this.process = spawn(file, rest, {
      stdio: ["ignore", "pipe", "pipe"],
      cwd: folder,
      env: { ...process.env, CI: "" },
    });
    let partial = "";
    this.process.stdout?.setEncoding("utf8").on("data", (chunk: string) => {
      const lines = (partial + chunk).split("\n");
      partial = lines.pop() ?? "";
      for (const line of lines.filter((l) => l.trim() !== "")) this.#take(JSON.parse(line) as UpEvent);
    });
    this.process.stderr?.setEncoding("utf8").on("data", (chunk: string) => {
      this.stderr += chunk;
    });
    this.exited = new Promise((resolve) => {
      this.process.once("close", (code, signal) => {
        resolve({ code, signal });
        for (const waiter of this.#waiting.splice(0))
          waiter.reject(new Error(`flycast ended (${code ?? signal}): ${this.stderr}`));
      });
    });
  }

  /** The next event for which this is true, counted from event number `from`. */
  until(test: (event: UpEvent) => boolean, from = 0): Promise<UpEvent> {
    const there = this.events.slice(from).find(test);
    if (there !== undefined) return Promise.resolve(there);
    return new Promise((resolve, reject) => this.#waiting.push({ test, from, resolve, reject }));
  }

  async ready(): Promise<UpEvent & { mode: string; api: string; dns: string[]; services: ReadyService[] }> {
    return (await this.until((event) => event.event === "ready")) as never;
  }

  /** Where a service is published: `127.0.0.1:PORT`. */
  async published(app: string, port: number): Promise<string> {
    const ready = await this.ready();
    const service = ready.services.find((candidate) => candidate.app === app && candidate.port === port);
    if (service?.published === undefined) throw new Error(`${app}:${port} is not published`);
    return service.published;
  }

  count(test: (event: UpEvent) => boolean): number {
    return this.events.filter(test).length;
  }

  async stop(signal: NodeJS.Signals = "SIGINT"): Promise<{ code: number | null; signal: NodeJS.Signals | null }> {
    this.process.kill(signal);
    return this.exited;
  }

  /** A command of the CLI against this node, as its user. */
  cli(...args: string[]): Promise<Ran> {
    return run([...this.on, ...asWho(this.who), process.execPath, FLYCAST, ...args], this.folder);
  }

  #take(event: UpEvent): void {
    this.events.push(event);
    const fit = this.#waiting.filter((waiter) => waiter.test(event));
    this.#waiting = this.#waiting.filter((waiter) => !fit.includes(waiter));
    for (const waiter of fit) waiter.resolve(event);
  }
}

export interface Ran {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

export function run(argv: readonly string[], cwd?: string): Promise<Ran> {
  const [file = "", ...args] = argv;
  return new Promise((resolve) => {
    const child = spawn(file, args, { stdio: ["ignore", "pipe", "pipe"], ...(cwd === undefined ? {} : { cwd }) });
    let out = "";
    let err = "";
    child.stdout.setEncoding("utf8").on("data", (chunk: string) => (out += chunk));
    child.stderr.setEncoding("utf8").on("data", (chunk: string) => (err += chunk));
    child.on("error", (error) => resolve({ code: 127, out, err: err + error.message }));
    child.on("close", (code, signal) => resolve({ code: code ?? (signal === "SIGKILL" ? 137 : 1), out, err }));
  });
}

export async function curl(...args: string[]): Promise<Ran> {
  return run(["curl", "-s", "-m", "30", ...args]);
}

/** Processes whose environment or arguments name this folder: what a node may not leave behind. */
export function leftovers(folder: string): readonly string[] {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid)
    .filter((pid) => {
      for (const file of ["environ", "cmdline", "cwd"]) {
        try {
          const text = file === "cwd" ? readlinkSync(`/proc/${pid}/cwd`) : readFile(`/proc/${pid}/${file}`);
          if (text.includes(folder)) return true;
        } catch {
          // It ended, or is not ours to read.
        }
      }
      return false;
    })
    .map((pid) => `${pid} ${readFile(`/proc/${pid}/cmdline`).replaceAll("\0", " ")}`);
}

function readFile(path: string): string {
  try {
    return readFileSync(path, "latin1");
  } catch {
    return "";
  }
}

/** Waits until a condition holds; fails with its last answer after ten seconds. */
export async function eventually<T>(
  what: () => T | Promise<T>,
  good: (value: T) => boolean,
  limitMs = 10_000,
): Promise<T> {
  const end = Date.now() + limitMs;
  for (;;) {
    const value = await what();
    if (good(value)) return value;
    if (Date.now() > end) throw new Error(`still ${JSON.stringify(value)}`);
    await new Promise((resolve) => setTimeout(resolve, 25));
  }
}

export function clean(folder: string): void {
  rmSync(folder, { recursive: true, force: true });
}
