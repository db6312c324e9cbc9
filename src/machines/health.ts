import { backoffDelay, type Backoff } from "../core/backoff.ts";
import type { Clock, Timer } from "../core/clock.ts";
import { ms, type Milliseconds, type Monotonic, type Port } from "../core/units.ts";
import type { Check, Service } from "../config/model.ts";
import type { DialAddress } from "../network/plane.ts";
import type { CheckStatus } from "../registry/model.ts";

export interface ProbeResult {
  readonly passed: boolean;
  /** For people: `200 OK`, `connection refused`. At most a few hundred characters. */
  readonly output: string;
}

/** Runs one check once. Never rejects, and answers within the check's timeout. See `probe.ts`. */
export type Probe = (check: Check, addresses: readonly DialAddress[], signal: AbortSignal) => Promise<ProbeResult>;

export type Verdict = "pending" | "healthy" | "unhealthy";

export interface HealthUpdate {
  readonly checks: readonly CheckStatus[];
  /** One entry for each service that has checks. */
  readonly services: ReadonlyMap<Port, Verdict>;
}

export interface HealthOptions {
  readonly clock: Clock;
  readonly probe: Probe;
  readonly services: readonly Service[];
  /** Top-level checks: shown in the status, without effect on traffic. */
  readonly checks: readonly Check[];
  readonly addresses: (port: Port) => readonly DialAddress[];
  /** How long claims wait for a first pass before the service counts as unhealthy. */
  readonly patience: Milliseconds;
  /** Called when something has changed, never during the constructor. */
  readonly onUpdate: (update: HealthUpdate) => void;
}

// A Machine that was just started is asked back to back: whoever woke it waits (design §4.2, connect).
const FIRST_PASS: Backoff = { first: ms(10), max: ms(250) };

interface Running {
  readonly check: Check;
  readonly service: Port | undefined;
  tries: number;
  passedOnce: boolean;
  passing: boolean;
  status: CheckStatus;
  timer: Timer | undefined;
}

/** The checks of one life of one Machine. Checks are not traffic: they hold no claim and wake nobody. */
export class Health {
  readonly #options: HealthOptions;
  readonly #began: Monotonic;
  readonly #running: readonly Running[];
  readonly #abort = new AbortController();
  #impatient: Timer | undefined;
  #patienceOver = false;

  constructor(options: HealthOptions) {
    this.#options = options;
    this.#began = options.clock.now();
    const updatedAt = options.clock.wall();
    const make = (check: Check, service: Port | undefined): Running => ({
      check,
      service,
      tries: 0,
      passedOnce: false,
      passing: false,
      status: { name: check.name, status: "warning", output: "not checked yet", updatedAt },
      timer: undefined,
    });
    this.#running = [
      ...options.services.flatMap((service) => service.checks.map((check) => make(check, service.internalPort))),
      ...options.checks.map((check) => make(check, undefined)),
    ];
    if (this.#running.length === 0) return;
    for (const running of this.#running) void this.#probe(running);
    this.#impatient = options.clock.after(options.patience, () => {
      this.#patienceOver = true;
      options.onUpdate(this.read());
    });
  }

  read(): HealthUpdate {
    const services = new Map<Port, Verdict>();
    for (const { service, passedOnce, passing, status } of this.#running) {
      if (service === undefined) continue;
      const before = services.get(service) ?? "healthy";
      if (!passedOnce) {
        services.set(service, this.#patienceOver || before === "unhealthy" ? "unhealthy" : "pending");
      } else if (!passing && status.status === "critical") {
        services.set(service, "unhealthy");
      } else {
        services.set(service, before);
      }
    }
    return { checks: this.#running.map((running) => running.status), services };
  }

  stop(): void {
    this.#abort.abort();
    this.#impatient?.cancel();
    for (const running of this.#running) running.timer?.cancel();
  }

  async #probe(running: Running): Promise<void> {
    const { check } = running;
    const { clock, probe, addresses, onUpdate } = this.#options;
    const result = await probe(check, addresses(check.port), this.#abort.signal);
    if (this.#abort.signal.aborted) return;
    running.tries++;
    const now = clock.now();
    const first = result.passed && !running.passedOnce;
    running.passing = result.passed;
    running.passedOnce ||= result.passed;
    const inGrace = now - this.#began < check.gracePeriod;
    const status = result.passed ? "passing" : inGrace ? "warning" : "critical";
    if (first || status !== running.status.status || result.output !== running.status.output) {
      running.status = { name: check.name, status, output: result.output, updatedAt: clock.wall() };
      if (this.#running.every((other) => other.passedOnce)) this.#impatient?.cancel();
      onUpdate(this.read());
      if (this.#abort.signal.aborted) return;
    }
    const eager = running.service !== undefined && !running.passedOnce && now - this.#began < this.#options.patience;
    const wait = eager ? backoffDelay(FIRST_PASS, running.tries) : check.interval;
    running.timer = clock.after(wait, () => void this.#probe(running));
  }
}
