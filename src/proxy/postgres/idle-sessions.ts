import type { Clock, Timer } from "../../core/clock.ts";
import type { MachineId } from "../../core/ids.ts";
import { ms, type Milliseconds } from "../../core/units.ts";

/** A session, as far as ending it is concerned. */
export interface EndableSession {
  /** At a message boundary, outside a transaction, with nothing on its way. */
  readonly isIdle: boolean;
  /** Monotonic time of the last byte in either direction. */
  readonly lastByte: number;
  end(): void;
}

/**
 * `idle_sessions = "end"`: when every session of a Machine has been idle for long enough, all of them are ended, so that
 * a pool of idle clients does not keep a database up all night. One that is busy, listens or cannot be read keeps them all.
 */
export class IdleSessions {
  readonly #clock: Clock;
  readonly #patience: () => Milliseconds;
  readonly #sessions = new Map<MachineId, Set<EndableSession>>();
  readonly #timers = new Map<MachineId, Timer>();

  constructor(clock: Clock, patience: () => Milliseconds) {
    this.#clock = clock;
    this.#patience = patience;
  }

  /** Gives back what takes it out again. */
  add(machine: MachineId, session: EndableSession): () => void {
    let sessions = this.#sessions.get(machine);
    if (sessions === undefined) this.#sessions.set(machine, (sessions = new Set()));
    sessions.add(session);
    if (!this.#timers.has(machine)) this.#arm(machine, this.#patience());
    return () => {
      sessions.delete(session);
      if (sessions.size > 0 || this.#sessions.get(machine) !== sessions) return;
      this.#sessions.delete(machine);
      this.#timers.get(machine)?.cancel();
      this.#timers.delete(machine);
    };
  }

  #arm(machine: MachineId, after: Milliseconds): void {
    this.#timers.set(
      machine,
      this.#clock.after(after, () => this.#look(machine)),
    );
  }

  #look(machine: MachineId): void {
    const wait = this.#wait(machine);
    if (wait > 0) return this.#arm(machine, wait);
    // Once around the event loop: what a client has sent already is read first, and then it is not idle.
    setImmediate(() => setImmediate(() => this.#end(machine)));
  }

  #end(machine: MachineId): void {
    const wait = this.#wait(machine);
    if (wait > 0) return this.#arm(machine, wait);
    this.#timers.delete(machine);
    for (const session of this.#sessions.get(machine) ?? []) session.end();
  }

  /** How long until all could have been idle for long enough; 0: they have. */
  #wait(machine: MachineId): Milliseconds {
    const patience = this.#patience();
    let wait = 0;
    for (const session of this.#sessions.get(machine) ?? []) {
      const idle = session.isIdle ? this.#clock.now() - session.lastByte : 0;
      wait = Math.max(wait, patience - idle);
    }
    return ms(Math.max(0, wait));
  }
}
