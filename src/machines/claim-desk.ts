import { AppError } from "../core/errors.ts";
import { assertNever } from "../core/result.ts";
import type { Milliseconds, Monotonic, Port } from "../core/units.ts";
import { admit } from "./admission.ts";
import { ClaimLedger } from "./claim-ledger.ts";
import type { HealthUpdate } from "./health.ts";
import { HeldClaim, type ClaimOwner } from "./held-claim.ts";
import { describeClaim } from "./holders.ts";
import type { NamedTimers } from "./named-timers.ts";
import type { ClaimOutcome, ClaimRequest, Endpoint, Refusal } from "./pool.ts";
import { WakeReceipt, type Receipt } from "./receipts.ts";
import type { ServiceSlot } from "./service-slot.ts";
import type { LifeEvent, MachineState } from "./state.ts";
import type { SupervisorContext } from "./supervisor-context.ts";
import type { Machine } from "../registry/model.ts";

/** What the desk needs of the supervisor whose claims it keeps. */
export interface DeskHost {
  readonly machine: Machine;
  readonly state: MachineState;
  readonly timers: NamedTimers;
  /** Takes a start slot unless it is held already; false: there is none. */
  takeSlot(): boolean;
  dispatch(event: LifeEvent): void;
  /** A wake failed, in a Machine that runs on. */
  failed(error: AppError): void;
  changed(): void;
  /** The receipt of a wake is complete. */
  woken(receipt: Receipt): void;
}

// A port that was reached, but sends nothing: the receipt does not wait for a first byte any longer than this.
const SILENT = 5_000 as Milliseconds;

/** Where claims on one Machine are taken and given back. All of it is synchronous: nothing comes between look and grasp. */
export class ClaimDesk implements ClaimOwner {
  /** Autostop is emptying the Machine: taken back by the next claim. */
  emptying = false;
  readonly ledger = new ClaimLedger();
  readonly #host: DeskHost;
  readonly #context: SupervisorContext;
  #receipt: WakeReceipt | undefined;
  #last: Receipt | undefined;
  #checksPassed = false;

  constructor(host: DeskHost, context: SupervisorContext) {
    this.#host = host;
    this.#context = context;
  }

  /** That of the wake that goes on, else of the last one. */
  get receipt(): Receipt | undefined {
    return this.#receipt?.read() ?? this.#last;
  }

  /** It was woken, and nothing of it has answered since. */
  get unproven(): boolean {
    if (this.#receipt === undefined || this.#checksPassed) return false;
    for (const slot of this.ledger.slots()) if (slot.reached) return false;
    return true;
  }

  /** Some first check has not passed in this life. */
  get pending(): boolean {
    for (const slot of this.ledger.slots()) if (slot.pending) return true;
    return false;
  }

  claim(request: ClaimRequest): ClaimOutcome {
    const slot = this.ledger.slot(request.service);
    if (slot === undefined) return refuse("gone");
    const { state, machine } = this.#host;
    const wants = { wake: request.wake, cordoned: machine.cordoned };
    const admission = admit(state, slot, wants, this.#context.clock.now());
    switch (admission) {
      case "serve":
        slot.endpoint ??= this.#endpoint(slot, false);
        this.emptying = false; // a preference, no gate: whoever comes takes it back
        if (!slot.reached) this.#receipt?.joined(); // its process runs, its port is still waited for
        return this.#grant(request, slot, state.generation, slot.endpoint);
      case "wait":
        this.#receipt?.joined();
        this.emptying = false;
        return this.#grant(request, slot, state.generation, undefined);
      case "wake":
        return this.#wake(request, slot);
      case "backoff":
        return refuse(admission, state.kind === "failed" ? state.error : slot.cause);
      case "hard-limit":
      case "asleep":
      case "stopping":
      case "draining":
      case "unhealthy":
      case "cordoned":
      case "starts-exhausted":
      case "gone":
        return refuse(admission);
      default:
        return assertNever(admission);
    }
  }

  #wake(request: ClaimRequest, slot: ServiceSlot): ClaimOutcome {
    if (!this.#host.takeSlot()) {
      this.#context.wantsSlot(this.#host.machine.app);
      return refuse("starts-exhausted");
    }
    const { state, machine } = this.#host;
    const { clock } = this.#context;
    const by = describeClaim(request);
    const generation = state.generation + 1;
    this.#receipt = new WakeReceipt(
      { machine: machine.id, app: machine.app, generation, by, resumed: state.kind === "suspended" },
      { accepted: request.since, now: clock.now(), wall: clock.wall() },
    );
    // Counted before the start begins: a start that fails at once finds its waiter.
    const outcome = this.#grant(request, slot, generation, undefined);
    this.#context.emit({ event: "wake", machine: machine.id, app: machine.app, by, waiters: 1 });
    this.#host.dispatch({ kind: "start", because: `woken by a ${by}` });
    return outcome;
  }

  #grant(request: ClaimRequest, slot: ServiceSlot, generation: number, endpoint: Endpoint | undefined): ClaimOutcome {
    const claim = new HeldClaim(this, this.#host.machine.app, generation, request, slot, endpoint);
    this.ledger.add(claim);
    return { ok: true, claim };
  }

  released(claim: HeldClaim): void {
    const full = claim.slot.inFlight >= claim.slot.hardLimit;
    this.ledger.remove(claim, this.#context.clock.now());
    if (this.#host.state.kind === "draining" && this.ledger.count === 0) this.#host.dispatch({ kind: "drained" });
    if (full) this.#host.changed();
  }

  callbackFailed(thrown: unknown): void {
    this.#context.log.error({ machine: this.#host.machine.id, err: thrown }, "a holder of a claim failed");
  }

  // ── A life begins, proves itself and ends ───────────────────────────────────────────────────────────────────────

  /** The driver runs it. `waking`: its ports may need time yet. */
  begin(waking: boolean): void {
    this.#receipt?.driverStarted(this.#context.clock.now());
    this.#checksPassed = false;
    for (const slot of this.ledger.slots()) {
      const service = this.#host.machine.config.services.find((s) => s.internalPort === slot.port);
      slot.reset(waking && service !== undefined && service.checks.length > 0);
      slot.endpoint = this.#endpoint(slot, waking);
    }
    this.#open();
    if (this.#receipt !== undefined) {
      this.#host.timers.arm("receipt", this.#context.limits().wakeTimeout, () => this.#complete());
    }
  }

  /** Its services may have changed while it runs. */
  configure(): void {
    this.ledger.configure(this.#host.machine.config.services);
  }

  /** `failed`: the wake did not come to anything, and is told as a failure. Its receipt is kept as far as it goes. */
  over(failed: boolean): void {
    this.emptying = false;
    if (failed) this.#last = this.#receipt?.read() ?? this.#last;
    else if (this.#receipt?.read().driverStarted !== undefined) this.#complete();
    this.#receipt = undefined;
    this.#host.timers.disarm("receipt");
    for (const slot of this.ledger.slots()) slot.reset(false);
  }

  health(update: HealthUpdate): void {
    let changed = false;
    for (const [port, verdict] of update.services) {
      const slot = this.ledger.slot(port);
      if (slot === undefined) continue;
      const before = slot.pending ? "pending" : slot.unhealthy ? "unhealthy" : "healthy";
      if (before === verdict) continue;
      changed = true;
      slot.pending = verdict === "pending";
      slot.unhealthy = verdict === "unhealthy";
      if (verdict === "healthy") this.#passed(slot);
      else if (before === "pending") this.#gaveUp(slot);
    }
    if (changed) this.#host.changed();
  }

  #passed(slot: ServiceSlot): void {
    this.#checksPassed = true;
    slot.answered();
    this.#receipt?.checkPassed(this.#context.clock.now());
    this.#open();
    this.#host.dispatch({ kind: "proved", generation: this.#host.state.generation });
  }

  #gaveUp(slot: ServiceSlot): void {
    const seconds = this.#context.limits().wakeTimeout / 1000;
    const error = new AppError("PM03", `the check of port ${slot.port} did not pass within ${seconds} s`);
    if (this.#receipt !== undefined) this.#host.failed(error);
    this.ledger.failWaiters(error, this.#context.clock.now(), slot);
  }

  #open(): void {
    for (const claim of this.ledger.claims) {
      if (!claim.slot.pending && claim.slot.endpoint !== undefined) claim.open(claim.slot.endpoint);
    }
  }

  #endpoint(slot: ServiceSlot, waking: boolean): Endpoint {
    const { state, machine } = this.#host;
    const addresses = this.#context.driver.endpoint(machine, slot.port);
    return { generation: state.generation, addresses, startedAt: state.since, waking };
  }

  // ── What the proxy saw ──────────────────────────────────────────────────────────────────────────────────────────

  reachable(port: Port, generation: number): void {
    const slot = this.ledger.slot(port);
    if (slot === undefined || generation !== this.#host.state.generation) return;
    const receipt = this.#receipt;
    if (receipt !== undefined && receipt.read().portOpen === undefined) {
      receipt.portOpen(this.#context.clock.now());
      this.#host.timers.arm("receipt", SILENT, () => this.#complete());
    }
    if (slot.reached) return;
    slot.answered();
    this.#host.dispatch({ kind: "proved", generation });
  }

  unreachable(port: Port, generation: number, error: AppError): void {
    const slot = this.ledger.slot(port);
    const { state } = this.#host;
    if (slot === undefined || generation !== state.generation || state.kind !== "started") return;
    // Its port has answered others in this life: one connection's bad luck, not a failed wake.
    if (slot.reached) return;
    const now = this.#context.clock.now();
    if (now < slot.retryAt) return; // the same failure, told by the next of its waiters
    // The Machine runs on: a database that recovers from a crash must not be killed for being slow.
    slot.unanswered(error, now);
    this.#host.failed(error);
    this.#host.timers.arm(`port-${port}`, (slot.retryAt - now) as Milliseconds, () => this.#host.changed());
  }

  firstByte(generation: number, at: Monotonic): void {
    if (this.#receipt === undefined || generation !== this.#host.state.generation) return;
    this.#receipt.firstByte(at);
    this.#complete();
  }

  #complete(): void {
    if (this.#receipt === undefined) return;
    this.#last = this.#receipt.read();
    this.#receipt = undefined;
    this.#host.timers.disarm("receipt");
    this.#host.woken(this.#last);
  }
}

function refuse(refusal: Refusal, cause?: AppError): ClaimOutcome {
  return cause === undefined ? { ok: false, refusal } : { ok: false, refusal, cause };
}
