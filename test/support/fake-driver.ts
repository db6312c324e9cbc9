import type { Clock } from "../../src/core/clock.ts";
import { AppError } from "../../src/core/errors.ts";
import type { MachineId } from "../../src/core/ids.ts";
import { ms, type Port } from "../../src/core/units.ts";
import type { Signal } from "../../src/config/model.ts";
import type { Exit, MachineDriver, RecoveredMachine, StartedMachine } from "../../src/machines/driver.ts";
import type { DialAddress } from "../../src/network/plane.ts";
import type { Machine } from "../../src/registry/model.ts";

/** How the Machines of a fake driver behave. All times in milliseconds of the test's clock. */
export interface FakeBehaviour {
  startDelay: (id: MachineId) => number;
  stopDelay: (id: MachineId) => number;
  /** A message: the start fails with it. */
  startFails: (id: MachineId) => string | undefined;
  suspendFails: (id: MachineId) => boolean;
  resumeFails: (id: MachineId) => boolean;
  stopFails: (id: MachineId) => boolean;
  /** The process ends before its start is reported. */
  diesYoung: (id: MachineId) => boolean;
  /** How late the end of a process is told. */
  exitDelay: (id: MachineId) => number;
}

export interface FakeProcess {
  readonly generation: number;
  readonly pid: number;
  frozen: boolean;
}

/** Machines without processes: they take the time, and fail, as the test says. Notices what no driver should be asked. */
export class FakeDriver implements MachineDriver {
  readonly live = new Map<MachineId, FakeProcess>();
  readonly calls: string[] = [];
  /** Deeds that would have gone wrong with real processes. Must stay empty. */
  readonly violations: string[] = [];
  readonly behaviour: FakeBehaviour = {
    startDelay: () => 0,
    stopDelay: () => 0,
    startFails: () => undefined,
    suspendFails: () => false,
    resumeFails: () => false,
    stopFails: () => false,
    diesYoung: () => false,
    exitDelay: () => 0,
  };
  /** Called when a stop or suspend begins that the node asked for, before anything happens. */
  onStart: (id: MachineId, generation: number) => void = () => {};
  onPutDown: (id: MachineId, what: "stop" | "suspend", signal: Signal | undefined) => void = () => {};
  readonly #clock: Clock;
  readonly #starting = new Set<MachineId>();
  readonly #observers = new Set<(id: MachineId, generation: number, exit: Exit) => void>();
  #lastPid = 1000;
  #epoch = 0;
  readonly #untold = new Map<MachineId, number>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  startsOf(id: MachineId): number {
    return this.calls.filter((call) => call === `start ${id}`).length;
  }

  /** A process of it has ended, and the observers do not know yet. */
  untold(id: MachineId): boolean {
    return (this.#untold.get(id) ?? 0) > 0;
  }

  get starting(): number {
    return this.#starting.size;
  }

  async start(machine: Machine, generation: number): Promise<StartedMachine> {
    const { id } = machine;
    const { startFails, startDelay, diesYoung } = this.behaviour;
    this.calls.push(`start ${id}`);
    if (this.live.has(id) || this.#starting.has(id)) this.violations.push(`start of ${id}, which runs or starts`);
    this.#starting.add(id);
    this.onStart(id, generation);
    const fails = startFails(id);
    if (fails === undefined && diesYoung(id)) {
      this.#starting.delete(id);
      const pid = ++this.#lastPid;
      this.#tell(id, generation, { code: 1, signal: undefined });
      await this.#wait(startDelay(id));
      return { pid };
    }
    await this.#wait(startDelay(id));
    this.#starting.delete(id);
    if (fails !== undefined) throw new AppError("PM02", fails);
    const process = { generation, pid: ++this.#lastPid, frozen: false };
    this.live.set(id, process);
    return { pid: process.pid };
  }

  async stop(id: MachineId, how: { readonly signal: Signal }): Promise<Exit> {
    this.calls.push(`stop ${id} ${how.signal}`);
    if (this.behaviour.stopFails(id)) throw new AppError("PM07", "will not stop");
    const process = this.live.get(id);
    if (process === undefined) return { code: undefined, signal: undefined };
    this.onPutDown(id, "stop", how.signal);
    await this.#wait(this.behaviour.stopDelay(id));
    const exit = { code: undefined, signal: how.signal };
    if (this.live.get(id) === process) this.#end(id, process, exit);
    return exit;
  }

  async signal(id: MachineId, signal: NodeJS.Signals): Promise<void> {
    this.calls.push(`signal ${id} ${signal}`);
  }

  async suspend(id: MachineId): Promise<void> {
    this.calls.push(`suspend ${id}`);
    const process = this.live.get(id);
    if (process === undefined) throw new AppError("PM07", "does not run");
    this.onPutDown(id, "suspend", undefined);
    await this.#wait(this.behaviour.stopDelay(id));
    if (this.behaviour.suspendFails(id)) throw new AppError("PM07", "cannot be frozen");
    process.frozen = true;
  }

  async resume(id: MachineId): Promise<void> {
    this.calls.push(`resume ${id}`);
    const process = this.live.get(id);
    await this.#wait(this.behaviour.startDelay(id));
    if (process === undefined || this.live.get(id) !== process || this.behaviour.resumeFails(id))
      throw new AppError("PM07", "cannot be thawed");
    process.frozen = false;
  }

  endpoint(machine: Machine, port: Port): readonly DialAddress[] {
    return [{ host: machine.address, port }];
  }

  observe(onExit: (id: MachineId, generation: number, exit: Exit) => void): () => void {
    this.#observers.add(onExit);
    return () => this.#observers.delete(onExit);
  }

  async recover(): Promise<readonly RecoveredMachine[]> {
    return [...this.live].map(([id, { generation, pid, frozen }]) => ({ id, generation, pid, suspended: frozen }));
  }

  async release(id: MachineId): Promise<void> {
    this.calls.push(`release ${id}`);
    if (this.live.has(id)) this.violations.push(`release of ${id}, which runs`);
  }

  async remove(id: MachineId): Promise<void> {
    this.calls.push(`remove ${id}`);
    if (this.live.has(id)) this.violations.push(`removal of ${id}, which runs`);
  }

  logFiles(): readonly string[] {
    return [];
  }

  async close(): Promise<void> {}

  /** The main process ends by itself. False: there is none. */
  crash(id: MachineId, exit: Exit = { code: 1, signal: undefined }): boolean {
    const process = this.live.get(id);
    if (process === undefined) return false;
    this.calls.push(`crash ${id}`);
    this.#end(id, process, exit);
    return true;
  }

  #end(id: MachineId, process: FakeProcess, exit: Exit): void {
    this.live.delete(id);
    this.#tell(id, process.generation, exit);
  }

  #tell(id: MachineId, generation: number, exit: Exit): void {
    const epoch = this.#epoch;
    this.#untold.set(id, (this.#untold.get(id) ?? 0) + 1);
    const tell = (): void => {
      if (epoch !== this.#epoch) return;
      this.calls.push(`exit ${id} ${generation}`);
      this.#untold.set(id, (this.#untold.get(id) ?? 1) - 1);
      for (const observer of this.#observers) observer(id, generation, exit);
    };
    const delay = this.behaviour.exitDelay(id);
    if (delay > 0) this.#clock.after(ms(delay), tell);
    else tell();
  }

  /** The node was killed: what was under way never comes back, and what runs runs on. */
  forgetNode(): void {
    this.#epoch++;
    this.#starting.clear();
    this.#untold.clear();
    this.#observers.clear();
  }

  /** A delay of 0 still takes a turn of the microtask queue, as every real driver does. */
  async #wait(delay: number): Promise<void> {
    if (delay <= 0) return;
    const epoch = this.#epoch;
    await new Promise<void>((resolve) =>
      this.#clock.after(ms(delay), () => {
        if (epoch === this.#epoch) resolve();
      }),
    );
  }
}
