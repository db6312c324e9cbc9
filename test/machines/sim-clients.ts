import { AppError } from "../../src/core/errors.ts";
import type { AppName } from "../../src/core/ids.ts";
import { ms, type Port } from "../../src/core/units.ts";
import type { Claim, Endpoint } from "../../src/machines/pool.ts";
import { choose, type Choice } from "../../src/proxy/choose.ts";
import { NO_WISHES, type Work } from "../../src/proxy/context.ts";
import type { Machine } from "../../src/registry/model.ts";
import { checkGrant, checkServed } from "./sim-checks.ts";
import { SIM_LIMITS, type ModelClaim, type Simulation } from "./sim-model.ts";
import { CALLER } from "./world.ts";

const QUEUE_TIMEOUT = 60_000;

interface Client {
  readonly abort: AbortController;
  /** Ends the client as the death of the node would: at once, without a word. */
  dead: boolean;
}

/** A claim, and whether it was lost (else the client left) once it has ended that way. */
interface Grasped {
  readonly held: ModelClaim;
  readonly ended: Promise<boolean>;
}

type Chosen = Exclude<Choice, { readonly kind: "claimed" }> | { readonly kind: "claimed"; readonly grasped: Grasped };

/** Clients, with the part of the proxy that asks Machines for claims and waits for them. */
export class Clients {
  served = 0;
  failed = 0;
  readonly #sim: Simulation;
  readonly #alive = new Set<Client>();
  #retired = false;

  constructor(sim: Simulation) {
    this.#sim = sim;
  }

  get count(): number {
    return this.#alive.size;
  }

  arrive(): void {
    const client: Client = { abort: new AbortController(), dead: false };
    this.#alive.add(client);
    void this.#live(client).then(
      () => this.#alive.delete(client),
      (thrown: unknown) => {
        this.#alive.delete(client);
        this.#sim.model.violated(`a client broke: ${thrown instanceof Error ? thrown.stack : String(thrown)}`);
      },
    );
  }

  /** One of them leaves, whatever it is doing. */
  leave(): void {
    const clients = [...this.#alive];
    if (clients.length > 0) this.#sim.random.pick(clients).abort.abort(new AppError("FP10"));
  }

  /** The node dies, and its connections with it. */
  kill(): void {
    for (const client of this.#alive) {
      client.dead = true;
      client.abort.abort(new AppError("FP10"));
    }
    this.#sim.model.claims.clear();
    this.#alive.clear();
  }

  /** Nobody comes any more. */
  retire(): void {
    this.#retired = true;
  }

  async #live(client: Client): Promise<void> {
    const { random, apps } = this.#sim;
    const work = this.#work(random.pick(apps), client);
    const outcome = random.chance(0.25) ? await this.#insist(client, work) : await this.#reach(client, work);
    if (client.dead) return;
    if (outcome === "served") this.served++;
    else if (outcome === "failed") this.failed++;
  }

  #work(app: AppName, client: Client): Work {
    const { random, clock, registry, ids } = this.#sim;
    const caller = random.chance(0.2) ? random.pick(ids) : undefined;
    const route = random.pick(registry.view.routesOf(app));
    return {
      connection: {
        id: 1,
        caller: { ...CALLER, machine: caller, via: caller === undefined ? "host" : "machine" },
        destination: {
          address: CALLER.address as Work["connection"]["destination"]["address"],
          port: route.port.start,
        },
        app,
        network: CALLER.network ?? (0 as never),
        route,
        reported: undefined,
        tls: undefined,
        acceptedAt: clock.now(),
      },
      app,
      route,
      kind: random.pick(["connection", "request"]),
      wake: random.chance(0.95),
      since: clock.now(),
      wishes: NO_WISHES,
      excluded: new Set(),
      signal: client.abort.signal,
    };
  }

  /** As a node does that has an old view: one Machine, and no other. */
  async #insist(client: Client, work: Work): Promise<"served" | "failed" | "left"> {
    const sim = this.#sim;
    const candidates = sim.registry.view.machinesOf(work.app);
    const outcome = sim.machines.claim({
      machine: sim.random.pick(candidates).id,
      service: work.route.service.internalPort,
      caller: work.connection.caller,
      kind: work.kind,
      wake: work.wake,
      since: work.since,
    });
    if (outcome instanceof Promise) throw new Error("a claim on a Machine of this node is synchronous");
    if (!outcome.ok) return "failed";
    return this.#use(client, work, this.#grasp(work, outcome.claim, work.route.service.internalPort));
  }

  async #reach(client: Client, work: Work): Promise<"served" | "failed" | "left"> {
    const sim = this.#sim;
    const { clock, weather, model } = sim;
    const deadline = clock.now() + QUEUE_TIMEOUT;
    let last = "";
    for (let choice = this.#choose(work); ;) {
      if (choice.kind === "claimed") {
        const end = await this.#use(client, work, choice.grasped);
        if (end !== "failed") return end;
        work.excluded.add(choice.grasped.held.machine);
        last = "a claim failed";
        choice = this.#choose(work);
        continue;
      }
      if (work.signal.aborted) return "left";
      if (choice.kind === "refused") {
        const { app, wake } = work;
        const hopeless = !wake || sim.registry.view.machinesOf(app).every((m) => !canServe(m, work));
        if (!weather.faults && !hopeless) model.violated(`on a calm day: ${choice.error.message}; ${last}`);
        return "failed";
      }
      const left = deadline - clock.now();
      if (left <= 0) return "failed";
      const told = await this.#change(work, left);
      if (told === undefined && work.signal.aborted) return "left";
      choice = told ?? this.#choose(work);
    }
  }

  /**
   * Until a Machine of the app may be claimable again, the client leaves, or its patience ends. Whoever is told grasps at
   * once, within the very call, as the proxy's queue does.
   */
  #change(work: Work, patience: number): Promise<Chosen | undefined> {
    return new Promise((resolve) => {
      const done = (choice?: Chosen): void => {
        timer.cancel();
        stop();
        work.signal.removeEventListener("abort", onAbort);
        resolve(choice);
      };
      const onAbort = (): void => done();
      const timer = this.#sim.clock.after(ms(patience), () => done());
      const stop = this.#sim.machines.onChange(work.app, () => done(this.#choose(work)));
      work.signal.addEventListener("abort", onAbort);
    });
  }

  #choose(work: Work): Chosen {
    const sim = this.#sim;
    const phases = { view: sim.registry.view, pool: sim.machines, closeness: () => 0, random: sim.random.next };
    const choice = choose(phases, work);
    if (choice instanceof Promise) throw new Error("a claim on a Machine of this node is synchronous");
    if (choice.kind !== "claimed") return choice;
    return { kind: "claimed", grasped: this.#grasp(work, choice.claim, work.route.service.internalPort) };
  }

  /** Enters a claim into the books. */
  #grasp(work: Work, claim: Claim, service: Port): Grasped {
    const sim = this.#sim;
    const { clock, model } = sim;
    const held: ModelClaim = {
      claim,
      machine: claim.machine,
      service,
      since: clock.now(),
      callerMachine: work.kind === "connection" ? work.connection.caller.machine : undefined,
      open: claim.endpoint !== undefined,
    };
    model.granted(held);
    checkGrant(sim, held, work);
    const ended = new Promise<boolean>((resolve) => {
      claim.onLost((error) => {
        const { callerMachine } = held;
        const suspended = callerMachine !== undefined && sim.registry.view.status(callerMachine).state === "suspended";
        model.lost(held, error, { excused: suspended || !sim.driver.live.has(held.machine), now: clock.now() });
        resolve(true);
      });
      work.signal.addEventListener("abort", () => resolve(false));
      if (work.signal.aborted) resolve(false);
    });
    return { held, ended };
  }

  async #use(client: Client, work: Work, { held, ended }: Grasped): Promise<"served" | "failed" | "left"> {
    const sim = this.#sim;
    const { clock, model, random } = sim;
    const { claim, service } = held;
    const release = (): void => {
      if (client.dead) return;
      model.ended(held, clock.now());
      claim.release();
      if (random.chance(0.2)) claim.release(); // settle always runs, sometimes twice
    };
    const endpoint = await this.#ready(claim, ended, held);
    if (client.dead) return "left";
    if (endpoint === undefined) {
      release();
      return work.signal.aborted ? "left" : "failed";
    }
    held.open = true;
    checkServed(sim, held, endpoint);
    if (!sim.weather.faults || random.chance(0.9))
      sim.machines.reportReachable(claim.machine, service, endpoint.generation);
    else sim.machines.reportUnreachable(claim.machine, service, endpoint.generation, new AppError("PM03"));
    if (random.chance(0.7)) sim.machines.reportFirstByte(claim.machine, endpoint.generation, sim.clock.now());
    const duration = this.#retired ? 1 : random.pick([1, 50, 3_000, 30_000]);
    const done = new Promise<boolean>((resolve) => clock.after(ms(duration), () => resolve(false)));
    const lost = await Promise.race([ended, done]);
    if (lost) return "served"; // it got its Machine; what ended it, the model has judged
    release();
    return work.signal.aborted ? "left" : "served";
  }

  async #ready(claim: Claim, ended: Promise<boolean>, held: ModelClaim): Promise<Endpoint | undefined> {
    const { clock, model } = this.#sim;
    // A resume that fails and boots, or a check that never passes, may use up the wake timeout once more each.
    const patience = clock.after(ms(2 * SIM_LIMITS.wakeTimeout + 1_000), () => {
      if (model.claims.has(held) && !held.open) model.violated(`a claim on ${held.machine} waits for ever`);
    });
    const endpoint = await Promise.race([claim.ready.catch(() => undefined), ended.then(() => undefined)]);
    patience.cancel();
    return endpoint;
  }
}

function canServe(machine: Machine, work: Work): boolean {
  const service = machine.config.services.find((s) => s.internalPort === work.route.service.internalPort);
  return !machine.cordoned && service !== undefined && service.autostart;
}
