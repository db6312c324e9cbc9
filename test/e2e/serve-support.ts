/** A computer for `flycast serve`: network, mounts, /run and processes of its own, so that this one is left alone. */
import { spawn, spawnSync, type ChildProcess } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { once } from "node:events";
import { join } from "node:path";
import { probeLab } from "../../src/network/linux/probe.ts";
import { eventually, FLYCAST, run, type Ran, type UpEvent } from "./support.ts";

const SPACES = ["--net", "--mount", "--uts", "--pid", "--fork", "--kill-child", "--mount-proc"];
// Process 1 reaps orphans, which `exec sleep` would not.
const INIT = "mount -t tmpfs -o mode=755 tmpfs /run && ip link set lo up && echo ready; sleep 1000000 & wait";

/** Why there can be no such computer here; undefined when there can. With CI=true there must. */
export async function cannotServe(): Promise<string | undefined> {
  if (process.getuid?.() !== 0) return "not root";
  const probe = await probeLab();
  if (!probe.ok) return `${probe.step}: ${probe.remedy}`;
  return spawnSync("unshare", [...SPACES, "true"]).status === 0 ? undefined : "no namespaces for a computer";
}

export class Computer {
  readonly #unshare: ChildProcess;
  readonly #init: number;

  private constructor(unshare: ChildProcess, init: number) {
    this.#unshare = unshare;
    this.#init = init;
  }

  static async boot(): Promise<Computer> {
    const unshare = spawn("setpriv", ["--pdeathsig", "KILL", "unshare", ...SPACES, "sh", "-c", INIT], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    await once(unshare.stdout!, "data");
    const children = readFileSync(`/proc/${unshare.pid}/task/${unshare.pid}/children`, "utf8");
    return new Computer(unshare, Number(children.trim()));
  }

  /** argv that runs a command there, in a folder. */
  inside(folder: string, ...command: readonly string[]): readonly string[] {
    return [
      "nsenter",
      ...["net", "mnt", "pid"].map((kind) => `--${kind === "mnt" ? "mount" : kind}=/proc/${this.#init}/ns/${kind}`),
      "env",
      "-C",
      folder,
      ...command,
    ];
  }

  run(...command: readonly string[]): Promise<Ran> {
    return run(this.inside("/", ...command));
  }

  async kill(signal: string, ...pids: readonly number[]): Promise<void> {
    await this.run("kill", `-${signal}`, ...pids.map(String));
  }

  /** Processes there, as `pid command`, without process 1, its sleep and the question itself. */
  async processes(): Promise<readonly string[]> {
    const { out } = await this.run("ps", "-eo", "pid=,stat=,args=");
    return out
      .split("\n")
      .map((line) => line.trim())
      .filter((line) => line !== "" && !/^\d+\s+Z/.test(line) && !/sleep 1000000|ps -eo/.test(line));
  }

  /** Links, addresses, routes, rules, resolver and what lies in /run: what host mode may leave nothing in. */
  async look(): Promise<string> {
    const questions = [
      ["ip", "-o", "addr"],
      ["ip", "route", "show", "table", "all"],
      ["ip", "-6", "route", "show", "table", "all"],
      ["ip", "rule"],
      ["ip", "-6", "rule"],
      ["nft", "list", "ruleset"],
      ["sysctl", "-a", "-r", "^net.ipv[46].(conf.(all|default|lo)|ip_)"],
      ["sh", "-c", "ls -d /run/flycast /run/netns/* 2>/dev/null"],
    ];
    const answers = await Promise.all(questions.map(async (question) => (await this.run(...question)).out));
    return answers.join("\n");
  }

  async off(): Promise<void> {
    const gone = once(this.#unshare, "exit");
    this.#unshare.kill("SIGKILL");
    await gone;
  }
}

/** A running `flycast serve --json` on a computer. */
export class Service {
  readonly events: UpEvent[] = [];
  stderr = "";
  readonly exited: Promise<number | null>;
  readonly #computer: Computer;
  readonly #folder: string;
  readonly #pidFile: string;
  #ended = false;

  constructor(
    computer: Computer,
    folder: string,
    args: readonly string[] = ["."],
    env: Readonly<Record<string, string>> = {},
  ) {
    this.#computer = computer;
    this.#folder = folder;
    this.#pidFile = join(folder, `pid-${Math.random().toString(36).slice(2)}`);
    const command = ["sh", "-c", 'echo $$ > "$0"; exec "$@"', this.#pidFile];
    const [file = "", ...rest] = computer.inside(
      folder,
      ...command,
      process.execPath,
      FLYCAST,
      "serve",
      ...args,
      "--json",
    );
    const child = spawn(file, rest, { stdio: ["ignore", "pipe", "pipe"], env: { ...process.env, CI: "", ...env } });
    let partial = "";
    child.stdout.setEncoding("utf8").on("data", (chunk: string) => {
      const lines = (partial + chunk).split("\n");
      partial = lines.pop() ?? "";
      for (const line of lines.filter((l) => l.trim() !== "")) this.events.push(JSON.parse(line) as UpEvent);
    });
    child.stderr.setEncoding("utf8").on("data", (chunk: string) => (this.stderr += chunk));
    this.exited = new Promise((resolve) => {
      child.once("exit", (code) => {
        this.#ended = true;
        resolve(code);
      });
    });
  }

  /** As the computer numbers it. */
  get pid(): number {
    return existsSync(this.#pidFile) ? Number(readFileSync(this.#pidFile, "utf8")) : 0;
  }

  async until(test: (event: UpEvent) => boolean): Promise<UpEvent> {
    return (await eventually(
      () => {
        if (this.#ended) throw new Error(`flycast serve ended: ${this.stderr}`);
        return this.events.find(test);
      },
      (found) => found !== undefined,
      30_000,
    )) as UpEvent;
  }

  async ready(): Promise<this> {
    await this.until(({ event }) => event === "ready");
    return this;
  }

  /** The first address of an app. */
  address(app: string): string {
    const ready = this.events.find(({ event }) => event === "ready") as { services?: unknown } | undefined;
    const services = (ready?.services ?? []) as { app: string; address: string }[];
    return services.find((service) => service.app === app)?.address ?? "";
  }

  async signal(name: string): Promise<void> {
    await this.#computer.kill(name, this.pid);
  }

  async end(name: "TERM" | "KILL"): Promise<number | null> {
    await this.signal(name);
    return this.exited;
  }

  cli(...args: readonly string[]): Promise<Ran> {
    return run(
      this.#computer.inside(
        this.#folder,
        process.execPath,
        FLYCAST,
        ...args,
        "--state-dir",
        join(this.#folder, "state"),
      ),
    );
  }
}
