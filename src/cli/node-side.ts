import type { SystemEvent } from "../api/events.ts";
import { toAppError } from "../core/errors.ts";
import type { Milliseconds } from "../core/units.ts";
import { startSystem, type Standing, type System } from "../main.ts";
import type { AppStatus } from "../api/status.ts";
import type { ComputerSide } from "../network/linux/core-side.ts";
import type { OuterFacts } from "../network/linux/wire.ts";
import type { Outside } from "../network/outside.ts";
import type { FromNode, NodeFailure, ToNode } from "./node-protocol.ts";

/** What the core was told by the outer process. */
export interface CorePlace {
  readonly outer: OuterFacts;
  readonly computer: ComputerSide;
}

/** The node's end of the conversation with `up` or `serve`: one system, started once, changed and ended by messages. */
export class NodeSide {
  readonly #outside: Outside;
  /** Undefined in loopback mode: there is no outer process. */
  readonly #place: CorePlace | undefined;
  readonly #send: (message: FromNode) => void;
  readonly #end: () => void;
  #system: Promise<System> | undefined;
  #ending = false;

  constructor(outside: Outside, place: CorePlace | undefined, send: (message: FromNode) => void, end: () => void) {
    this.#outside = outside;
    this.#place = place;
    this.#send = send;
    this.#end = end;
  }

  receive(message: ToNode): void {
    switch (message.kind) {
      case "start":
        void this.#start(message);
        return;
      case "apply":
        void this.#apply(message);
        return;
      case "shutdown":
        void this.#shutdown(message.cut, message.within);
        return;
    }
  }

  async #start(message: ToNode & { kind: "start" }): Promise<void> {
    this.#system = startSystem({
      workspace: message.workspace,
      standing: this.#standing(message.nftables),
      version: message.version,
      prettyLog: message.prettyLog,
      resolvConf: message.resolvConf,
      outside: this.#outside,
      emit: (event: SystemEvent, apps?: readonly AppStatus[]) =>
        this.#send({ kind: "event", event, ...(apps === undefined ? {} : { apps }) }),
    });
    try {
      await this.#system;
      this.#place?.computer.settled();
    } catch (thrown) {
      this.#send({ kind: "failed", failure: failureOf(thrown) });
      this.#end();
    }
  }

  #standing(nftables: boolean): Standing {
    if (this.#place === undefined) return { mode: "loopback" };
    const { persistent } = this.#place.outer;
    return { mode: persistent === undefined ? "lab" : "host", ...this.#place, nftables };
  }

  async #apply(message: ToNode & { kind: "apply" }): Promise<void> {
    try {
      const changed = (await (await this.#system)?.apply(message.workspace)) ?? [];
      this.#send({ kind: "applied", id: message.id, changed });
    } catch (thrown) {
      this.#send({ kind: "applied", id: message.id, changed: [], failure: failureOf(thrown) });
    }
  }

  async #shutdown(cut: boolean, within: Milliseconds | undefined): Promise<void> {
    if (this.#ending && !cut) return;
    this.#ending = true;
    const system = await this.#system?.catch(() => undefined);
    const named = (await system?.shutdown({ cut, ...(within === undefined ? {} : { within }) }).catch(() => [])) ?? [];
    this.#send({ kind: "ended", cut: named });
    this.#end();
  }
}

function failureOf(thrown: unknown): NodeFailure {
  const error = toAppError(thrown);
  const next = error.details["next"];
  if (error.code === "internal" && process.env["FLYCAST_DEBUG"] !== undefined) console.error(thrown);
  return { code: error.code, message: error.message, ...(typeof next === "string" ? { next } : {}) };
}
