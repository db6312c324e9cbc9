import type { AppError } from "../core/errors.ts";
import { assertNever } from "../core/result.ts";
import { ms, type Monotonic } from "../core/units.ts";
import type { Machine } from "../registry/model.ts";
import { Alarms } from "./alarms.ts";
import { announce } from "./announce.ts";
import { ClaimDesk } from "./claim-desk.ts";
import { Deeds } from "./deeds.ts";
import type { Exit, RecoveredMachine } from "./driver.ts";
import { describeFailure } from "./endings.ts";
import { Health } from "./health.ts";
import { describeHolders } from "./holders.ts";
import { describeStatus } from "./machine-status.ts";
import type { LastKnown } from "./memory.ts";
import { LastEnds } from "./last-ends.ts";
import { NamedTimers } from "./named-timers.ts";
import { isAsleep, Outcomes } from "./outcomes.ts";
import type { ClaimOutcome, ClaimRequest } from "./pool.ts";
import type { Receipt } from "./receipts.ts";
import { StartTurn } from "./start-turn.ts";
import type { AfterExit, Effect, Ending, LifeEvent, MachineState } from "./state.ts";
import type { SupervisorContext } from "./supervisor-context.ts";
import { newMachine, transition } from "./transition.ts";
import type { Holder } from "./why.ts";

// What a Machine holds while it sleeps (namespaces: 310 KiB of kernel memory) makes its next wake 20 ms shorter: worth it for
// one that comes back soon, and not for one that has slept this long.
const LONG_ASLEEP = ms(10 * 60_000);

/** Runs one Machine: turns what happens into events of the state machine, and its effects into deeds. */
export class Supervisor {
  machine: Machine;
  readonly timers: NamedTimers;
  readonly desk: ClaimDesk;
  readonly #context: SupervisorContext;
  readonly #deeds: Deeds;
  readonly #turn: StartTurn;
  #state: MachineState;
  #health: Health | undefined;
  readonly #last: LastEnds;
  #cut: readonly Holder[] = [];
  readonly #alarms: Alarms;
  readonly #events: LifeEvent[] = [];
  #busy = false;
  #closed = false;
  readonly #outcomes = new Outcomes();

  constructor(machine: Machine, context: SupervisorContext) {
    this.machine = machine;
    this.#context = context;
    this.#state = newMachine(context.clock.now());
    this.#last = new LastEnds(context.clock);
    this.timers = new NamedTimers(context.clock);
    this.desk = new ClaimDesk(this, context);
    this.#deeds = new Deeds(this, context);
    this.#alarms = new Alarms(this, context);
    this.#turn = new StartTurn(context.slots, machine.network);
    this.desk.configure();
  }

  get state(): MachineState {
    return this.#state;
  }

  get closed(): boolean {
    return this.#closed;
  }

  /** When a command's patience with the claims that are left ends. */
  get drainUntil(): Monotonic | undefined {
    return this.#state.kind === "draining" ? this.#alarms.drainUntil : undefined;
  }

  /** Claims that hold it up at this moment. */
  get holding(): number {
    return this.desk.ledger.holding(this.#context.isSuspended);
  }

  get idleSince(): Monotonic {
    return Math.max(this.#state.since, this.desk.ledger.lastEnded) as Monotonic;
  }

  /** It does not run, and nothing but a claim or a command would change that. */
  get rests(): boolean {
    const { kind } = this.#state;
    if (kind !== "created" && kind !== "stopped" && kind !== "failed") return false;
    return !this.#turn.waits && (kind === "created" || this.#state.restartAt === undefined);
  }

  /** Some service with autostart, and not cordoned. */
  get wakeable(): boolean {
    return !this.machine.cordoned && this.machine.config.services.some((service) => service.autostart);
  }

  holders(): readonly Holder[] {
    return describeHolders(this.desk.ledger.claims, this.#context.clock, this.#context.isSuspended);
  }

  configure(machine: Machine): void {
    const before = this.machine;
    this.machine = machine;
    this.desk.configure();
    if (isUp(this.#state) && checksOf(before) !== checksOf(machine)) this.#watchHealth();
    this.#context.changed(machine.app);
  }

  claim(request: ClaimRequest): ClaimOutcome {
    if (this.#closed) return { ok: false, refusal: "gone" };
    // Called from within one of our own callbacks, half way between two states: there will be word in a moment.
    if (this.#busy) return { ok: false, refusal: "stopping" }; // guard: between-states
    return this.desk.claim(request);
  }

  // ── Commands ────────────────────────────────────────────────────────────────────────────────────────────────────

  /** Resolves when the driver has started it. Rejects when that failed, or another command ended it first. */
  async start(because: string): Promise<void> {
    if (this.#busy) await Promise.resolve();
    if (this.#state.kind === "started") return;
    const refused = this.#refused({ kind: "start", because });
    if (refused !== undefined) throw refused;
    const started = this.#outcomes.start();
    this.#requestStart(because);
    await started;
  }

  /** Resolves, with the claims that were cut, when it has come to that. Rejects where the command makes no sense. */
  async end(ending: Ending, drain: boolean): Promise<readonly Holder[]> {
    // Called from within one of our own callbacks: when that is done, so that the command meets a whole state.
    if (this.#busy) await Promise.resolve();
    // All claims count here, not only those that hold it up: a drain lets every one of them finish.
    const event: LifeEvent = { kind: "end", ending, claims: this.desk.ledger.count, drain };
    const refused = this.#refused(event);
    if (refused !== undefined) throw refused;
    this.#cut = [];
    this.#turn.leave();
    if (ending.to !== "restart") this.#outcomes.cancelStarts(`the start was cancelled: ${ending.because}`);
    const ended = this.#outcomes.end(ending.to);
    this.dispatch(event);
    this.#outcomes.settle(this.#state); // it may have been down already
    await ended;
    return this.#cut;
  }

  /** Autostop's proposal; false: it came too late, and something holds the Machine. */
  sleep(generation: number, action: "stop" | "suspend", because: string): boolean {
    const before = this.#state;
    this.dispatch({ kind: "sleep", generation, action, claims: this.holding, because });
    return this.#state !== before;
  }

  /** It runs on, or stands still, from an earlier life of the node. */
  recovered(found: RecoveredMachine, known: LastKnown | undefined): void {
    this.dispatch(this.#last.recovered(found, known));
  }

  /** It has come to rest in an earlier life of the node, or by that one's end. `exit`: what the driver knows of its end. */
  remembered(known: LastKnown, exit: Exit): void {
    this.dispatch(this.#last.remembered(known, exit));
  }

  exited(process: number, exit: Exit): void {
    if (process === this.#state.process) this.noteExit(exit);
    this.dispatch({ kind: "exited", process, exit, unproven: this.desk.unproven, after: this.afterExit() });
  }

  noteExit(exit: Exit): void {
    this.#last.exited(this.#state.process, exit);
  }

  /** Resolves when the state passes the test: at once if it does now. */
  until(test: (state: MachineState) => boolean, signal: AbortSignal): Promise<void> {
    return test(this.#state) ? Promise.resolve() : this.#outcomes.until(test, signal);
  }

  /** Stops watching; the Machine itself is left as it is. */
  close(): void {
    this.#closed = true;
    this.#turn.leave();
    this.#health?.stop();
    this.timers.clear();
    this.#outcomes.close();
  }

  // ── For the desk and the deeds ──────────────────────────────────────────────────────────────────────────────────

  takeSlot(): boolean {
    return this.#turn.take();
  }

  changed(): void {
    this.#publish();
    if (!this.#busy) this.#context.changed(this.machine.app);
  }

  failed(error: AppError): void {
    this.#last.failed(error);
    const { id, app } = this.machine;
    this.#context.emit({ event: "failed", machine: id, app, code: error.code, message: describeFailure(error) });
    this.#publish();
  }

  woken(receipt: Receipt): void {
    const { id, app } = this.machine;
    this.#context.emit({ event: "started", machine: id, app, because: `woken by a ${receipt.by}`, receipt });
  }

  afterExit(): AfterExit {
    const { restart, autoDestroy, services } = this.machine.config;
    // Started for nobody, it would only be stopped again; with autostop off it is meant to be up.
    const mayStayDown = this.wakeable && !this.#context.isNeeded(this.machine);
    const wakeable = mayStayDown && services.every((service) => service.autostop !== "off");
    return { restart, wakeable, autoDestroy };
  }

  /** Takes one event after the other, also when the deeds of one bring about the next. */
  dispatch(event: LifeEvent): void {
    if (this.#closed) return; // what the driver still has to say is for the next node to find out
    this.#events.push(event);
    if (this.#busy) return;
    this.#busy = true;
    const before = this.#state;
    try {
      for (let next = this.#events.shift(); next !== undefined; next = this.#events.shift()) this.#apply(next);
    } finally {
      this.#busy = false;
    }
    if (this.#state === before) return;
    // Last of all: others may claim at once, and must find everything in its place.
    if (this.#turn.held && !isStarting(this.#state)) this.#turn.give();
    this.#context.changed(this.machine.app);
  }

  // ── The machine ─────────────────────────────────────────────────────────────────────────────────────────────────

  #refused(event: LifeEvent): AppError | undefined {
    const result = transition(this.#state, event, this.#context.clock.now());
    return result.ok ? undefined : result.error;
  }

  #apply(event: LifeEvent): void {
    const before = this.#state;
    const result = transition(before, event, this.#context.clock.now());
    if (!result.ok || result.value.next === before) return;
    const { next, effects } = result.value;
    this.#state = next;
    if (next.kind === "failed" && before.kind !== "failed") this.#last.failed(next.error);
    if (isUp(before) && !isUp(next)) this.#lifeOver(event.kind === "exited" && event.unproven);
    for (const effect of effects) this.#run(effect);
    this.#publish();
    if (next.kind !== before.kind) this.#entered(before, next, event);
    this.#outcomes.settle(next);
    this.#context.moved(this.machine.id);
  }

  #run(effect: Effect): void {
    switch (effect.kind) {
      case "driver-start":
        return void this.#deeds.start(effect.generation, effect.clean);
      case "driver-resume":
        return void this.#deeds.resume(effect.generation);
      case "driver-stop":
        return void this.#deeds.stop(effect.generation, effect.signal, effect.timeout);
      case "driver-suspend":
        return void this.#deeds.suspend(effect.generation);
      case "driver-remove":
        return void this.#deeds.remove();
      case "request-start":
        return this.#requestStart(effect.because);
      case "open":
        return this.#lifeBegins(effect.fresh);
      case "fail-waiters":
        return this.desk.ledger.failWaiters(effect.error, this.#context.clock.now());
      case "lose-claims":
        if (effect.cut) this.#cut = this.holders();
        return this.desk.ledger.loseAll(effect.error, this.#context.clock.now());
      case "arm":
        return this.#alarms.arm(effect);
      default:
        return assertNever(effect);
    }
  }

  #lifeBegins(fresh: boolean): void {
    this.timers.disarm("wake");
    this.desk.begin(fresh);
    this.#watchHealth();
  }

  #watchHealth(): void {
    const { config } = this.machine;
    this.#health?.stop();
    this.#health = new Health({
      clock: this.#context.clock,
      probe: this.#context.probe,
      services: config.services,
      checks: config.checks,
      addresses: (port) => this.#context.driver.endpoint(this.machine, port),
      patience: this.#context.limits().wakeTimeout,
      onUpdate: (update) => {
        this.desk.health(update);
        this.#publish();
      },
    });
  }

  #lifeOver(failed: boolean): void {
    this.#health?.stop();
    this.#health = undefined;
    this.timers.disarm("drain");
    this.desk.over(failed);
  }

  /** The world is told of a new state. */
  #entered(before: MachineState, next: MachineState, event: LifeEvent): void {
    if (before.kind === "starting" && next.kind !== "started") this.desk.over(true);
    if (next.kind === "stopped") this.timers.arm("release", LONG_ASLEEP, () => void this.#deeds.release());
    else this.timers.disarm("release");
    const woken = this.desk.receipt?.generation === next.generation;
    const told = announce(this.machine, { before, next, event }, { woken, cut: this.#cut, exit: this.#last.exit });
    if (told !== undefined) this.#context.emit(told);
  }

  #requestStart(because: string): void {
    if (this.#closed) return;
    const { kind } = this.#state;
    // What is on its way down settles first; it needs no slot yet.
    if (kind === "draining" || kind === "stopping" || kind === "suspending")
      return this.dispatch({ kind: "start", because });
    if (this.#turn.held || isUp(this.#state)) return;
    this.#turn.wait(() => {
      if (this.#closed || !isAsleep(this.#state)) this.#turn.give();
      else this.dispatch({ kind: "start", because });
    });
  }

  #publish(): void {
    const status = describeStatus(this.#state, this.#context.clock, {
      checks: this.#health?.read().checks ?? [],
      slots: this.desk.ledger.slots(),
      lastExit: this.#last.exit,
      lastFailure: this.#last.failure,
    });
    this.#context.publish(this.machine.id, status);
  }
}

/** To tell whether they changed. */
function checksOf({ config }: Machine): string {
  return JSON.stringify([config.checks, config.services.map((service) => [service.internalPort, service.checks])]);
}

function isUp(state: MachineState): boolean {
  return state.kind === "started" || state.kind === "draining";
}

/** Whether it keeps its start slot: a start that hangs must not keep others from starting for ever. */
function isStarting(state: MachineState): boolean {
  return (state.kind === "starting" && !state.late) || (state.kind === "stopping" && state.unborn);
}
