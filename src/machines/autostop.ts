/**
 * Who may stop now: pure. The rules are the platform's (superfly/docs reference/fly-proxy-autostop-autostart,
 * 2026-08-07), for each region and process group of an app, with one idea of ours: a Machine is put to sleep only when
 * its last claim ended, and it was started, at least `idle` ago.
 */
import type { AutostopMode } from "../config/model.ts";
import type { AppName, MachineId, RegionCode } from "../core/ids.ts";
import type { Milliseconds, Monotonic } from "../core/units.ts";

export interface AutostopMachine {
  readonly id: MachineId;
  readonly generation: number;
  /** `off` when any of its services says so, or when it has none. */
  readonly mode: AutostopMode;
  /** False: still starting. It counts as capacity, and is not touched. */
  readonly ready: boolean;
  /** Claims that hold it up. */
  readonly claims: number;
  /** A service has as many claims as its soft limit, or more: new connections would rather go elsewhere. */
  readonly full: boolean;
  /** A check fails: it takes no new traffic. */
  readonly unhealthy: boolean;
  /** The later of its start and the end of its last claim. */
  readonly idleSince: Monotonic;
  readonly cordoned: boolean;
}

/** The running Machines of one app in one region and process group. */
export interface AutostopGroup {
  readonly app: AppName;
  readonly region: RegionCode;
  readonly processGroup: string;
  /** `min_machines_running`, in the primary region; 0 in every other. */
  readonly floor: number;
  readonly machines: readonly AutostopMachine[];
}

export interface AutostopSnapshot {
  readonly idle: Milliseconds;
  readonly groups: readonly AutostopGroup[];
}

export interface AutostopVerdict {
  readonly machine: MachineId;
  readonly generation: number;
  /** `empty`: put it last, so that it falls idle. `keep`: leave it be. */
  readonly action: "stop" | "suspend" | "empty" | "keep";
  /** For people, without a full stop. */
  readonly because: string;
  /** With `keep` and `empty`: no pass before this time can stop it, as things stand. */
  readonly notBefore: Monotonic | undefined;
}

/** One verdict for each Machine; at most one of a group is stopped, suspended or emptied. */
export function decide(snapshot: AutostopSnapshot, now: Monotonic): readonly AutostopVerdict[] {
  return snapshot.groups.flatMap((group) => decideGroup(group, snapshot.idle, now));
}

function decideGroup(group: AutostopGroup, idle: Milliseconds, now: Monotonic): readonly AutostopVerdict[] {
  // An operator who cordons a Machine looks at it: hands off, and it is no capacity either.
  const running = group.machines.filter((machine) => !machine.cordoned);
  const able = running.filter((machine) => !machine.unhealthy);
  const full = able.filter((machine) => machine.full).length;
  const excess = able.length - (full + 1);
  const candidates = running.filter((machine) => machine.ready && machine.mode !== "off").toSorted(goesFirst);
  // A Machine that takes no traffic is nobody's capacity: it goes as soon as nothing holds it.
  const useless = candidates.find((machine) => machine.unhealthy && machine.claims === 0);
  const first = useless ?? candidates.find((machine) => !machine.unhealthy);

  const keep = (machine: AutostopMachine, because: string, notBefore?: Monotonic): AutostopVerdict => ({
    machine: machine.id,
    generation: machine.generation,
    action: "keep",
    because,
    notBefore,
  });

  return group.machines.map((machine) => {
    if (machine.cordoned) return keep(machine, "it is cordoned");
    if (machine.mode === "off") return keep(machine, "autostop is off for it");
    if (!machine.ready) return keep(machine, "it is starting");
    if (running.length <= group.floor) return keep(machine, `min_machines_running = ${group.floor}`); // guard: floor
    const idleAt = (machine.idleSince + idle) as Monotonic;
    const alone = able.length <= 1;
    if (machine !== useless) {
      if (machine.claims > 0 && alone) return keep(machine, `in use by ${count(machine.claims)}`);
      if (!alone && excess < 1) return keep(machine, `${full} of ${able.length} Machines are full, so all are needed`);
    }
    if (machine !== first) {
      const because = machine.claims > 0 ? `in use by ${count(machine.claims)}` : "another Machine goes first";
      return keep(machine, because, machine.claims > 0 ? undefined : idleAt);
    }
    const where = `${able.length} of ${group.machines.length} run in ${group.region} (process group ${group.processGroup})`;
    if (machine.claims === 0 && now >= idleAt) {
      const because = `idle for ${describe(now - machine.idleSince)}; ${where}`;
      return { ...keep(machine, because), action: machine.mode === "suspend" ? "suspend" : "stop" };
    }
    if (alone || machine.unhealthy) return keep(machine, `not idle for ${describe(idle)} yet`, idleAt);
    const because =
      machine.claims > 0
        ? `more capacity than needed; in use by ${count(machine.claims)}`
        : "more capacity than needed";
    return { ...keep(machine, `${because}; ${where}`, machine.claims > 0 ? undefined : idleAt), action: "empty" };
  });
}

/** The fewest claims, then the longest idle. Ids make the order total, so that each pass chooses the same one. */
function goesFirst(a: AutostopMachine, b: AutostopMachine): number {
  return a.claims - b.claims || a.idleSince - b.idleSince || (a.id < b.id ? -1 : 1);
}

function count(claims: number): string {
  return claims === 1 ? "1 connection or request" : `${claims} connections and requests`;
}

/** `10 s`, `5 min`: rounded down. */
export function describe(duration: number): string {
  const whole = Math.floor(duration / 1000);
  return whole < 120 ? `${whole} s` : `${Math.floor(whole / 60)} min`;
}
