/** What the commands on Machines do to the catalogue, or why they may not. */
import { AppError } from "../core/errors.ts";
import { machineIdFrom, type AppName, type MachineId } from "../core/ids.ts";
import { err, ok, type Result } from "../core/result.ts";
import { machineAddress } from "../network/address.ts";
import type { Catalogue } from "./catalogue.ts";
import type { NewMachine } from "./commands.ts";
import { draw, noApp, noMachine, readU32, refuse, type Decision, type Draws } from "./decision.ts";
import { canonicalConfig, runsTheSame, toJson } from "./machine-codec.ts";
import { madeUpName } from "./machine-name.ts";
import type { Machine, MachineConfig } from "./model.ts";

const MACHINE_NAME = /^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$/;

export function createMachine(state: Catalogue, input: NewMachine, draws: Draws): Decision<Machine> {
  const app = state.app(input.app);
  if (app === undefined) return noApp(input.app);
  const config = checkConfig(input.config);
  if (!config.ok) return config;
  const name = input.name === undefined ? freeMachineName(state, input.app, draws) : ok(input.name);
  if (!name.ok) return name;
  const problem = machineNameProblem(state, input.app, name.value, undefined);
  if (problem !== undefined) return err(problem);
  const id = draw(
    () => machineIdFrom(draws.random(7)),
    (candidate) => state.machine(candidate) === undefined,
  );
  const address = draw(
    () => {
      const part = readU32(draws.random(4));
      // 0:a in groups 6 and 7 is how a peer's address looks.
      return part === 0x0000_000a ? undefined : machineAddress(app.network, draws.host, part);
    },
    (candidate) => state.machineAt(candidate) === undefined,
  );
  if (id === undefined || address === undefined) return refuse("exhausted", "no free Machine id or address was found");
  const value: Machine = {
    id,
    name: name.value,
    app: input.app,
    network: app.network,
    region: input.region,
    host: draws.host,
    address,
    config: config.value,
    instance: draws.ulid(),
    version: 1,
    cordoned: input.cordoned ?? false,
    createdAt: draws.now,
    updatedAt: draws.now,
  };
  return ok({ events: [{ kind: "machine", value }], value });
}

export function updateMachine(
  state: Catalogue,
  id: MachineId,
  change: { readonly config?: MachineConfig; readonly name?: string; readonly cordoned?: boolean },
  draws: Draws,
): Decision<Machine> {
  const old = state.machine(id);
  if (old === undefined) return noMachine(id);
  const config = change.config === undefined ? ok(old.config) : checkConfig(change.config);
  if (!config.ok) return config;
  if (change.name !== undefined) {
    const problem = machineNameProblem(state, old.app, change.name, id);
    if (problem !== undefined) return err(problem);
  }
  const isSame =
    (change.name ?? old.name) === old.name &&
    (change.cordoned ?? old.cordoned) === old.cordoned &&
    toJson(config.value) === toJson(old.config);
  // A reload asks for what is there already, for every Machine: nothing is written and nobody is told.
  if (isSame) return ok({ events: [], value: old });
  const newVersion = !runsTheSame(old.config, config.value);
  const value: Machine = {
    ...old,
    name: change.name ?? old.name,
    config: config.value,
    instance: newVersion ? draws.ulid() : old.instance,
    version: newVersion ? old.version + 1 : old.version,
    cordoned: change.cordoned ?? old.cordoned,
    updatedAt: draws.now,
  };
  return ok({ events: [{ kind: "machine", value }], value });
}

export function removeMachine(state: Catalogue, id: MachineId): Decision<void> {
  if (state.machine(id) === undefined) return noMachine(id);
  return ok({ events: [{ kind: "machine-gone", id }], value: undefined });
}

function checkConfig(config: MachineConfig): Result<MachineConfig, AppError> {
  try {
    return ok(canonicalConfig(config));
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    return err(new AppError("invalid", `the Machine's config is not valid: ${why}`, { cause }));
  }
}

function machineNameProblem(
  state: Catalogue,
  app: AppName,
  name: string,
  except: MachineId | undefined,
): AppError | undefined {
  if (!MACHINE_NAME.test(name)) {
    return new AppError("invalid", "a Machine's name has letters, digits, dashes, dots and underscores, at most 63");
  }
  const other = state.machinesOf(app).find((machine) => machine.name === name && machine.id !== except);
  return other && new AppError("name_taken", `app "${app}" has a Machine "${name}" already: ${other.id}`);
}

function freeMachineName(state: Catalogue, app: AppName, draws: Draws): Result<string, AppError> {
  const taken = new Set(state.machinesOf(app).map((machine) => machine.name));
  const name = draw(
    () => madeUpName(draws.random(4)),
    (candidate) => !taken.has(candidate),
  );
  return name === undefined ? refuse("exhausted", "no free name for the Machine was found") : ok(name);
}
