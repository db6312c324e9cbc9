import type { Context } from "hono";
import type { Clock } from "../core/clock.ts";
import { AppError } from "../core/errors.ts";
import type { MachineId, RegionCode } from "../core/ids.ts";
import { seconds, type Milliseconds } from "../core/units.ts";
import type { Signal } from "../config/model.ts";
import type { ExecOrder, ExecResult } from "../machines/drivers/exec.ts";
import type { Registry } from "../registry/commands.ts";
import type { App, Machine } from "../registry/model.ts";
import type { History } from "./history.ts";
import type { Leases } from "./leases.ts";
import { findApp, findMachine, maySee } from "./lookup.ts";
import { MachineStates } from "./machine-states.ts";
import type { ApiMachineHome } from "./platform-config.ts";
import { machineJson } from "./platform-json.ts";
import type { MachineJson } from "./platform-schemas.ts";
import type { ApiEnv } from "./server.ts";

export interface StopWish {
  readonly because: string;
  /** Default: the Machine's own. */
  readonly signal?: Signal | undefined;
  readonly timeout?: Milliseconds | undefined;
  /** Whether connections in use may finish first. Default: true. */
  readonly drain?: boolean | undefined;
}

/** What the API asks of the Machines. */
export interface MachineCommands {
  start(id: MachineId, because: string): Promise<void>;
  stop(id: MachineId, how: StopWish): Promise<void>;
  suspend(id: MachineId, because: string): Promise<void>;
  /** A new life with the newest config. */
  restart(id: MachineId, how: StopWish): Promise<void>;
  signal(id: MachineId, signal: NodeJS.Signals): Promise<void>;
  destroy(id: MachineId, options: { readonly force: boolean; readonly because: string }): Promise<void>;
  /** Runs a command beside the main process. @errors conflict when it does not run, PM02 */
  exec(machine: Machine, order: Omit<ExecOrder, "env">): Promise<ExecResult>;
  /** Its processes, by the ids that this process knows. */
  processes(id: MachineId): readonly number[];
}

export interface MachineRoutesOptions {
  readonly registry: Registry;
  readonly clock: Clock;
  readonly machines: MachineCommands;
  readonly leases: Leases;
  readonly history: History;
  readonly nodeRegion: RegionCode;
  /** Folder and user of Machines made through the API. @errors forbidden where root would run them */
  readonly home: (app: App) => ApiMachineHome;
}

/** The header that shows whose lease it is, on every call that changes a Machine. */
export const NONCE = "fly-machine-lease-nonce";

/** A command that takes longer than this goes on after its answer: clients give up on a silent server, and then wait by `wait`. */
const PATIENCE = seconds(10);

/** What the routes of Machines have in common: to find one, to look at it, to be allowed to change it. */
export class MachineScope {
  readonly states: MachineStates;
  readonly #options: MachineRoutesOptions;

  constructor(options: MachineRoutesOptions) {
    this.#options = options;
    this.states = new MachineStates(options.registry, options.clock);
  }

  /** The Machine of the path. @errors not_found, forbidden */
  find(c: Context<ApiEnv>): Machine {
    const { view } = this.#options.registry;
    const principal = c.get("principal");
    return findMachine(view, principal, c.req.param("id") ?? "", findApp(view, principal, c.req.param("app") ?? ""));
  }

  /** Also one that was destroyed not long ago. */
  findEver(c: Context<ApiEnv>): Machine {
    const { view } = this.#options.registry;
    const principal = c.get("principal");
    const app = findApp(view, principal, c.req.param("app") ?? "");
    const gone = this.#options.history.departed((c.req.param("id") ?? "") as MachineId);
    const isOurs = gone?.app === app.name && view.machine(gone.id) === undefined && maySee(principal, app);
    return isOurs ? gone : this.find(c);
  }

  /** The Machine, unless somebody else holds its lease. @errors lease_held */
  findForChange(c: Context<ApiEnv>): Machine {
    const machine = this.find(c);
    this.#options.leases.check(machine.id, c.req.header(NONCE));
    return machine;
  }

  /** `nonce`: of the lease that the caller took with this call. */
  show(machine: Machine, nonce?: string): MachineJson {
    const { registry, leases, history } = this.#options;
    return machineJson(machine, {
      status: registry.view.status(machine.id),
      state: this.states.of(machine.id),
      events: history.of(machine),
      lease: leases.current(machine.id),
      nonce,
    });
  }

  /** Waits for a command, but not for ever: `pending` when it goes on after the answer. Rejects when it is refused meanwhile. */
  async patiently(work: Promise<unknown>): Promise<{ readonly pending?: true }> {
    return new Promise((resolve, reject) => {
      const timer = this.#options.clock.after(PATIENCE, () => resolve({ pending: true }));
      void work.then(() => resolve({}), reject).finally(() => timer.cancel());
    });
  }
}

/** A JSON body that may be missing. @errors invalid when it is there and no object */
export async function bodyOf(c: Context): Promise<Readonly<Record<string, unknown>>> {
  const text = await c.req.text();
  if (text.trim() === "") return {};
  try {
    const value: unknown = JSON.parse(text);
    // flyctl sends `null` where it has nothing to say.
    if (value === null) return {};
    if (typeof value === "object" && !Array.isArray(value)) return value as Record<string, unknown>;
  } catch {
    // Falls through to the refusal.
  }
  throw new AppError("invalid", "json: the body is not a JSON object");
}
