/** The node's side of its starter: makes it when it is first needed, and again when it was killed. */
import { spawn, type ChildProcess } from "node:child_process";
import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";
import { AppError } from "../../core/errors.ts";
import type { Exit } from "../driver.ts";
import { parseReport, type Order, type StartOrder } from "./starter-protocol.ts";

/** A process that the starter could not start. `code` as in errno. */
export class StartRefused extends Error {
  readonly code: string;

  constructor(code: string, message: string) {
    super(message);
    this.code = code;
  }
}

export interface StarterEvents {
  onExit(key: number, exit: Exit): void;
  /** The starter was killed. Whatever it had started has nobody now who would report its end. */
  onLost(keys: readonly number[]): void;
}

const CLOSE_PATIENCE_MS = 10_000;

interface Started {
  readonly pid: number;
  readonly startTime: number;
}

interface Waiter<T> {
  resolve(value: T): void;
  reject(error: Error): void;
}

export class Starter {
  readonly #outlive: boolean;
  readonly #events: StarterEvents;
  #child: ChildProcess | undefined;
  #lastKey = 0;
  readonly #starting = new Map<number, Waiter<Started>>();
  readonly #sweeping = new Map<number, Waiter<readonly { pid: number; state: string }[]>>();
  readonly #running = new Set<number>();
  #closed = false;

  constructor(outlive: boolean, events: StarterEvents) {
    this.#outlive = outlive;
    this.#events = events;
  }

  nextKey(): number {
    return ++this.#lastKey;
  }

  /** Makes the starter before it is needed, so that the first wake does not wait for it. Resolves when it runs. */
  async warm(): Promise<void> {
    const request = ++this.#lastKey;
    await new Promise((resolve, reject) => {
      this.#sweeping.set(request, { resolve, reject });
      this.#send({ op: "sweep", request, key: 0 });
    });
  }

  /** @errors StartRefused; PM07 when the starter died meanwhile */
  start(order: Omit<StartOrder, "op">): Promise<Started> {
    return new Promise((resolve, reject) => {
      this.#starting.set(order.key, { resolve, reject });
      this.#send({ op: "start", ...order });
    });
  }

  /** To the main process only. Nothing happens when it has ended. */
  signal(key: number, signal: NodeJS.Signals): void {
    if (this.#child !== undefined) this.#send({ op: "signal", key, signal });
  }

  /** To every process of a Machine without a namespace; with no signal it only looks. Resolves to those found, with the state they had. */
  sweep(key: number, signal: NodeJS.Signals | undefined): Promise<readonly { pid: number; state: string }[]> {
    const request = ++this.#lastKey;
    return new Promise((resolve, reject) => {
      this.#sweeping.set(request, { resolve, reject });
      this.#send({ op: "sweep", request, key, ...(signal === undefined ? {} : { signal }) });
    });
  }

  /** Lets go of it: in host mode it and its Machines live on, else it kills them first. Resolves when that is done. */
  async close(): Promise<void> {
    this.#closed = true;
    const child = this.#child;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const gone = new Promise<void>((resolve) => child.once("exit", () => resolve()));
    if (child.connected) child.disconnect();
    if (this.#outlive && this.#running.size > 0) {
      child.unref();
      return;
    }
    // It waits for the last of its children, and one in the hands of a dead disk would keep us for ever.
    const impatience = setTimeout(() => child.kill("SIGKILL"), CLOSE_PATIENCE_MS);
    await gone;
    clearTimeout(impatience);
  }

  #send(order: Order): void {
    if (this.#closed) {
      this.#failAll(new AppError("PM10", "the node is shutting down"));
      return;
    }
    this.#child ??= this.#spawn();
    // A failed send means that the starter has died, which "exit" tells as well.
    this.#child.send(order, () => {});
  }

  #spawn(): ChildProcess {
    const child = spawn(process.execPath, [...programArguments(), this.#outlive ? "outlive" : "end"], {
      // Its own session: the Ctrl-C that ends the node must not reach it before the node has decided what to do.
      detached: true,
      // One that outlives the node must not hold on to the node's terminal or pipe.
      stdio: ["ignore", "ignore", this.#outlive ? "ignore" : "inherit", "ipc"],
      cwd: "/",
      env: {},
    });
    child.on("message", (message) => this.#receive(message));
    child.once("error", () => this.#lost(child));
    child.once("exit", () => this.#lost(child));
    return child;
  }

  #receive(message: unknown): void {
    const report = parseReport(message);
    switch (report.op) {
      case "started":
        this.#running.add(report.key);
        this.#starting.get(report.key)?.resolve({ pid: report.pid, startTime: report.startTime });
        this.#starting.delete(report.key);
        break;
      case "refused":
        this.#starting.get(report.key)?.reject(new StartRefused(report.code, report.message));
        this.#starting.delete(report.key);
        break;
      case "exited":
        this.#running.delete(report.key);
        this.#events.onExit(report.key, { code: report.code ?? undefined, signal: report.signal ?? undefined });
        break;
      case "swept":
        this.#sweeping.get(report.request)?.resolve(report.found);
        this.#sweeping.delete(report.request);
        break;
    }
  }

  #lost(child: ChildProcess): void {
    if (this.#child !== child) return;
    this.#child = undefined;
    this.#failAll(new AppError("PM07", "the process that starts Machines was killed"));
    const keys = [...this.#running];
    this.#running.clear();
    if (!this.#closed && keys.length > 0) this.#events.onLost(keys);
  }

  #failAll(error: AppError): void {
    for (const waiter of [...this.#starting.values(), ...this.#sweeping.values()]) waiter.reject(error);
    this.#starting.clear();
    this.#sweeping.clear();
  }
}

/** Node's arguments for the starter: its heap is small and stays small. */
function programArguments(): readonly string[] {
  const flags = ["--max-old-space-size=64", "--max-semi-space-size=1"];
  const here = fileURLToPath(import.meta.url);
  if (here.endsWith(".js")) return [...flags, fileURLToPath(new URL("./starter.js", import.meta.url))];
  // Run from source: Node 22.18 and newer read TypeScript themselves, older ones through tsx, a development dependency.
  const reads = "typescript" in process.features && process.features.typescript !== false;
  const loader = reads ? [] : ["--import", createRequire(import.meta.url).resolve("tsx")];
  return [...flags, ...loader, fileURLToPath(new URL("./starter.ts", import.meta.url))];
}
