import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { KeptListeners, isRawSocket, sendSocket } from "../network/linux/kept-listeners.ts";
import { isKeeperMessage, KEEPER_ENV, type FromKeeper, type FromServing } from "./keeper-protocol.ts";
import { EXIT } from "./output.ts";

/** Milliseconds before each try to start again, until one has served for `PROVEN`; after the last there is none. */
const PAUSES = [0, 200, 500, 1000, 2000];
const PROVEN = 60_000;

/**
 * Runs the node in a process of its own, started as this one was, and keeps its listeners: when it ends unasked, another takes
 * its place, and connections that come meanwhile wait instead of being refused. This process reads no file and no byte of a
 * client, so that it has no reason to end. SIGUSR2 lets the program as it is installed now take over.
 * @returns the exit code
 */
export async function keepServing(say: (message: string) => void): Promise<number> {
  const kept = new KeptListeners();
  process.stdout.removeAllListeners("error").on("error", () => undefined);
  let asked: NodeJS.Signals | undefined;
  let serving = new Serving(kept);
  for (const signal of ["SIGTERM", "SIGINT"] as const) {
    process.on(signal, () => {
      asked = signal;
      serving.signal(signal);
    });
  }
  process.on("SIGHUP", () => serving.signal("SIGHUP"));
  process.on("SIGUSR2", () => {
    if (asked === undefined) serving.leave();
  });

  let everStayed = false;
  let failures = 0;
  for (;;) {
    const began = performance.now();
    const { code, signal } = await serving.ended;
    everStayed ||= serving.stays;
    if (serving.stays && performance.now() - began > PROVEN) failures = 0;
    const wanted = asked === undefined && everStayed && (serving.leaves || code !== EXIT.done);
    const pause = PAUSES[failures];
    const how = signal ?? `exit code ${code ?? "?"}`;
    if (!wanted || pause === undefined) {
      if (wanted) say(`the node ended unexpectedly again (${how}): given up`);
      else if (asked === undefined && signal !== null) say(`the node ended unexpectedly (${how})`);
      return code ?? endBy(signal);
    }
    if (!serving.leaves) {
      failures++;
      say(`the node ended unexpectedly (${how}) and is started again: new connections wait, Machines run on`);
    }
    if (pause > 0) await new Promise((resolve) => setTimeout(resolve, pause));
    serving = new Serving(kept);
  }
}

/** One life of the process that serves. */
class Serving {
  /** Whether another is to take its place. */
  stays = false;
  leaves = false;
  readonly ended: Promise<{ readonly code: number | null; readonly signal: NodeJS.Signals | null }>;
  readonly #child: ChildProcess;
  #hears = false;
  readonly #early: NodeJS.Signals[] = [];

  constructor(kept: KeptListeners) {
    const child = spawn(process.execPath, [...process.execArgv, ...process.argv.slice(1)], {
      stdio: ["ignore", "inherit", "inherit", "ipc"],
      env: { ...process.env, [KEEPER_ENV]: "1" },
      // Ctrl-C is for us to pass on: it would come twice otherwise.
      detached: true,
    });
    this.#child = child;
    this.ended = once(child, "exit").then(([code, signal]) => ({
      code: code as number | null,
      signal: signal as NodeJS.Signals | null,
    }));
    child.on("message", (raw: unknown, handle: unknown) => {
      if (!isKeeperMessage(raw)) return;
      const message = raw as FromServing;
      switch (message.keeper) {
        case "hello":
          this.#hears = true;
          for (const signal of this.#early.splice(0)) child.kill(signal);
          for (const [name, socket] of kept.entries()) {
            sendSocket(child, { keeper: "kept", name } satisfies FromKeeper, socket);
          }
          this.#tell({ keeper: "all" });
          return;
        case "keep":
          if (isRawSocket(handle)) kept.adopt(message.name, handle);
          return;
        case "release":
          kept.release(message.name);
          return;
        case "stay":
          this.stays = true;
      }
    });
  }

  /** Passes a signal on, as soon as it does what it should. */
  signal(signal: NodeJS.Signals): void {
    if (this.#hears) this.#child.kill(signal);
    else this.#early.push(signal);
  }

  leave(): void {
    this.leaves = true;
    this.#tell({ keeper: "leave" });
  }

  #tell(message: FromKeeper): void {
    if (this.#child.connected) this.#child.send(message, () => undefined);
  }
}

/** Ends as the process that served has ended: a supervisor reads much out of it. */
function endBy(signal: NodeJS.Signals | null): number {
  if (signal === null || signal === "SIGKILL") return EXIT.failed;
  process.removeAllListeners(signal);
  process.kill(process.pid, signal);
  return EXIT.failed;
}
