import type { Clock } from "../../src/core/clock.ts";
import { AppError } from "../../src/core/errors.ts";
import type { AppName, MachineId } from "../../src/core/ids.ts";
import type { Port } from "../../src/core/units.ts";
import type { Claim, ClaimOutcome, ClaimRequest, Endpoint, MachinePool, Refusal } from "../../src/machines/pool.ts";
import type { DialAddress } from "../../src/network/plane.ts";
import type { Catalogue } from "../../src/registry/catalogue.ts";
import type { Machine, MachineStateKind } from "../../src/registry/model.ts";

/** How a Machine behaves that is no process. Starting gives the addresses of its port, or fails. */
export interface StaticMachine {
  start(generation: number): Promise<readonly DialAddress[]>;
}

interface Held {
  readonly service: Port;
  readonly lose: (error: AppError) => void;
}

interface Entry {
  readonly machine: Machine;
  readonly behaviour: StaticMachine;
  state: MachineStateKind;
  generation: number;
  endpoint: Promise<Endpoint> | undefined;
  known: Endpoint | undefined;
  cause: AppError | undefined;
  readonly claims: Set<Held>;
}

/** A pool of Machines without processes: the test says when they start, stop and fail; claims and limits are real. */
export class StaticPool implements MachinePool {
  readonly starts: MachineId[] = [];
  readonly reachable: string[] = [];
  readonly unreachable: AppError[] = [];
  readonly firstBytes: string[] = [];
  emptied = new Set<MachineId>();
  readonly #catalogue: Catalogue;
  readonly #clock: Clock;
  readonly #entries = new Map<MachineId, Entry>();
  readonly #listeners = new Set<{ app: AppName; callback: () => void }>();

  constructor(catalogue: Catalogue, clock: Clock) {
    this.#catalogue = catalogue;
    this.#clock = clock;
  }

  add(machine: Machine, behaviour: StaticMachine): void {
    this.#entries.set(machine.id, {
      machine,
      behaviour,
      state: "stopped",
      generation: 0,
      endpoint: undefined,
      known: undefined,
      cause: undefined,
      claims: new Set(),
    });
    this.setState(machine.id, "stopped");
  }

  setState(id: MachineId, state: MachineStateKind): void {
    const entry = this.#entry(id);
    entry.state = state;
    this.#catalogue.setStatus(id, {
      ...this.#catalogue.status(id),
      state,
      generation: entry.generation,
      sinceMonotonic: this.#clock.now(),
    });
    this.#changed(entry.machine.app);
  }

  /** The Machine's life ends; claims on it are lost. */
  end(id: MachineId, error = new AppError("machine_exited"), state: MachineStateKind = "stopped"): void {
    const entry = this.#entry(id);
    entry.endpoint = undefined;
    entry.known = undefined;
    const claims = [...entry.claims];
    entry.claims.clear();
    for (const claim of claims) claim.lose(error);
    this.setState(id, state);
  }

  /** What failed or is stopping can be started again. */
  forgive(id: MachineId): void {
    const entry = this.#entry(id);
    entry.cause = undefined;
    if (entry.state === "failed" || entry.state === "stopping") this.setState(id, "stopped");
  }

  /** Starts it without anybody asking. */
  async start(id: MachineId): Promise<void> {
    await this.#start(this.#entry(id));
  }

  claim(request: ClaimRequest): ClaimOutcome {
    const entry = this.#entries.get(request.machine);
    if (entry === undefined) return { ok: false, refusal: "gone" };
    const refusal = this.#refusal(entry, request);
    if (refusal !== undefined) return { ok: false, refusal, ...(entry.cause && { cause: entry.cause }) };
    const ready = entry.endpoint ?? this.#start(entry);
    ready.catch(() => {});
    return { ok: true, claim: this.#hold(entry, request, ready) };
  }

  #refusal(entry: Entry, request: ClaimRequest): Refusal | undefined {
    const service = entry.machine.config.services.find((s) => s.internalPort === request.service);
    const hard = service?.concurrency.hardLimit;
    if (hard !== undefined && this.load(entry.machine.id, request.service) >= hard) return "hard-limit";
    if (entry.state === "stopping") return "stopping";
    if (entry.state === "draining") return "draining";
    if (entry.state === "started" || entry.state === "starting") return undefined;
    if (entry.cause !== undefined) return "backoff";
    return request.wake ? undefined : "asleep";
  }

  #hold(entry: Entry, request: ClaimRequest, ready: Promise<Endpoint>): Claim {
    let lost: AppError | undefined;
    const callbacks = new Set<(error: AppError) => void>();
    const held: Held = {
      service: request.service,
      lose: (error) => {
        lost = error;
        for (const callback of callbacks) callback(error);
      },
    };
    entry.claims.add(held);
    const claim = {
      machine: entry.machine.id,
      app: entry.machine.app,
      generation: entry.generation,
      endpoint: entry.known,
      ready,
      lastByte: this.#clock.now(),
      onLost(callback: (error: AppError) => void) {
        if (lost !== undefined) callback(lost);
        callbacks.add(callback);
        return () => callbacks.delete(callback);
      },
      release: () => {
        if (entry.claims.delete(held)) this.#changed(entry.machine.app);
      },
    };
    return claim;
  }

  #start(entry: Entry): Promise<Endpoint> {
    this.starts.push(entry.machine.id);
    entry.generation++;
    const { generation } = entry;
    this.setState(entry.machine.id, "starting");
    entry.endpoint = entry.behaviour.start(generation).then(
      (addresses) => {
        // Ended meanwhile: another life may be on its way.
        if (entry.generation !== generation || entry.state !== "starting") throw new AppError("machine_exited");
        const startedAt = this.#clock.now();
        const endpoint: Endpoint = { generation, addresses, startedAt, waking: true };
        entry.known = endpoint;
        this.setState(entry.machine.id, "started");
        return endpoint;
      },
      (error: AppError) => {
        if (entry.generation === generation && entry.state === "starting") {
          entry.cause = error;
          this.end(entry.machine.id, error, "failed");
        }
        throw error;
      },
    );
    return entry.endpoint;
  }

  load(machine: MachineId, service: Port): number {
    let load = 0;
    for (const claim of this.#entries.get(machine)?.claims ?? []) if (claim.service === service) load++;
    return load;
  }

  claims(machine: MachineId): number {
    return this.#entry(machine).claims.size;
  }

  emptying(machine: MachineId): boolean {
    return this.emptied.has(machine);
  }

  startable(machine: MachineId): boolean {
    const entry = this.#entries.get(machine);
    return entry !== undefined && entry.cause === undefined;
  }

  reportReachable(machine: MachineId, service: Port, generation: number): void {
    this.reachable.push(`${machine} ${service} ${generation}`);
  }

  reportUnreachable(machine: MachineId, _service: Port, _generation: number, error: AppError): void {
    this.unreachable.push(error);
    this.#entry(machine).cause = error;
    this.end(machine, error, "failed");
  }

  reportFirstByte(machine: MachineId, generation: number): void {
    this.firstBytes.push(`${machine} ${generation}`);
  }

  onChange(app: AppName, callback: () => void): () => void {
    const listener = { app, callback };
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  #changed(app: AppName): void {
    // A copy: whoever is called back often listens again at once.
    const listeners = [...this.#listeners];
    for (const listener of listeners) {
      if (listener.app !== app) continue;
      this.#listeners.delete(listener);
      listener.callback();
    }
  }

  #entry(id: MachineId): Entry {
    const entry = this.#entries.get(id);
    if (entry === undefined) throw new Error(`no Machine ${id}`);
    return entry;
  }
}
