import { AppError } from "../core/errors.ts";
import type { MachineId } from "../core/ids.ts";
import type { Workspace, WorkspaceApp } from "../config/model.ts";
import type { Registry } from "../registry/commands.ts";
import type { Machine, MachineConfig } from "../registry/model.ts";
import { machineConfig, ORIGIN_KEY, sameConfig, type Origin } from "./machine-config.ts";

/** What applying a workspace needs of the Machines. */
export interface MachineControl {
  /** Drains, stops and removes. */
  destroy(id: MachineId, options: { readonly force: boolean; readonly because: string }): Promise<void>;
  /** Drains and starts again with the newest config, when it runs; nothing when it does not. */
  restartIfRunning(id: MachineId, because: string): Promise<void>;
}

export interface Applied {
  /** Apps whose definition or Machines changed; empty when the files say what already is. */
  readonly changed: readonly string[];
}

/**
 * Makes the registry say what the files say: organisations, networks, apps, addresses, Machines. Everything that can be refused is
 * checked before anything is changed. Addresses are added; they are given back only when `previous` had them and the files no
 * longer do, so that what a person allocated by hand stays. Machines made through the API are left alone; those of a
 * workspace end when their app is no longer in it, those of a deploy stay.
 * @errors conflict when an app of that name belongs to another organisation or network.
 */
export async function applyWorkspace(
  registry: Registry,
  machines: MachineControl,
  workspace: Workspace,
  previous: Workspace | undefined,
  origin: Origin = "workspace",
): Promise<Applied> {
  for (const app of workspace.apps) refuseMove(registry, app);
  const changed = new Set<string>();
  const restarts: { id: MachineId; app: string }[] = [];
  const goners: { machine: Machine; because: string }[] = [];

  for (const app of workspace.apps) {
    if (await applyApp(registry, app)) changed.add(app.name);
    const before = previous?.apps.find((candidate) => candidate.name === app.name);
    if (before !== undefined && (await releaseAddresses(registry, app, before))) changed.add(app.name);
    const plan = planMachines(registry.view.machinesOf(app.name), app, origin);
    for (const machine of plan.remove) goners.push({ machine, because: "the workspace asks for fewer Machines" });
    for (const { machine, config } of plan.update) {
      await registry.commands.updateMachine(machine.id, { config });
      // Limits and ports apply to the next connection; what the process itself sees needs a new life.
      if (!sameProcess(machine.config, config)) restarts.push({ id: machine.id, app: app.name });
      changed.add(app.name);
    }
    for (const { region, config } of plan.create) {
      await registry.commands.createMachine({ app: app.name, region, config });
      changed.add(app.name);
    }
  }
  const names = new Set(workspace.apps.map((app) => app.name));
  for (const machine of origin === "workspace" ? registry.view.machines() : []) {
    if (machine.config.metadata[ORIGIN_KEY] === "workspace" && !names.has(machine.app)) {
      goners.push({ machine, because: "its app is no longer in the workspace" });
    }
  }
  for (const { machine } of goners) changed.add(machine.app);
  await Promise.all(goners.map(({ machine, because }) => machines.destroy(machine.id, { force: true, because })));
  // One after the other within an app: with two Machines, one always serves.
  const byApp = groupByApp(restarts);
  await Promise.all(
    [...byApp.values()].map(async (list) => {
      for (const { id } of list) await machines.restartIfRunning(id, "its definition changed");
    }),
  );
  return { changed: [...changed].toSorted() };
}

function groupByApp(list: readonly { id: MachineId; app: string }[]): Map<string, { id: MachineId; app: string }[]> {
  const groups = new Map<string, { id: MachineId; app: string }[]>();
  for (const item of list) groups.set(item.app, [...(groups.get(item.app) ?? []), item]);
  return groups;
}

function refuseMove(registry: Registry, app: WorkspaceApp): void {
  const existing = registry.view.app(app.name);
  if (existing === undefined) return;
  const network = registry.view.network(existing.network);
  if (existing.org === app.org && network?.name === app.network) return;
  throw new AppError(
    "conflict",
    `App "${app.name}" already belongs to organisation "${existing.org}", network "${network?.name ?? "?"}"; ` +
      `an app stays in its network for life. Give it another name, or destroy it first.`,
    { details: { next: `flycast apps destroy ${app.name}` } },
  );
}

async function applyApp(registry: Registry, app: WorkspaceApp): Promise<boolean> {
  const { commands, view } = registry;
  let changed = false;
  if (view.organisation(app.org) === undefined) {
    await commands.createOrganisation({ slug: app.org });
    changed = true;
  }
  const details = {
    primaryRegion: app.config.primaryRegion,
    protocol: app.protocol,
    idleSessions: app.idleSessions,
    tls: app.tls,
    replayFrom: app.replayFrom,
  };
  const existing = view.app(app.name);
  if (existing === undefined) {
    await commands.createApp({ name: app.name, org: app.org, network: app.network, ...details });
    changed = true;
  } else if (
    !sameConfig(details, {
      primaryRegion: existing.primaryRegion,
      protocol: existing.protocol,
      idleSessions: existing.idleSessions,
      tls: existing.tls,
      replayFrom: existing.replayFrom ?? [],
    })
  ) {
    await commands.updateApp(app.name, details);
    changed = true;
  }
  for (const target of app.flycast) {
    if (view.organisation(target.org) === undefined) await commands.createOrganisation({ slug: target.org });
    const network = await commands.ensureNetwork(target.org, target.network);
    if (view.addressesOf(app.name).some((address) => address.network === network.id)) continue;
    await commands.allocateAddress(app.name, network.id);
    changed = true;
  }
  return changed;
}

async function releaseAddresses(registry: Registry, app: WorkspaceApp, before: WorkspaceApp): Promise<boolean> {
  const wanted = new Set(app.flycast.map((target) => `${target.org}/${target.network}`));
  let changed = false;
  for (const target of before.flycast) {
    if (wanted.has(`${target.org}/${target.network}`)) continue;
    const network = registry.view.networkNamed(target.org, target.network);
    for (const address of registry.view.addressesOf(app.name)) {
      if (address.network !== network?.id) continue;
      await registry.commands.releaseAddress(app.name, address.address);
      changed = true;
    }
  }
  return changed;
}

interface MachinePlan {
  readonly create: readonly { readonly region: Machine["region"]; readonly config: MachineConfig }[];
  readonly update: readonly { readonly machine: Machine; readonly config: MachineConfig }[];
  readonly remove: readonly Machine[];
}

/**
 * Which Machines to make, change and remove. A workspace says how many there are, and the oldest ones stay; a deploy changes those
 * that are there, however many somebody scaled them to, and makes the asked number only of a group that has none.
 */
export function planMachines(existing: readonly Machine[], app: WorkspaceApp, origin: Origin): MachinePlan {
  const create: { region: Machine["region"]; config: MachineConfig }[] = [];
  const update: { machine: Machine; config: MachineConfig }[] = [];
  const left = new Set(existing.filter((machine) => machine.config.metadata[ORIGIN_KEY] !== undefined));
  const keep = (machine: Machine, config: MachineConfig): void => {
    left.delete(machine);
    if (!sameConfig(machine.config, config)) update.push({ machine, config });
  };
  for (const group of app.config.groups) {
    const config = machineConfig(app, group, origin);
    const mine = [...left]
      .filter((machine) => machine.config.processGroup === group.name)
      .toSorted((a, b) => a.createdAt - b.createdAt || (a.id < b.id ? -1 : 1));
    if (origin === "deploy" && mine.length > 0) {
      for (const machine of mine) keep(machine, config);
      continue;
    }
    for (const { region, count } of app.machines.filter((wanted) => wanted.group === group.name)) {
      const here = mine.filter((machine) => machine.region === region);
      for (const machine of here.slice(0, count)) keep(machine, config);
      for (let i = here.length; i < count; i++) create.push({ region, config });
    }
  }
  return { create, update, remove: [...left] };
}

/** Whether a running process would notice the difference. */
function sameProcess(a: MachineConfig, b: MachineConfig): boolean {
  const seen = ({
    services: _services,
    checks: _checks,
    metadata: _metadata,
    stop: _stop,
    ...rest
  }: MachineConfig): unknown => rest;
  return sameConfig(seen(a), seen(b));
}
