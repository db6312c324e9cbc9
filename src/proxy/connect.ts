import type { Socket } from "node:net";
import type { Clock } from "../core/clock.ts";
import { AppError, toAppError } from "../core/errors.ts";
import type { MachineId } from "../core/ids.ts";
import { ms, type Port } from "../core/units.ts";
import type { Limits } from "../config/model.ts";
import type { Claim, Endpoint, MachinePool } from "../machines/pool.ts";
import type { Budget } from "./budget.ts";
import type { Work } from "./context.ts";
import { dial } from "./dial.ts";

/** Dials to one port of one Machine at the same time: the backlog of a small server takes that without dropping any. */
const DIALS_AT_ONCE = 64;
// Tries while a Machine starts come 1 ms apart at first (as long as a timer of half of one takes) and later after 2 % of its
// age, at most 50 ms: an app that takes 100 ms to listen is found within 2 ms, and one that takes a minute is not knocked at
// a thousand times a second.
const SHORTEST_PAUSE_MS = 0.5;
const LONGEST_PAUSE_MS = 50;
const PAUSE_SHARE = 0.02;

interface ConnectorOptions {
  readonly pool: MachinePool;
  readonly clock: Clock;
  readonly limits: () => Limits;
  readonly budget: Budget;
}

/** Connections to Machines, and what is known of the reachability of each of their ports. */
export class Connector {
  readonly #options: ConnectorOptions;
  readonly #doors = new Map<MachineId, Map<Port, Door>>();

  constructor(options: ConnectorOptions) {
    this.#options = options;
  }

  /**
   * A connection to the port of the claim's Machine. Does not release the claim.
   * @errors PC01, PC03, PC05, PC06 of a Machine that was reachable; PM03 of one that never was; FP03; the signal's
   * reason; what the pool says when the Machine's life ends meanwhile
   */
  connect(claim: Claim, endpoint: Endpoint, service: Port, work: Pick<Work, "signal" | "probe">): Promise<Socket> {
    let doors = this.#doors.get(claim.machine);
    if (doors === undefined) this.#doors.set(claim.machine, (doors = new Map()));
    let door = doors.get(service);
    if (door === undefined || door.generation !== endpoint.generation) {
      door = new Door(this.#options, claim.machine, service, endpoint);
      doors.set(service, door);
    }
    return door.enter(claim, work);
  }

  /** A connection without a claim to a port that was reached in this life of the Machine; undefined for any other. */
  revisit(machine: MachineId, service: Port, generation: number): Promise<Socket> | undefined {
    const door = this.#doors.get(machine)?.get(service);
    return door?.isOpen && door.generation === generation ? door.dial() : undefined;
  }

  /** Whether somebody has been through to this port in this life of the Machine. */
  isReachable(claim: Claim, service: Port): boolean {
    const door = this.#doors.get(claim.machine)?.get(service);
    return door !== undefined && door.generation === claim.generation && door.isOpen;
  }

  forget(machine: MachineId): void {
    this.#doors.delete(machine);
  }
}

interface Waiter {
  /** A connection made for it, or undefined: the door is open, dial yourself. */
  readonly enter: (socket: Socket | undefined) => void;
  readonly fail: (error: AppError) => void;
}

/** One port in one life of one Machine. */
class Door {
  readonly generation: number;
  isOpen = false;
  readonly #options: ConnectorOptions;
  readonly #machine: MachineId;
  readonly #service: Port;
  readonly #endpoint: Endpoint;
  /** In order of arrival. */
  readonly #waiters = new Set<Waiter>();
  readonly #lineToDial: (() => void)[] = [];
  #dialling = 0;
  #knocking = false;
  /** The address that answered last: asked first. */
  #best = 0;

  constructor(options: ConnectorOptions, machine: MachineId, service: Port, endpoint: Endpoint) {
    this.#options = options;
    this.#machine = machine;
    this.#service = service;
    this.#endpoint = endpoint;
    this.generation = endpoint.generation;
  }

  async enter(claim: Claim, { signal, probe }: Pick<Work, "signal" | "probe">): Promise<Socket> {
    if (signal.aborted) throw toAppError(signal.reason, "FP10");
    if (!this.isOpen) {
      const socket = await this.#wait(claim, signal, probe);
      if (socket !== undefined) return socket;
    }
    const socket = await this.dial();
    if (!signal.aborted) return socket;
    socket.destroy();
    throw toAppError(signal.reason, "FP10");
  }

  #wait(claim: Claim, signal: Work["signal"], probe: Work["probe"]): Promise<Socket | undefined> {
    return new Promise((resolve, reject) => {
      const leave = (): void => {
        this.#waiters.delete(waiter);
        signal.removeEventListener("abort", onAbort);
        lost.stop();
      };
      const waiter: Waiter = {
        enter: (socket) => {
          leave();
          resolve(socket);
        },
        fail: (error) => {
          leave();
          reject(error);
        },
      };
      const onAbort = (): void => waiter.fail(toAppError(signal.reason, "FP10"));
      // The pool calls back at once when the life has already ended.
      const lost = { stop: (): void => {} };
      this.#waiters.add(waiter);
      signal.addEventListener("abort", onAbort);
      lost.stop = claim.onLost((error) => waiter.fail(error));
      if (this.#waiters.has(waiter)) void this.#knock(probe);
      else lost.stop();
    });
  }

  /** The one prober. Its connection serves the first who waits; the others then dial for themselves. */
  async #knock(probe: Work["probe"]): Promise<void> {
    if (this.#knocking) return;
    this.#knocking = true;
    const { clock, limits, pool } = this.#options;
    // A Machine that is up for longer than any start takes, and whose port nobody tried so far, needs no patience.
    const isStarting = clock.now() - this.#endpoint.startedAt < limits().wakeTimeout;
    // Nobody waits any more: the start goes on without us, and the next one to come knocks again.
    while (this.#waiters.size > 0) {
      const outcome = await this.#try(probe);
      if (!("error" in outcome)) {
        this.#open(outcome.socket);
        break;
      }
      const age = clock.now() - this.#endpoint.startedAt;
      const timeout = limits().wakeTimeout;
      if (outcome.error.code === "FP03" || !isStarting) this.#failAll(outcome.error);
      else if (age >= timeout) {
        const error = this.#unreachable(outcome.error);
        pool.reportUnreachable(this.#machine, this.#service, this.generation, error);
        this.#failAll(error);
      } else {
        const pause = Math.min(LONGEST_PAUSE_MS, Math.max(SHORTEST_PAUSE_MS, age * PAUSE_SHARE), timeout - age);
        await new Promise<void>((resolve) => clock.after(ms(pause), resolve));
      }
    }
    this.#knocking = false;
  }

  async #try(probe: Work["probe"]): Promise<{ readonly socket: Socket | undefined } | { readonly error: AppError }> {
    try {
      const socket = await this.dial();
      if (probe === undefined) return { socket };
      if (await probe(socket)) return { socket: undefined };
      return { error: new AppError("PC01", "the Machine accepts connections, but does not serve them yet") };
    } catch (thrown) {
      return { error: toAppError(thrown, "PC06") };
    }
  }

  #open(socket: Socket | undefined): void {
    this.isOpen = true;
    this.#options.pool.reportReachable(this.#machine, this.#service, this.generation);
    let spare = socket;
    for (const waiter of this.#waiters) {
      waiter.enter(spare);
      spare = undefined;
    }
    spare?.destroy();
  }

  #failAll(error: AppError): void {
    for (const waiter of this.#waiters) waiter.fail(error);
  }

  #unreachable(last: AppError): AppError {
    const address = this.#endpoint.addresses[0];
    const where = address === undefined ? `port ${this.#service}` : `port ${address.port}`;
    const message =
      `the Machine started, but nothing answered on ${where} within ${this.#options.limits().wakeTimeout / 1000} s` +
      (last.cause !== undefined && last.code === "PC01"
        ? "; does the app listen on another port, or on 127.0.0.1 only?"
        : "");
    return new AppError("PM03", message, { cause: last, details: last.details });
  }

  async dial(): Promise<Socket> {
    if (this.#dialling >= DIALS_AT_ONCE) await new Promise<void>((resolve) => this.#lineToDial.push(resolve));
    this.#dialling++;
    try {
      const { clock, limits, budget } = this.#options;
      const options = { clock, budget, timeout: limits().connectTimeout };
      const { socket, index } = await dial(this.#endpoint.addresses, this.#best, options);
      this.#best = index;
      return socket;
    } finally {
      this.#dialling--;
      this.#lineToDial.shift()?.();
    }
  }
}
