/**
 * Lives through random days of a node: requests, clients that leave, crashes, slow and failed starts, commands, decisions
 * of autostop that come too late, and deaths of the node. It runs the modules that production runs; only clock, driver and
 * randomness are replaced. After each step it checks what must always be true. The same seed gives the same day.
 */
import type { AppName, MachineId } from "../../src/core/ids.ts";
import { ms, port, type Port } from "../../src/core/units.ts";
import type { Machines } from "../../src/machines/machines.ts";
import { createMachines } from "../../src/machines/supervisors.ts";
import { NEVER_STARTED } from "../../src/registry/model.ts";
import { FakeClock, settle } from "../support/fake-clock.ts";
import { FakeDriver } from "../support/fake-driver.ts";
import { Clients } from "./sim-clients.ts";
import { checkAtRest, checkEvent, checkNow, watchDriver } from "./sim-checks.ts";
import { SIM_AUTOSTOP, SIM_LIMITS, SimModel, type Simulation, type Weather } from "./sim-model.ts";
import { SimRandom } from "./sim-random.ts";
import { AMS, check, IAD, machine, MemoryRegistry, service } from "./world.ts";

export interface SimReport {
  readonly seed: number;
  readonly violations: readonly string[];
  readonly served: number;
  readonly failed: number;
  readonly wakes: number;
  readonly sleeps: number;
}

/** Longer than anything that a client may wait for: queue, wakes of every Machine, backoff. */
const AT_LAST = 400_000;

export interface SimOptions {
  readonly steps?: number | undefined;
  /** Told of everything that happens, for whoever looks for the cause of a violation. */
  readonly trace?: ((line: string) => void) | undefined;
}

export async function simulate(seed: number, { steps = 120, trace }: SimOptions = {}): Promise<SimReport> {
  const sim = build(seed);
  if (trace !== undefined) follow(sim, trace);
  const clients = new Clients(sim);
  const { random, clock, model } = sim;
  let evening = false;
  sim.registry.changes.subscribe((change) => {
    // Somebody who comes in the very moment in which a Machine goes from one state to the next.
    if (change.kind === "status" && !evening && !sim.rebirth && random.chance(0.03)) clients.arrive();
  });
  for (let step = 0; step < steps && model.violations.length === 0; step++) {
    await act(sim, clients);
    await settle();
    checkNow(sim);
    await clock.advance(random.chance(0.3) ? 0 : random.between(1, random.pick([20, 500, 5_000, 20_000])));
    checkNow(sim);
  }
  // The day ends: faults cease, clients finish, and everything that may sleep must fall asleep.
  const calm = sim.driver.behaviour;
  calm.startFails = () => undefined;
  calm.diesYoung = () => false;
  calm.startDelay = () => 10;
  calm.suspendFails = () => false;
  calm.stopFails = () => false;
  sim.sick.clear();
  evening = true;
  clients.retire();
  for (let i = 0; i < 8 && model.violations.length === 0; i++) {
    await clock.advance(AT_LAST / 8);
    checkNow(sim);
  }
  if (model.violations.length === 0) checkAtRest(sim, clients);
  sim.machines.close();
  return {
    seed,
    violations: model.violations,
    served: clients.served,
    failed: clients.failed,
    wakes: sim.events.filter((event) => event.event === "wake").length,
    sleeps: sim.events.filter((event) => event.event === "stopping" && event.because.startsWith("idle")).length,
  };
}

function follow(sim: Simulation, trace: (line: string) => void): void {
  const { clock, registry, driver } = sim;
  const at = (): string => clock.now().toFixed(0).padStart(8);
  let calls = 0;
  const flush = (): void => {
    for (; calls < driver.calls.length; calls++) trace(`${at()} driver ${driver.calls[calls]}`);
  };
  registry.changes.subscribe((change) => {
    flush();
    if (change.kind !== "status") return;
    const { state, generation, because } = change.status;
    trace(`${at()} ${change.id} ${state} ${generation}: ${because}`);
  });
  sim.model.onViolation = (what) => {
    flush();
    trace(`${at()} VIOLATED ${what}`);
  };
}

function build(seed: number): Simulation {
  const random = new SimRandom(seed);
  const clock = new FakeClock();
  const driver = new FakeDriver(clock);
  const registry = new MemoryRegistry();
  const apps = ["alpha", "beta"] as AppName[];
  const stormy = random.chance(0.7);
  const weather: Weather = {
    faults: stormy,
    commands: stormy && random.chance(0.6),
    nodeDeaths: stormy && random.chance(0.3),
  };
  const ids: MachineId[] = [];
  for (const app of apps) {
    registry.addApp(app, IAD);
    const services = makeServices(random);
    for (let i = random.between(1, 4); i > 0; i--) {
      const one = machine(ids.length + 1, {
        app,
        region: random.pick([IAD, IAD, AMS]),
        services,
        cordoned: weather.commands && random.chance(0.1),
        config: { restart: { policy: random.pick(["no", "on-failure", "always"]), maxRetries: 3 } },
      });
      ids.push(one.id);
      registry.apply({ kind: "machine", value: one });
    }
  }
  const partial: Omit<Simulation, "machines"> = {
    random,
    weather,
    clock,
    driver,
    registry,
    model: new SimModel(),
    apps,
    ids,
    events: [],
    sick: new Set(),
    passed: new Set(),
    failedAt: new Map(),
    woken: new Set(),
    rebirth: false,
  };
  setBehaviour(partial);
  const sim = partial as Simulation;
  sim.machines = startNode(sim);
  watchDriver(sim);
  return sim;
}

function makeServices(random: SimRandom): readonly ReturnType<typeof service>[] {
  const one = (internalPort: Port): ReturnType<typeof service> => {
    const hardLimit = random.chance(0.7) ? random.between(1, 4) : undefined;
    return service({
      internalPort,
      ports: service().ports.map((p) => ({ ...p, start: port(internalPort - 8000), end: port(internalPort - 8000) })),
      autostop: random.pick(["stop", "stop", "suspend", "off"]),
      autostart: random.chance(0.9),
      minMachinesRunning: random.pick([0, 0, 0, 1, 2]),
      concurrency: { type: "connections", softLimit: random.between(1, hardLimit ?? 3), hardLimit },
      checks: random.chance(0.4) ? [check({ port: internalPort, gracePeriod: ms(random.pick([0, 1000])) })] : [],
    });
  };
  return random.chance(0.8) ? [one(port(8080))] : [one(port(8080)), one(port(8081))];
}

function setBehaviour({ driver, random, weather }: Omit<Simulation, "machines">): void {
  const { behaviour } = driver;
  behaviour.startDelay = () => {
    if (weather.faults && random.chance(0.03)) return 45_000; // hangs far beyond the wake timeout
    return random.pick([0, 5, 300, 2_000]);
  };
  behaviour.stopDelay = () => random.pick([0, 3, 1_000, 4_000]);
  behaviour.exitDelay = () => random.pick([0, 0, 50, 3_000]);
  if (!weather.faults) return;
  behaviour.startFails = () => (random.chance(0.15) ? "no such program" : undefined);
  behaviour.diesYoung = () => random.chance(0.05);
  behaviour.suspendFails = () => random.chance(0.3);
  behaviour.resumeFails = () => random.chance(0.2);
  behaviour.stopFails = () => random.chance(0.05);
}

/** A node over what is there: new, or after a death. */
export function startNode(sim: Simulation): Machines {
  const { random, clock, driver, registry, events } = sim;
  return createMachines({
    registry,
    driver,
    clock,
    random: random.next,
    limits: SIM_LIMITS,
    autostop: SIM_AUTOSTOP,
    environment: async () => {
      if (random.chance(0.2)) await new Promise<void>((resolve) => clock.after(ms(random.between(1, 3_000)), resolve));
      if (sim.weather.faults && random.chance(0.03)) throw new Error("a reference cannot be resolved");
      return {};
    },
    dialCheck: async (one, addresses) => {
      const found = sim.ids.find((id) => registry.view.machine(id)?.address === addresses[0]?.host);
      await new Promise<void>((resolve) => clock.after(ms(random.pick([1, 30])), resolve));
      const process = found === undefined ? undefined : driver.live.get(found);
      const passed = process !== undefined && !process.frozen && !sim.sick.has(`${found}:${one.port}`);
      if (passed) sim.passed.add(`${found}:${one.port}:${process.pid}`);
      return { passed, output: passed ? "connected" : "connection refused" };
    },
    onEvent: (event) => {
      events.push(event);
      checkEvent(sim, event);
    },
    log: { info() {}, warn() {}, error() {} },
  });
}

/** One thing happens. */
async function act(sim: Simulation, clients: Clients): Promise<void> {
  const { random, weather, driver, model, machines, registry } = sim;
  const id = random.pick(sim.ids);
  const roll = random.next();
  if (roll < 0.45) {
    for (let i = random.pick([1, 1, 2, 6]); i > 0; i--) clients.arrive();
  } else if (roll < 0.55) {
    clients.leave();
  } else if (roll < 0.62) {
    // A decider on another host, with an old view of things.
    const late = random.pick([0, 0, 0, 1]);
    const generation = registry.view.status(id).generation - late;
    const wish = { generation, action: random.pick(["stop", "suspend"] as const), because: "proposed from afar" };
    if (machines.propose(id, wish) && late > 0) model.violated(`${id} was put to sleep for what an earlier life did`);
  } else if (roll < 0.75 && weather.faults) {
    fault(sim, id);
  } else if (roll < 0.9 && weather.commands) {
    command(sim, id);
  } else if (roll < 0.93 && weather.nodeDeaths) {
    clients.kill();
    machines.close();
    driver.forgetNode();
    model.commanded = new Map();
    sim.failedAt.clear();
    sim.woken.clear();
    sim.rebirth = true;
    for (const one of sim.ids) registry.setStatus(one, NEVER_STARTED); // running state is memory
    sim.machines = startNode(sim);
    watchDriver(sim);
    await sim.machines.recover();
    sim.rebirth = false;
  }
}

function fault(sim: Simulation, id: MachineId): void {
  const { random, driver } = sim;
  if (random.chance(0.6)) {
    driver.crash(
      id,
      random.pick([
        { code: 1, signal: undefined },
        { code: 0, signal: undefined },
      ]),
    );
    return;
  }
  const key = `${id}:${random.pick([8080, 8081])}`;
  if (!sim.sick.delete(key)) sim.sick.add(key);
}

function command(sim: Simulation, id: MachineId): void {
  const { random, machines, model, registry } = sim;
  const because = "a command";
  const { commanded } = model;
  const run = (deed: () => Promise<unknown>): void => {
    commanded.set(id, (commanded.get(id) ?? 0) + 1);
    void Promise.allSettled([deed()]).finally(() => commanded.set(id, (commanded.get(id) ?? 1) - 1));
  };
  const machineNow = registry.view.machine(id);
  switch (random.between(1, 6)) {
    case 1:
      return run(() => machines.stop(id, { because, drain: random.chance(0.7) }));
    case 2:
      return run(() => machines.suspend(id));
    case 3:
      return run(() => machines.restart(id));
    case 4:
      return run(() => machines.start(id, because));
    case 5:
      if (machineNow === undefined) return;
      return registry.apply({ kind: "machine", value: { ...machineNow, cordoned: !machineNow.cordoned } });
    default:
      return run(() => machines.up());
  }
}
