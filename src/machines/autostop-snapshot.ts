import type { AutostopMode } from "../config/model.ts";
import type { RegionCode } from "../core/ids.ts";
import type { Machine } from "../registry/model.ts";
import type { RegistryView } from "../registry/view.ts";
import type { AutostopGroup, AutostopMachine } from "./autostop.ts";
import type { Supervisor } from "./supervisor.ts";

/** Machines of one key are judged together: app, region and process group. */
export function groupKey(machine: Machine): string {
  return `${machine.app}/${machine.region}/${machine.config.processGroup}`;
}

/** What autostop decides on: the Machines that run, or start, as they are now. */
export function groupsOf(running: Iterable<Supervisor>, view: RegistryView): readonly AutostopGroup[] {
  const groups = new Map<string, AutostopGroup & { readonly machines: AutostopMachine[] }>();
  for (const supervisor of running) {
    const { machine } = supervisor;
    const key = groupKey(machine);
    const group = groups.get(key) ?? {
      app: machine.app,
      region: machine.region,
      processGroup: machine.config.processGroup,
      floor: floorOf(machine, view),
      machines: [],
    };
    group.machines.push(describe(supervisor));
    groups.set(key, group);
  }
  return [...groups.values()];
}

function describe({ machine, state, desk, holding, idleSince }: Supervisor): AutostopMachine {
  const slots = [...desk.ledger.slots()];
  return {
    id: machine.id,
    generation: state.generation,
    mode: modeOf(machine),
    ready: state.kind === "started",
    claims: holding,
    full: slots.some((slot) => slot.inFlight >= slot.softLimit),
    unhealthy: slots.some((slot) => slot.unhealthy),
    idleSince,
    cordoned: machine.cordoned,
  };
}

/** `off` on any service keeps the Machine up; it is suspended only when all of them say so. */
function modeOf(machine: Machine): AutostopMode {
  const modes = machine.config.services.map((service) => service.autostop);
  if (modes.length === 0 || modes.includes("off")) return "off";
  return modes.every((mode) => mode === "suspend") ? "suspend" : "stop";
}

/** `min_machines_running` where it counts: in the primary region, with autostop on. The larger of several services. */
export function floorOf(machine: Machine, view: RegistryView): number {
  if (machine.region !== primaryRegion(machine, view)) return 0;
  const floors = machine.config.services.map((s) => (s.autostop === "off" ? 0 : s.minMachinesRunning));
  return Math.max(0, ...floors);
}

/** Whether `min_machines_running` wants this one: too few others of its group run. */
export function isNeeded(machine: Machine, running: Iterable<Supervisor>, view: RegistryView): boolean {
  const floor = floorOf(machine, view);
  if (floor === 0) return false;
  const key = groupKey(machine);
  let others = 0;
  for (const one of running) if (one.machine.id !== machine.id && groupKey(one.machine) === key) others++;
  return others < floor;
}

/** An app that names none: where its first Machine stands. */
function primaryRegion(machine: Machine, view: RegistryView): RegionCode {
  return view.app(machine.app)?.primaryRegion ?? view.machinesOf(machine.app)[0]?.region ?? machine.region;
}
