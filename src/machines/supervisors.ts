import { AppError } from "../core/errors.ts";
import type { AppName, MachineId } from "../core/ids.ts";
import type { Milliseconds, Monotonic, Port } from "../core/units.ts";
import type { Machine, MachineStateKind } from "../registry/model.ts";
import type { RegistryChange } from "../registry/view.ts";
import { AppChanges } from "./app-changes.ts";
import { AutostopLoop } from "./autostop-loop.ts";
import { recoverAll, startWhatShouldRun } from "./comings.ts";
import { groupsOf, isNeeded } from "./autostop-snapshot.ts";
import type { AutostopVerdict } from "./autostop.ts";
import type {
  AutostopSettings,
  Cut,
  MachineLimits,
  Machines,
  MachinesOptions,
  SleepWish,
  StopOptions,
} from "./machines.ts";
import { lastKnown } from "./memory.ts";
import type { MachineEvent } from "./events.ts";
import type { ClaimOutcome, ClaimRequest } from "./pool.ts";
import { probe } from "./probe.ts";
import type { Receipt } from "./receipts.ts";
import { StartSlots } from "./start-slots.ts";
import { Supervisor } from "./supervisor.ts";
import type { SupervisorContext } from "./supervisor-context.ts";
import { ending } from "./endings.ts";
import { explain, type Holder, type WhyReport } from "./why.ts";

/** The Machines of this node. Follows the registry: a Machine that appears there can be claimed at once. */
export function createMachines(options: MachinesOptions): Machines {
  return new Supervisors(options);
}

class Supervisors implements Machines {
  readonly #options: MachinesOptions;
  readonly #context: SupervisorContext;
  readonly #supervisors = new Map<MachineId, Supervisor>();
  /** Those that run or start: a pass of autostop looks at no others. */
  readonly #running = new Set<Supervisor>();
  readonly #changes: AppChanges;
  readonly #slots: StartSlots;
  readonly #wantSlots = new Set<AppName>();
  readonly #loop: AutostopLoop;
  readonly #unsubscribe: (() => void)[];
  #limits: MachineLimits;
  #closing = false;

  constructor(options: MachinesOptions) {
    this.#options = options;
    this.#limits = options.limits;
    const { registry, driver, clock, log } = options;
    this.#changes = new AppChanges((error) => log.error({ err: error }, "a listener for changes failed"));
    this.#slots = new StartSlots(options.limits, () => this.#slotFreed());
    this.#loop = new AutostopLoop(options.autostop, {
      clock,
      groups: () => groupsOf(this.#running, registry.view),
      act: (verdict) => this.#act(verdict),
    });
    this.#context = {
      driver,
      clock,
      log,
      random: options.random,
      slots: this.#slots,
      probe: options.dialCheck ?? probe,
      limits: () => this.#limits,
      environment: options.environment,
      emit: (event) => this.#emit(event),
      publish: (id, status) => registry.setStatus(id, status),
      moved: (id) => this.#moved(id),
      changed: (app) => this.#changes.notify(app),
      wantsSlot: (app) => void this.#wantSlots.add(app),
      isNeeded: (machine) => isNeeded(machine, this.#running, registry.view),
      isSuspended: (id) => this.#supervisors.get(id)?.state.kind === "suspended",
      forget: (id) => this.#forget(id),
    };
    for (const machine of registry.view.machines()) this.#adopt(machine);
    this.#unsubscribe = [
      registry.changes.subscribe((change) => this.#follow(change)),
      driver.observe((id, generation, exit) => this.#supervisors.get(id)?.exited(generation, exit)),
    ];
  }

  // ── MachinePool ─────────────────────────────────────────────────────────────────────────────────────────────────

  claim(request: ClaimRequest): ClaimOutcome {
    const supervisor = this.#supervisors.get(request.machine);
    if (supervisor === undefined || this.#closing) return { ok: false, refusal: "gone" };
    return supervisor.claim(request);
  }

  load(machine: MachineId, service: Port): number {
    return this.#supervisors.get(machine)?.desk.ledger.slot(service)?.inFlight ?? 0;
  }

  emptying(machine: MachineId): boolean {
    const desk = this.#supervisors.get(machine)?.desk;
    return desk !== undefined && (desk.emptying || desk.pending);
  }

  startable(machine: MachineId): boolean {
    const supervisor = this.#supervisors.get(machine);
    if (supervisor === undefined || this.#closing || !supervisor.wakeable) return false;
    const { state } = supervisor;
    const asleep =
      state.kind === "created" || state.kind === "stopped" || state.kind === "suspended" || state.kind === "failed";
    return asleep && state.retryAt <= this.#options.clock.now();
  }

  reportReachable(machine: MachineId, service: Port, generation: number): void {
    this.#supervisors.get(machine)?.desk.reachable(service, generation);
  }

  reportUnreachable(machine: MachineId, service: Port, generation: number, error: AppError): void {
    this.#supervisors.get(machine)?.desk.unreachable(service, generation, error);
  }

  reportFirstByte(machine: MachineId, generation: number, at: Monotonic): void {
    this.#supervisors.get(machine)?.desk.firstByte(generation, at);
  }

  onChange(app: AppName, callback: () => void): () => void {
    return this.#changes.once(app, callback);
  }

  // ── Commands ────────────────────────────────────────────────────────────────────────────────────────────────────

  async start(id: MachineId, because: string): Promise<void> {
    if (this.#closing) throw new AppError("PM10", "the node is going down");
    await this.#get(id).start(because);
  }

  async stop(id: MachineId, options: StopOptions): Promise<Cut> {
    return this.#end(this.#get(id), "stopped", options);
  }

  async suspend(id: MachineId, because = "suspended by a command"): Promise<Cut> {
    return this.#end(this.#get(id), "suspended", { because });
  }

  async restart(id: MachineId, options: Partial<StopOptions> = {}): Promise<Cut> {
    const supervisor = this.#get(id);
    const cut = await this.#end(supervisor, "restart", { because: "restarted by a command", ...options });
    await supervisor.start(options.because ?? "restarted by a command");
    return cut;
  }

  async destroy(id: MachineId, how: { readonly force: boolean; readonly because?: string | undefined }): Promise<void> {
    const supervisor = this.#get(id);
    const { kind } = supervisor.state;
    const down = kind === "created" || kind === "stopped" || kind === "suspended" || kind === "failed";
    if (!down && !how.force) throw new AppError("conflict", `the Machine is ${kind}: stop it first, or use force`);
    await this.#end(supervisor, "destroyed", { because: how.because ?? "destroyed by a command", drain: false });
  }

  propose(id: MachineId, wish: SleepWish): boolean {
    if (this.#closing) return false;
    return this.#supervisors.get(id)?.sleep(wish.generation, wish.action, wish.because) ?? false;
  }

  why(id: MachineId): WhyReport {
    const supervisor = this.#get(id);
    const { clock, registry } = this.#options;
    const { state, machine } = supervisor;
    return explain({
      machine: id,
      app: machine.app,
      status: registry.view.status(id),
      holders: supervisor.holders(),
      wakeable: machine.config.services.some((service) => service.autostart),
      cordoned: machine.cordoned,
      retryAt: state.retryAt,
      restartAt: state.kind === "stopped" || state.kind === "failed" ? state.restartAt : undefined,
      drainUntil: supervisor.drainUntil,
      verdict: this.#loop.verdict(id),
      nextPass: this.#loop.nextPass,
      now: clock.now(),
      wall: clock.wall(),
    });
  }

  receipt(id: MachineId): Receipt | undefined {
    return this.#get(id).desk.receipt;
  }

  holders(id: MachineId): readonly Holder[] {
    return this.#get(id).holders();
  }

  async wait(id: MachineId, states: readonly MachineStateKind[], timeout: Milliseconds): Promise<void> {
    const abort = new AbortController();
    const reached = this.#get(id).until((state) => states.includes(state.kind), abort.signal);
    await new Promise<void>((resolve, reject) => {
      const timer = this.#options.clock.after(timeout, () => {
        abort.abort();
        reject(new AppError("timeout", `the Machine is not ${states.join(" or ")} after ${timeout / 1000} s`));
      });
      void reached.then(() => {
        timer.cancel();
        resolve();
      });
    });
  }

  setAutostop(settings: AutostopSettings): void {
    this.#loop.set(settings);
  }

  setLimits(limits: MachineLimits): void {
    this.#limits = limits;
    this.#slots.setLimits(limits);
  }

  async up(): Promise<void> {
    await startWhatShouldRun(this.#supervisors.values(), this.#running, this.#options.registry.view);
  }

  async recover(): Promise<void> {
    const { driver, memory } = this.#options;
    await recoverAll(this.#supervisors, driver, memory);
  }

  async shutdown({ drain }: { readonly drain: boolean }): Promise<Cut> {
    this.#closing = true;
    this.#loop.stop();
    const because = "the node is going down";
    // Those that rest shall be found in the node's next life as they are now.
    const ends = [...this.#supervisors.values()]
      .filter((supervisor) => !supervisor.rests)
      .map((supervisor) => this.#end(supervisor, "stopped", { because, drain }).catch((): Cut => ({ cut: [] })));
    const cuts = await Promise.all(ends);
    this.close();
    return { cut: cuts.flatMap((one) => one.cut) };
  }

  close(): void {
    this.#closing = true;
    this.#loop.stop();
    for (const unsubscribe of this.#unsubscribe.splice(0)) unsubscribe();
    for (const supervisor of this.#supervisors.values()) supervisor.close();
    this.#changes.notifyAll();
  }

  // ── Inside ──────────────────────────────────────────────────────────────────────────────────────────────────────

  #get(id: MachineId): Supervisor {
    const supervisor = this.#supervisors.get(id);
    if (supervisor === undefined) throw new AppError("not_found", `there is no Machine ${id} on this host`);
    return supervisor;
  }

  async #end(
    supervisor: Supervisor,
    to: "stopped" | "suspended" | "restart" | "destroyed",
    how: StopOptions,
  ): Promise<Cut> {
    const wanted = { ...ending(to, how.because), signal: how.signal, timeout: how.timeout };
    const cut = await supervisor.end(wanted, how.drain ?? true);
    if (cut.length > 0) {
      const { id, app } = supervisor.machine;
      this.#options.log.warn({ machine: id, app, cut }, "connections and requests were cut");
    }
    return { cut };
  }

  #adopt(machine: Machine): void {
    if (this.#options.owns?.(machine) === false) return;
    this.#supervisors.set(machine.id, new Supervisor(machine, this.#context));
  }

  #follow(change: RegistryChange): void {
    if (change.kind !== "machine") return;
    const supervisor = this.#supervisors.get(change.id);
    if (change.gone) {
      if (supervisor !== undefined) void this.#taken(supervisor);
      return;
    }
    const machine = this.#options.registry.view.machine(change.id);
    if (machine === undefined) return;
    if (supervisor !== undefined) supervisor.configure(machine);
    else if (!this.#closing) this.#adopt(machine);
    this.#changes.notify(machine.app);
  }

  /** The catalogue no longer knows it: whatever runs of it goes. */
  async #taken(supervisor: Supervisor): Promise<void> {
    const { kind } = supervisor.state;
    if (kind === "destroying" || kind === "destroyed") return;
    await this.#end(supervisor, "destroyed", { because: "it was removed", drain: false }).catch((error: unknown) =>
      this.#options.log.error({ err: error, machine: supervisor.machine.id }, "a removed Machine could not be ended"),
    );
  }

  async #forget(id: MachineId): Promise<void> {
    const { registry } = this.#options;
    if (registry.view.machine(id) !== undefined) await registry.commands.removeMachine(id);
  }

  #moved(id: MachineId): void {
    const supervisor = this.#supervisors.get(id);
    if (supervisor === undefined) return;
    const { kind } = supervisor.state;
    const { memory, registry } = this.#options;
    const known = memory === undefined ? undefined : lastKnown(registry.view.status(id));
    if (known !== undefined) memory?.note(id, known);
    if (kind === "started" || kind === "starting") {
      this.#running.add(supervisor);
      if (!this.#closing) this.#loop.wake();
    } else {
      this.#running.delete(supervisor);
    }
    if (kind !== "destroyed") return;
    this.#supervisors.delete(id);
    supervisor.close();
  }

  #emit(event: MachineEvent): void {
    try {
      this.#options.onEvent(event);
    } catch (error) {
      this.#options.log.error({ err: error }, "a listener for events failed");
    }
  }

  #slotFreed(): void {
    const apps = [...this.#wantSlots];
    this.#wantSlots.clear();
    for (const app of apps) this.#changes.notify(app);
  }

  // ── Autostop ────────────────────────────────────────────────────────────────────────────────────────────────────

  #act(verdict: AutostopVerdict): void {
    const { machine, generation, action, because } = verdict;
    const supervisor = this.#supervisors.get(machine);
    if (supervisor === undefined) return;
    supervisor.desk.emptying = action === "empty";
    if (action === "stop" || action === "suspend") this.propose(machine, { generation, action, because });
  }
}
