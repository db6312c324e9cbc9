import type { Clock } from "../../core/clock.ts";
import type { AppName, MachineId } from "../../core/ids.ts";
import type { Result } from "../../core/result.ts";
import { ms, type Milliseconds } from "../../core/units.ts";
import type { Machine } from "../../registry/model.ts";
import { Cgroups } from "./cgroups.ts";
import type { Life, Suspension } from "./life.ts";
import { freezeAll, killAll, thawAll, type SignalMembers } from "./members.ts";
import { isLiving, isSameProcess, readProcess } from "./processes.ts";
import { unenforced } from "./vm-sizes.ts";

/** How Machines are suspended here. */
export type Freezer =
  | { readonly kind: "cgroup"; readonly where: string }
  /** By SIGSTOP. Programs can tell, and a parent is told of children that stop; memory is kept all the same. */
  | { readonly kind: "signals"; readonly why: string };

/** Most wakes are over by then. */
const HOLD_LATER = ms(1000);

export interface StandstillOptions {
  readonly stateDir: string;
  readonly clock: Clock;
  /** To say each message once. */
  readonly tell: (app: AppName, message: string) => void;
  /** @default "cgroup" where the kernel lets us */
  readonly freezer?: "signals" | undefined;
}

/**
 * All processes of a Machine at once: its control group where the kernel lets us have one, signals elsewhere, and for what
 * control groups cannot do. A group also knows those that nothing else tells to be the Machine's, and holds it to its size.
 */
export class Standstill {
  readonly #groups: Result<Cgroups, string>;
  readonly #options: StandstillOptions;

  private constructor(options: StandstillOptions, groups: Result<Cgroups, string>) {
    this.#options = options;
    this.#groups = groups;
  }

  static async open(options: StandstillOptions): Promise<Standstill> {
    const groups: Result<Cgroups, string> =
      options.freezer === "signals" ? { ok: false, error: "as asked for" } : await Cgroups.open(options.stateDir);
    return new Standstill(options, groups);
  }

  get freezer(): Freezer {
    return this.#groups.ok
      ? { kind: "cgroup", where: this.#groups.value.where }
      : { kind: "signals", why: this.#groups.error };
  }

  /**
   * To be called when it has started. Moving a process takes the kernel a millisecond, at times twenty, in which others wait to
   * fork: with a size to be held to, that is the price; else it is done when the wake is over, or when it is suspended.
   */
  hold(machine: Machine, life: Life): void {
    const { cpus, memoryMb } = machine.config.guest;
    const join = (): void => void (life.held = this.#hold(machine, life).catch(() => undefined));
    if (cpus !== undefined || memoryMb !== undefined) join();
    else if (this.#groups.ok) life.joins = this.#options.clock.after(HOLD_LATER, join);
  }

  /** Resolves when nothing moves any more. */
  async #settled(life: Life): Promise<void> {
    life.joins?.cancel();
    await life.held;
  }

  async #hold({ id, app, config }: Machine, life: Life): Promise<void> {
    const { guest } = config;
    const groups = this.#groups;
    const refused =
      groups.ok && isSameProcess(life.pid, life.startTime)
        ? await groups.value.join(id, guest, life.pid).then(() => undefined, String)
        : undefined;
    const why = unenforced(guest, groups.ok ? (refused ?? groups.value) : groups.error);
    if (why !== undefined) this.#options.tell(app, why);
  }

  /** @errors PM07 when it cannot be done completely: the Machine goes on */
  async suspend(life: Life, members: SignalMembers): Promise<Suspension> {
    await this.#settled(life);
    if (this.#groups.ok) {
      const groups = this.#groups.value;
      const pids = async (): Promise<readonly number[]> => (await members(undefined)).map(({ pid }) => pid);
      try {
        await groups.freeze(life.id, pids, this.#options.clock);
        return "frozen";
      } catch {
        // One that the kernel keeps from freezing may stand all the same, in the kernel's hands.
        await groups.thaw(life.id).catch(() => undefined);
      }
    }
    await freezeAll(members, this.#options.clock);
    return "stopped";
  }

  async resume(life: Life, members: SignalMembers): Promise<void> {
    if (life.suspended === "frozen" && this.#groups.ok) await this.#groups.value.thaw(life.id);
    if (life.suspended === "stopped") await thawAll(members);
  }

  /** How a Machine stands that an earlier life of the node has left. */
  found(id: MachineId, pid: number): Suspension | undefined {
    if (this.#groups.ok && this.#groups.value.isFrozen(id)) return "frozen";
    const state = readProcess(pid)?.state;
    return state === "T" || state === "t" ? "stopped" : undefined;
  }

  /** False when somebody is left after `patience`. */
  async kill(life: Life, members: SignalMembers, patience: Milliseconds): Promise<boolean> {
    const groups = this.#groups;
    if (!groups.ok) return killAll(members, this.#options.clock, patience);
    const everybody: SignalMembers = async (signal) => {
      await groups.value.kill(life.id);
      const found = await members(signal);
      const known = new Set(found.map(({ pid }) => pid));
      const others = groups.value.processes(life.id).filter((pid) => !known.has(pid));
      return [...found, ...others.flatMap((pid) => readProcess(pid) ?? []).filter(isLiving)];
    };
    return killAll(everybody, this.#options.clock, patience);
  }

  /** When nothing of it runs any more. */
  async free(life: Life): Promise<void> {
    await this.#settled(life);
    if (this.#groups.ok) await this.#groups.value.leave(life.id);
  }

  /** Ends what an earlier life of the node has left, but for these. */
  async endOthers(keep: ReadonlySet<string>): Promise<void> {
    if (this.#groups.ok) await this.#groups.value.endOthers(keep, this.#options.clock);
  }

  async close(): Promise<void> {
    if (this.#groups.ok) await this.#groups.value.close();
  }
}
