import type { MachineId } from "../../src/core/ids.ts";
import type { Service } from "../../src/config/model.ts";
import type { MachineEvent } from "../../src/machines/events.ts";
import type { Endpoint } from "../../src/machines/pool.ts";
import type { Work } from "../../src/proxy/context.ts";
import type { Machine, MachineStateKind } from "../../src/registry/model.ts";
import { SIM_AUTOSTOP, SIM_LIMITS, type ModelClaim, type Simulation } from "./sim-model.ts";
import { IAD } from "./world.ts";

const RUNS: readonly MachineStateKind[] = ["started", "starting", "draining"];
const DOWN: readonly MachineStateKind[] = ["created", "stopped", "failed"];

/** What must hold whenever the driver is asked for something. */
export function watchDriver(sim: Simulation): void {
  const { driver, model, clock, failedAt, weather } = sim;
  driver.onPutDown = (id, what) => {
    for (const one of model.claims) {
      if (one.machine !== id || !one.open || callerSuspended(sim, one)) continue;
      model.violated(`${what} of ${id} while a claim of ${one.since} was in use`);
    }
  };
  driver.onStart = (id) => {
    // Those that hang beyond the wake timeout no longer count.
    const starting = sim.ids
      .map((one) => sim.registry.view.status(one))
      .filter(({ state, sinceMonotonic }) => {
        return state === "starting" && clock.now() - sinceMonotonic < SIM_LIMITS.wakeTimeout;
      });
    if (starting.length > SIM_LIMITS.starts) model.violated(`${starting.length} Machines start at once`);
    const failed = failedAt.get(id);
    if (failed === undefined || weather.commands) return;
    // Half a second: the first step of the backoff.
    if (clock.now() - failed < 500) model.violated(`${id} was started ${clock.now() - failed} ms after a failed start`);
  };
}

/** What must hold when a Machine is said to do something. */
export function checkEvent(sim: Simulation, event: MachineEvent): void {
  const { model, clock, failedAt, registry } = sim;
  const id = event.machine;
  const machine = registry.view.machine(id);
  if (machine === undefined) return;
  if (event.event === "failed" && registry.view.status(id).state === "failed") failedAt.set(id, clock.now());
  if (event.event === "started") failedAt.delete(id);
  if (event.event === "wake") {
    const life = `${id}:${registry.view.status(id).generation + 1}`;
    if (sim.woken.has(life)) model.violated(`${id} was woken twice for one life`);
    sim.woken.add(life);
    if (machine.cordoned) model.violated(`${id} is cordoned, and was woken`);
    const [waker] = sim.machines.holders(id);
    const service = machine.config.services.find((s) => s.internalPort === waker?.service);
    if (service?.autostart !== true) model.violated(`${id} was woken through a service without autostart`);
  }
  if ((event.event === "stopping" && event.because.startsWith("idle")) === false) return;
  const quiet = clock.now() - (model.lastEnded.get(id) ?? 0);
  if (quiet < SIM_AUTOSTOP.idle) model.violated(`${id} sleeps only ${quiet} ms after its last claim`);
  const others = group(sim, machine).filter((m) => m.id !== id && RUNS.includes(registry.view.status(m.id).state));
  if (others.length < floorOf(machine)) model.violated(`autostop went below min_machines_running with ${id}`);
}

/** A claim was granted a moment ago. */
export function checkGrant(sim: Simulation, held: ModelClaim, work: Work): void {
  const { model, registry } = sim;
  const machine = registry.view.machine(held.machine);
  const service = machine?.config.services.find((s) => s.internalPort === held.service);
  if (machine === undefined || service === undefined) return model.violated("a claim on nothing");
  const status = registry.view.status(held.machine);
  const count = model.count(held.machine, held.service);
  const limit = service.concurrency.hardLimit ?? Number.POSITIVE_INFINITY;
  if (count > limit) model.violated(`${count} claims on ${held.machine}, whose hard limit is ${limit}`);
  if (machine.cordoned) model.violated(`a claim on ${held.machine}, which is cordoned`);
  if (!RUNS.includes(status.state)) model.violated(`a claim on ${held.machine}, which is ${status.state}`);
  const overdue = sim.clock.now() - status.sinceMonotonic > SIM_LIMITS.wakeTimeout;
  if (status.state === "starting" && overdue) model.violated(`a claim waits for ${held.machine}, whose start hangs`);
  if (status.unhealthyPorts.has(held.service)) model.violated(`a claim on ${held.machine}, which is unhealthy`);
  if (!work.wake && service.autostart && status.state === "starting") {
    model.violated(`${held.machine} starts, and took what may not wake`);
  }
}

/** A claim was told where to dial. */
export function checkServed(sim: Simulation, held: ModelClaim, endpoint: Endpoint): void {
  const { model, driver, registry, weather, passed } = sim;
  const process = driver.live.get(held.machine);
  if (driver.untold(held.machine)) return; // it has just died, and nobody knows yet
  if (process === undefined) return model.violated(`an endpoint of ${held.machine}, which does not run`);
  if (process.frozen) model.violated(`an endpoint of ${held.machine}, which is frozen`);
  if (endpoint.generation !== held.claim.generation) model.violated(`an endpoint of another life of ${held.machine}`);
  const service = registry.view.machine(held.machine)?.config.services.find((s) => s.internalPort === held.service);
  const checked = service !== undefined && service.checks.length > 0 && !weather.nodeDeaths;
  if (checked && !passed.has(`${held.machine}:${held.service}:${process.pid}`)) {
    model.violated(`an endpoint of ${held.machine}, whose check never passed`);
  }
}

/** What must hold at every moment. */
export function checkNow(sim: Simulation): void {
  const { model, driver, registry, machines } = sim;
  for (const violation of driver.violations) model.violated(violation);
  for (const id of sim.ids) {
    const machine = registry.view.machine(id);
    for (const { internalPort } of machine?.config.services ?? []) {
      const load = machines.load(id, internalPort);
      const count = model.count(id, internalPort);
      if (load !== count) model.violated(`${id}:${internalPort} counts ${load} claims where there are ${count}`);
    }
    if (driver.untold(id)) continue;
    const { state } = registry.view.status(id);
    const process = driver.live.get(id);
    if (state === "started" && (process === undefined || process.frozen)) model.violated(`${id} is not really started`);
    if (DOWN.includes(state) && process !== undefined) model.violated(`${id} is ${state}, and yet runs`);
    if (state === "suspended" && process?.frozen !== true) model.violated(`${id} is not really suspended`);
  }
}

/** What must hold when everybody has gone home. */
export function checkAtRest(sim: Simulation, clients: { readonly count: number }): void {
  const { model, registry, machines } = sim;
  if (clients.count > 0) model.violated(`${clients.count} clients were never answered`);
  if (model.claims.size > 0) model.violated(`${model.claims.size} claims were never given back`);
  for (const id of sim.ids) {
    const machine = registry.view.machine(id);
    if (machine === undefined || machine.cordoned || machines.holders(id).length > 0) continue;
    const { state } = registry.view.status(id);
    if (!RUNS.includes(state) && !DOWN.includes(state) && state !== "suspended")
      model.violated(`${id} hangs in ${state}`);
    if (machine.config.services.some((s) => s.autostop === "off") || !RUNS.includes(state)) continue;
    const running = group(sim, machine).filter((m) => !m.cordoned && RUNS.includes(registry.view.status(m.id).state));
    if (running.length > floorOf(machine)) model.violated(`${id} never fell asleep: ${machines.why(id).next}`);
  }
}

function group(sim: Simulation, machine: Machine): readonly Machine[] {
  return sim.registry.view.machinesOf(machine.app).filter((other) => other.region === machine.region);
}

function floorOf(machine: Machine): number {
  if (machine.region !== IAD) return 0;
  const floor = (service: Service): number => (service.autostop === "off" ? 0 : service.minMachinesRunning);
  return Math.max(...machine.config.services.map(floor));
}

function callerSuspended(sim: Simulation, one: ModelClaim): boolean {
  const caller: MachineId | undefined = one.callerMachine;
  return caller !== undefined && sim.registry.view.status(caller).state === "suspended";
}
