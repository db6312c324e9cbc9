import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import pc from "picocolors";
import type { SystemEvent } from "../api/events.ts";
import type { AppStatus } from "../api/status.ts";
import { AppError, ERROR_CODES, type ErrorCode } from "../core/errors.ts";
import type { Workspace } from "../config/model.ts";
import type { Milliseconds } from "../core/units.ts";
import { HOST_NAMESPACE } from "../network/linux/host-link.ts";
import type { KeptListeners } from "../network/linux/kept-listeners.ts";
import { launchCore } from "../network/linux/launch.ts";
import { directOutside } from "../network/outside-direct.ts";
import type { NetworkMode } from "../network/plane.ts";
import type { FromNode, NodeFailure, ToNode } from "./node-protocol.ts";
import { EXIT_LOST, exitNote } from "./exit-note.ts";
import { decode, encode } from "./wire.ts";

/** A node that was started by this command: in this process, or in namespaces of its own. */
export interface NodeProcess {
  /** What the files say now. @errors whatever refuses it; then nothing has changed */
  apply(workspace: Workspace): Promise<readonly string[]>;
  /**
   * Drains, unless `cut`, and ends. A second call with `cut` does not wait any longer. `within`: at most so long, where the
   * node's own drain timeout is longer.
   */
  shutdown(cut: boolean, within?: Milliseconds): void;
  /** Resolves when it has ended; `failure` tells why, if nobody asked it to. */
  readonly ended: Promise<{ readonly cut: readonly string[]; readonly failure: NodeFailure | undefined }>;
}

export interface StartNode {
  readonly workspace: Workspace;
  readonly mode: NetworkMode;
  /** Whether nftables works in namespaces. */
  readonly nftables: boolean;
  readonly prettyLog: boolean;
  readonly version: string;
  readonly onEvent: (event: SystemEvent, apps: readonly AppStatus[] | undefined) => void;
  /** Host mode: what keeps listeners beyond the node's end. */
  readonly kept?: KeptListeners;
}

export async function startNode(options: StartNode): Promise<NodeProcess> {
  const talk = new Conversation(options.onEvent);
  if (options.mode !== "loopback") {
    const core = await launchCore({
      entry: coreEntry(),
      ...(options.mode === "host" ? { persistent: HOST_NAMESPACE } : {}),
      // Without nftables inside nothing could keep Machines apart on their way out.
      egress: options.nftables ? options.workspace.node.egress : "none",
      execArgv: process.execArgv,
      ...(options.kept === undefined || options.mode !== "host" ? {} : { kept: options.kept }),
      onMessage: (text) => {
        if (typeof text === "string") talk.receive(decode<FromNode>(text));
      },
    });
    talk.send = (message) => core.send(encode(message));
    const note = exitNote(core.outer.exit, { wanted: options.workspace.node.egress, nftables: options.nftables });
    void core.exitLost.then(() => process.stderr.write(`${pc.yellow("note:")} ${EXIT_LOST}\n`));
    if (note !== undefined) process.stderr.write(`${pc.yellow("note:")} ${note}\n`);
    void core.exited.then((exit) =>
      talk.finish(
        exit.code === 0
          ? undefined
          : {
              code: "internal",
              message: `the node ended unexpectedly (${exit.signal ?? `exit code ${exit.code ?? "?"}`})`,
            },
      ),
    );
  } else {
    // Loaded only here: in the other modes the outer process stays small.
    const { NodeSide } = await import("./node-side.ts");
    const side = new NodeSide(
      directOutside,
      undefined,
      (message) => talk.receive(message),
      () => talk.finish(undefined),
    );
    talk.send = (message) => side.receive(message);
  }
  talk.send({
    kind: "start",
    workspace: options.workspace,
    nftables: options.nftables,
    prettyLog: options.prettyLog,
    resolvConf: readResolvConf(),
    version: options.version,
  });
  return talk;
}

/** Empty where there is none: names outside then fail at once. */
function readResolvConf(): string {
  try {
    return readFileSync("/etc/resolv.conf", "utf8");
  } catch {
    return "";
  }
}

/** `core.js` beside the built program, `core.ts` beside the source. */
function coreEntry(): string {
  return fileURLToPath(new URL(import.meta.url.endsWith(".ts") ? "./core.ts" : "./core.js", import.meta.url));
}

class Conversation implements NodeProcess {
  send: (message: ToNode) => void = () => undefined;
  readonly ended: NodeProcess["ended"];
  readonly #onEvent: StartNode["onEvent"];
  readonly #applies = new Map<
    number,
    { resolve: (changed: readonly string[]) => void; reject: (error: AppError) => void }
  >();
  #sequence = 0;
  #cut: readonly string[] = [];
  #failure: NodeFailure | undefined;
  #finish: (value: { cut: readonly string[]; failure: NodeFailure | undefined }) => void = () => undefined;

  constructor(onEvent: StartNode["onEvent"]) {
    this.#onEvent = onEvent;
    this.ended = new Promise((resolve) => {
      this.#finish = resolve;
    });
  }

  apply(workspace: Workspace): Promise<readonly string[]> {
    const id = ++this.#sequence;
    return new Promise((resolve, reject) => {
      this.#applies.set(id, { resolve, reject });
      this.send({ kind: "apply", id, workspace });
    });
  }

  shutdown(cut: boolean, within?: Milliseconds): void {
    this.send({ kind: "shutdown", cut, ...(within === undefined ? {} : { within }) });
  }

  receive(message: FromNode): void {
    switch (message.kind) {
      case "event":
        this.#onEvent(message.event, message.apps);
        return;
      case "failed":
        this.#failure = message.failure;
        return;
      case "applied": {
        const waiting = this.#applies.get(message.id);
        this.#applies.delete(message.id);
        if (message.failure === undefined) waiting?.resolve(message.changed);
        else waiting?.reject(errorOf(message.failure));
        return;
      }
      case "ended":
        this.#cut = message.cut;
        return;
    }
  }

  finish(failure: NodeFailure | undefined): void {
    this.#finish({ cut: this.#cut, failure: this.#failure ?? failure });
  }
}

export function errorOf(failure: NodeFailure): AppError {
  const code = failure.code in ERROR_CODES ? (failure.code as ErrorCode) : "internal";
  return new AppError(code, failure.message, { details: failure.next === undefined ? {} : { next: failure.next } });
}
