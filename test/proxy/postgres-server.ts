import { execFile, spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { chownSync, existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { onTestFinished } from "vitest";
import type { DialAddress } from "../../src/network/plane.ts";
import { closedPort } from "./fixture.ts";

const run = promisify(execFile);
const NOBODY = 65534;

/** Where PostgreSQL's programs are; undefined where there are none. */
export function postgresFolder(): string | undefined {
  const versions = "/usr/lib/postgresql";
  if (!existsSync(versions)) return undefined;
  return readdirSync(versions)
    .map((version) => join(versions, version, "bin"))
    .toSorted()
    .findLast((bin) => existsSync(join(bin, "initdb")) && existsSync(join(bin, "psql")));
}

/** PostgreSQL refuses to run as root. */
const who = process.getuid?.() === 0 ? { uid: NOBODY, gid: NOBODY } : {};

/** A data folder for real servers, removed when the test ends. */
export async function makeCluster(bin: string, settings: readonly string[] = []): Promise<PostgresCluster> {
  const folder = mkdtempSync("/tmp/flycast-pg-");
  const stops: (() => Promise<void>)[] = [];
  onTestFinished(async () => {
    for (const stop of stops) await stop();
    rmSync(folder, { recursive: true, force: true });
  });
  if (who.uid !== undefined) chownSync(folder, NOBODY, NOBODY);
  const data = join(folder, "data");
  await run(join(bin, "initdb"), ["-D", data, "-A", "trust", "-U", "postgres", "--no-sync", "-E", "UTF8"], {
    ...who,
    cwd: folder,
  });
  const conf = ["fsync=off", "max_connections=200", `unix_socket_directories='${folder}'`, ...settings];
  writeFileSync(join(data, "postgresql.auto.conf"), `${conf.join("\n")}\n`);
  return new PostgresCluster(bin, folder, data, stops);
}

export class PostgresCluster {
  readonly folder: string;
  readonly data: string;
  starts = 0;
  readonly #bin: string;
  #child: ChildProcess | undefined;

  constructor(bin: string, folder: string, data: string, stops: (() => Promise<void>)[]) {
    this.#bin = bin;
    this.folder = folder;
    this.data = data;
    stops.push(() => this.stop());
  }

  /** Starts a server and gives its address at once, long before it serves. */
  async start(): Promise<readonly DialAddress[]> {
    const address = await closedPort();
    this.starts++;
    this.#child = spawn(
      join(this.#bin, "postgres"),
      ["-D", this.data, "-p", String(address.port), "-h", address.host],
      {
        ...who,
        cwd: this.folder,
        stdio: "ignore",
      },
    );
    return [address];
  }

  /** A fast shutdown. */
  async stop(): Promise<void> {
    const child = this.#child;
    this.#child = undefined;
    if (child === undefined || child.exitCode !== null) return;
    child.kill("SIGINT");
    await once(child, "exit");
  }

  /** Runs one of PostgreSQL's programs and gives what it printed. */
  async client(program: string, args: readonly string[], env: Readonly<Record<string, string>> = {}): Promise<string> {
    const { stdout, stderr } = await run(join(this.#bin, program), [...args], {
      env: { ...process.env, PGUSER: "postgres", PGDATABASE: "postgres", ...env },
      cwd: this.folder,
      maxBuffer: 64 * 1024 * 1024,
    });
    return stdout + stderr;
  }

  spawnClient(program: string, args: readonly string[], env: Readonly<Record<string, string>>): ChildProcess {
    return spawn(join(this.#bin, program), [...args], {
      env: { ...process.env, PGUSER: "postgres", PGDATABASE: "postgres", ...env },
      cwd: this.folder,
      stdio: ["pipe", "pipe", "pipe"],
    });
  }
}
