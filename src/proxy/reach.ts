import type { Socket } from "node:net";
import { AppError, toAppError } from "../core/errors.ts";
import type { MachineId } from "../core/ids.ts";
import { ms, type Port } from "../core/units.ts";
import type { Claim, Endpoint } from "../machines/pool.ts";
import type { Budget } from "./budget.ts";
import { choose, servicePortOf, type Choice } from "./choose.ts";
import { Connector } from "./connect.ts";
import type { Reach, Work } from "./context.ts";
import { proxyHeaderFor } from "./handlers/proxy-protocol.ts";
import type { Phases } from "./phases.ts";
import { Queue, type Claimed } from "./queue.ts";
import { wake } from "./wake.ts";

/** A Machine that ends by itself may be refused before its end is known: so long we wait for that word. */
const LAST_WORD_MS = 100;

/** choose → wake → connect for one node. */
export class NodeReach implements Reach {
  readonly #phases: Phases;
  readonly #budget: Budget;
  readonly #connector: Connector;
  readonly #queue: Queue;
  /** Where to dial, for claims that had to wait for it. The others know it themselves. */
  readonly #endpoints = new WeakMap<Claim, Endpoint>();
  /** Why the Machines in `work.excluded` failed; the last one. */
  readonly #failures = new WeakMap<Work, AppError>();
  /** Work that found a Machine's life ended between claim and connect: it may try the next life, once. */
  readonly #secondLives = new WeakSet<Work>();
  readonly #answered = new Map<MachineId, number>();

  constructor(phases: Phases, budget: Budget) {
    this.#phases = phases;
    this.#budget = budget;
    const { pool, clock, limits } = phases;
    this.#connector = new Connector({ pool, clock, limits, budget });
    this.#queue = new Queue({ pool, clock, limits, choose: (work) => choose(phases, work) });
  }

  claim(work: Work): Claim | Promise<Claim> {
    if (this.#queue.isBusy(work)) return this.#claimSlowly(work, { kind: "wait", why: "full" });
    const choice = choose(this.#phases, work);
    if (!(choice instanceof Promise) && choice.kind === "claimed" && choice.claim.endpoint !== undefined)
      return choice.claim;
    return this.#claimSlowly(work, choice);
  }

  async #claimSlowly(work: Work, first: Choice | Promise<Choice>): Promise<Claim> {
    let giveBack: (() => void) | undefined;
    try {
      for (let next = first; ; next = choose(this.#phases, work)) {
        let choice = await next;
        if (choice.kind === "claimed" && choice.claim.endpoint !== undefined) return choice.claim;
        if (choice.kind === "refused") throw this.#explain(work, choice.error);
        if (giveBack === undefined) {
          const room = this.#budget.startWaiting(work.connection.network);
          if (!room.ok) {
            if (choice.kind === "claimed") choice.claim.release();
            throw new AppError(room.error);
          }
          giveBack = room.value;
        }
        if (choice.kind === "wait") choice = await this.#queueUp(work, choice.why);
        const claim = await this.#wake(work, choice);
        if (claim !== undefined) return claim;
      }
    } finally {
      giveBack?.();
    }
  }

  async #queueUp(work: Work, why: "full" | "settling"): Promise<Claimed> {
    try {
      return await this.#queue.wait(work, why);
    } catch (thrown) {
      throw this.#explain(work, toAppError(thrown, "FP15"));
    }
  }

  /** Undefined: that Machine failed; choose again without it. */
  async #wake(work: Work, choice: Claimed): Promise<Claim | undefined> {
    const { claim } = choice;
    const { clock, limits } = this.#phases;
    try {
      if (claim.endpoint === undefined)
        this.#endpoints.set(claim, await wake(claim, work.signal, clock, limits().wakeTimeout));
      return claim;
    } catch (thrown) {
      claim.release();
      const error = toAppError(thrown, "PM02");
      if (work.signal.aborted) throw error;
      this.#exclude(work, claim.machine, error);
      return undefined;
    }
  }

  async connect(work: Work, claim: Claim): Promise<Socket> {
    const endpoint = claim.endpoint ?? this.#endpoints.get(claim);
    if (endpoint === undefined)
      throw new AppError("FP15", "connect was given a claim that did not come from this reach");
    const service = servicePortOf(this.#phases, work, claim.machine);
    const wasReachable = this.#connector.isReachable(claim, service);
    try {
      const socket = await this.#connector.connect(claim, endpoint, service, work);
      const header = proxyHeaderFor(work);
      if (header !== undefined) socket.write(header);
      return socket;
    } catch (thrown) {
      const error = toAppError(thrown, "PC06");
      if (work.signal.aborted) {
        claim.release();
        throw error;
      }
      const ended = !wasReachable || this.#secondLives.has(work) ? false : await this.#endsNow(claim);
      claim.release();
      if (ended) this.#secondLives.add(work);
      else this.#exclude(work, claim.machine, error);
      throw error;
    }
  }

  /** Whether the refusal was the Machine's end. */
  #endsNow(claim: Claim): Promise<boolean> {
    return new Promise((resolve) => {
      const timer = this.#phases.clock.after(ms(LAST_WORD_MS), () => resolve(false));
      claim.onLost(() => {
        timer.cancel();
        resolve(true);
      });
    });
  }

  async reach(work: Work): Promise<{ readonly claim: Claim; readonly socket: Socket }> {
    // Ends: each failure excludes a Machine (or uses up the one second life), and with none left `claim` throws.
    for (;;) {
      const claim = await this.claim(work);
      try {
        return { claim, socket: await this.connect(work, claim) };
      } catch (thrown) {
        // Nothing was sent yet, so whatever the Machine did is no reason not to try another.
        const error = toAppError(thrown, "FP15");
        if (error.code === "FP03" || error.code === "FP15" || work.signal.aborted) throw error;
      }
    }
  }

  /**
   * A connection to a Machine that runs and was reached before, without a claim: it counts as no use of the Machine.
   * Undefined for any other Machine.
   */
  revisit(machine: MachineId, service: Port): Promise<Socket> | undefined {
    const status = this.#phases.view.status(machine);
    if (status.state !== "started") return undefined;
    return this.#connector.revisit(machine, service, status.generation);
  }

  firstByte(claim: Claim): void {
    if (this.#answered.get(claim.machine) === claim.generation) return;
    const { machine, generation } = claim;
    this.#answered.set(machine, generation);
    const at = this.#phases.clock.now();
    // What this sets off (events, metrics) can wait until the byte has been passed on.
    queueMicrotask(() => this.#phases.pool.reportFirstByte(machine, generation, at));
  }

  forget(machine: MachineId): void {
    this.#connector.forget(machine);
    this.#answered.delete(machine);
  }

  #exclude(work: Work, machine: MachineId, error: AppError): void {
    work.excluded.add(machine);
    this.#failures.set(work, error);
  }

  /** "None is left" says little when it was the last one's failure that left none. */
  #explain(work: Work, error: AppError): AppError {
    const last = this.#failures.get(work);
    if (last === undefined || error.code !== "PR01") return error;
    if (work.excluded.size === 1) return last;
    const message = `no Machine could be reached; the last of ${work.excluded.size}: ${last.message}`;
    return new AppError("PR03", message, { cause: last, details: { last: last.code } });
  }
}
