import { spawn, type ChildProcess } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { AppError, toAppError } from "../../core/errors.ts";
import { openExit, type Exit } from "./egress.ts";
import { ensureHostLink, HOST_LINK, joinHost, leaveHost, routeNames } from "./host-link.ts";
import { lockHostNamespace } from "./host-lock.ts";
import { hostCommand, labCommand } from "./init.ts";
import { isRawSocket, listenerName, sendSocket, type KeptListeners } from "./kept-listeners.ts";
import { OuterSockets } from "./outer-sockets.ts";
import { isPrivileged } from "./privileges.ts";
import { systemPath } from "./run.ts";
import { isWireMessage, type CoreMessage, type OuterFacts, type OuterMessage } from "./wire.ts";

export interface LaunchOptions {
  /** The program that runs inside; it calls `connectOuter` first of all. */
  readonly entry: string;
  readonly args?: readonly string[];
  /** Options of Node itself, before the entry. */
  readonly execArgv?: readonly string[];
  /** The core's whole environment. @default this process's own */
  readonly env?: Readonly<Record<string, string | undefined>>;
  /** The core's working folder. @default this process's own */
  readonly folder?: string;
  /**
   * Host mode: the name of a network namespace that stays when the core ends, made if need be. Root only. @default none:
   * a lab, whose every part ends with this process
   */
  readonly persistent?: string;
  /** Host mode: name of the computer's end of the link to that namespace. @default "flycast0" */
  readonly hostLink?: string;
  /**
   * Whether Machines shall reach the Internet (`[node] egress`): then the core's network namespace gets a way out, and as
   * root the computer forwards for it. It needs nftables inside. @default "none"
   */
  readonly egress?: "auto" | "none";
  /** Host mode: where listeners stay that the next core shall have. @default they end with the core */
  readonly kept?: KeptListeners;
  /** Whatever the core sends with `send`. */
  readonly onMessage: (message: unknown) => void;
}

export interface CoreExit {
  readonly code: number | undefined;
  readonly signal: string | undefined;
}

export interface CoreProcess {
  /** What the core was told of its place outside. */
  readonly outer: OuterFacts;
  /** To the core's `onMessage`. Dropped when the core is gone. */
  send(message: unknown): void;
  /** Resolves when the program that carries Machines' packets outside has ended by itself; the rest goes on without it. */
  readonly exitLost: Promise<void>;
  /** Resolves when the core, and with it everything in the lab, has ended. */
  readonly exited: Promise<CoreExit>;
  /** Ends everything at once, by SIGKILL. For a proper end, ask the core by message and wait for `exited` first. */
  kill(): Promise<CoreExit>;
}

/**
 * Starts the core inside namespaces of its own and serves its `Outside`. Resolves when the core has called
 * `connectOuter`. Call it from the main thread: the lab dies with the thread that made it. Its standard output and error are ours.
 * @errors no_privilege when the lab cannot be built; `probeLab` tells why; state_locked when another process has launched a
 * core in that persistent namespace
 */
export async function launchCore(options: LaunchOptions): Promise<CoreProcess> {
  const { persistent, hostLink = HOST_LINK } = options;
  if (persistent !== undefined) {
    await lockHostNamespace(persistent);
    await ensureHostLink(persistent, hostLink);
  }
  return launch(options);
}

function launch(options: LaunchOptions): Promise<CoreProcess> {
  const privileged = isPrivileged();
  const folder = options.folder ?? process.cwd();
  const node = [process.execPath, ...(options.execArgv ?? []), options.entry, ...(options.args ?? [])];
  const { persistent } = options;
  const lab =
    persistent === undefined
      ? labCommand({ privileged, folder }, node)
      : hostCommand({ name: persistent, folder }, node);
  const [file = "", ...args] = lab.argv;
  const child = spawn(file, args, {
    stdio: ["ignore", "inherit", "inherit", "ipc"],
    // A session of its own: Ctrl-C is for us to handle, the core is told.
    detached: true,
    env: { ...(options.env ?? process.env), ...lab.env, PATH: options.env?.["PATH"] ?? systemPath() },
  });
  const sockets = new OuterSockets(child);
  let opening: Promise<Exit> | undefined;
  const exited = new Promise<CoreExit>((resolve) => {
    child.once("exit", (code, signal) => {
      sockets.close();
      const end = { code: code ?? undefined, signal: signal ?? undefined };
      void Promise.resolve(opening?.then((exit) => exit.close()))
        .catch(() => undefined)
        .then(() => resolve(end));
    });
    child.once("error", () => resolve({ code: undefined, signal: undefined }));
  });

  const hostLink = options.hostLink ?? HOST_LINK;
  const answer = (id: number, deed: Promise<unknown>): void => {
    deed.then(
      () => send(child, { flycast: "done", id }),
      (thrown: unknown) => {
        const { code, message } = toAppError(thrown);
        send(child, { flycast: "refused", id, code, message });
      },
    );
  };

  const { kept } = options;
  /** False when there is no listener of that name. */
  const giveKept = (id: number, name: string): boolean => {
    const socket = kept?.take(name);
    const message: OuterMessage = { flycast: "opened", id, kept: true };
    if (socket !== undefined) sendSocket(child, message, socket);
    return socket !== undefined;
  };

  return new Promise((resolve, reject) => {
    child.once("error", (cause) =>
      reject(new AppError("missing_tool", `cannot run ${file}: ${cause.message}`, { cause })),
    );
    void exited.then((exit) =>
      reject(new AppError("no_privilege", `the lab ended before it began (${describe(exit)})`)),
    );

    child.on("message", (raw: unknown, handle: unknown) => {
      if (!isWireMessage(raw)) return;
      const message = raw as CoreMessage;
      switch (message.flycast) {
        case "hello": {
          // In host mode every program of the chain became the next one: the core is our child itself.
          const initPid = persistent === undefined ? onlyChildOf(child.pid ?? 0) : (child.pid ?? 0);
          const wanted = options.egress ?? "none";
          opening = openExit({ pid: initPid, wanted, privileged, persistent: persistent !== undefined });
          void opening.then(({ facts: exit, lost }) => {
            const ids = { uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0 };
            const outer: OuterFacts = { initPid, ...ids, userNamespace: !privileged, persistent, exit };
            send(child, { flycast: "welcome", outer });
            resolve({
              outer,
              send: (body) => send(child, { flycast: "app", body }),
              exitLost: lost,
              exited,
              kill() {
                child.kill("SIGKILL");
                return exited;
              },
            });
          });
          return;
        }
        case "open": {
          const { id, what, host, port } = message;
          if (what === "listen" && giveKept(id, listenerName("outside", host, port))) return;
          void sockets.open(message);
          return;
        }
        case "take":
          if (!giveKept(message.id, message.name)) send(child, { flycast: "done", id: message.id });
          return;
        case "keep":
          if (kept !== undefined && isRawSocket(handle)) kept.keep(message.name, handle);
          return;
        case "release":
          kept?.release(message.name);
          return;
        case "settled":
          kept?.releaseUnclaimed();
          return;
        case "join":
          answer(message.id, joinHost(hostLink, message.cidr, message.address));
          return;
        case "leave":
          answer(message.id, leaveHost(hostLink, message.keep));
          return;
        case "names":
          answer(message.id, routeNames(hostLink, message.server));
          return;
        case "taken":
          sockets.taken(message.id);
          return;
        case "app":
          options.onMessage(message.body);
      }
    });
  });
}

function send(child: ChildProcess, message: OuterMessage): void {
  // A core that has just died closes the channel; `exited` tells.
  if (child.connected) child.send(message, () => undefined);
}

function describe(exit: CoreExit): string {
  return exit.signal ?? `exit ${exit.code ?? "unknown"}`;
}

/** Process 1 of the lab is the only child of `unshare --fork`. */
function onlyChildOf(pid: number): number {
  try {
    const listed = Number.parseInt(readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8"), 10);
    if (Number.isInteger(listed)) return listed;
  } catch {
    // The kernel may be built without that file: look for the parent in every process instead.
  }
  for (const name of readdirSync("/proc")) {
    if (!/^\d+$/.test(name)) continue;
    try {
      const stat = readFileSync(`/proc/${name}/stat`, "utf8");
      // The command's name may hold anything, parentheses included; what follows the last one is fixed.
      const parent = stat.slice(stat.lastIndexOf(")") + 2).split(" ")[1];
      if (Number(parent) === pid) return Number(name);
    } catch {
      // Ended meanwhile.
    }
  }
  throw new AppError("internal", "the lab's first process cannot be found in /proc");
}
