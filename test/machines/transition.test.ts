import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { AppError } from "../../src/core/errors.ts";
import { ms, type Monotonic } from "../../src/core/units.ts";
import { ending } from "../../src/machines/endings.ts";
import type { AfterExit, Effect, LifeEvent, MachineState } from "../../src/machines/state.ts";
import { newMachine, transition } from "../../src/machines/transition.ts";

const START = 1_000_000 as Monotonic;
const ERROR = new AppError("PM02");

const after: fc.Arbitrary<AfterExit> = fc.record({
  restart: fc.record({ policy: fc.constantFrom("always", "no", "on-failure"), maxRetries: fc.nat(3) }),
  wakeable: fc.boolean(),
  autoDestroy: fc.boolean(),
});
const generation = fc.nat(4);
const because = fc.constant("because");

const anyEvent: fc.Arbitrary<LifeEvent> = fc.oneof(
  fc.record({ kind: fc.constant("start" as const), because }),
  fc.record({ kind: fc.constant("driver-started" as const), generation, pid: fc.constant(7) }),
  fc.record({ kind: fc.constant("start-failed" as const), generation, error: fc.constant(ERROR), after }),
  fc.record({ kind: fc.constant("wake-timeout" as const), generation, error: fc.constant(ERROR) }),
  fc.record({
    kind: fc.constant("exited" as const),
    process: generation,
    exit: fc.record({ code: fc.constantFrom(0, 1), signal: fc.constant(undefined) }),
    unproven: fc.boolean(),
    after,
  }),
  fc.record({ kind: fc.constant("driver-stopped" as const), generation }),
  fc.record({
    kind: fc.constant("sleep" as const),
    generation,
    action: fc.constantFrom("stop" as const, "suspend" as const),
    claims: fc.nat(2),
    because,
  }),
  fc.record({
    kind: fc.constant("end" as const),
    ending: fc
      .constantFrom("stopped", "suspended", "restart", "destroyed")
      .map((to) => ending(to as "stopped", "asked")),
    claims: fc.nat(2),
    drain: fc.boolean(),
  }),
  fc.record({ kind: fc.constant("drained" as const) }),
  fc.record({ kind: fc.constant("drain-timeout" as const), generation }),
  fc.record({ kind: fc.constant("driver-suspended" as const), generation }),
  fc.record({ kind: fc.constant("suspend-failed" as const), generation }),
  fc.record({ kind: fc.constant("proved" as const), generation }),
  fc.record({ kind: fc.constant("restart-due" as const) }),
  fc.record({ kind: fc.constant("removed" as const) }),
);

interface Moment {
  readonly before: MachineState;
  readonly event: LifeEvent;
  readonly next: MachineState;
  readonly effects: readonly Effect[];
}

/** Every step of a life that the events lead, a second apart. */
function live(events: readonly LifeEvent[]): readonly Moment[] {
  const moments: Moment[] = [];
  let state = newMachine(START);
  let now = START;
  for (const event of events) {
    now = (now + 1000) as Monotonic;
    const result = transition(state, event, now);
    const { next, effects } = result.ok ? result.value : { next: state, effects: [] };
    moments.push({ before: state, event, next, effects });
    state = next;
  }
  return moments;
}

function always(holds: (moment: Moment) => boolean): void {
  fc.assert(
    fc.property(fc.array(anyEvent, { minLength: 1, maxLength: 40 }), (events) => live(events).every(holds)),
    { numRuns: 2000 },
  );
}

const asks = (moment: Moment, kind: Effect["kind"]): boolean => moment.effects.some((effect) => effect.kind === kind);

describe("whatever happens, in whatever order", () => {
  test("nothing leads out of destroyed, and only removal out of destroying", () => {
    always(({ before, next }) => before.kind !== "destroyed" || next === before);
    always(({ before, next }) => before.kind !== "destroying" || next === before || next.kind === "destroyed");
  });

  test("the generation grows by one with each start, and never otherwise", () => {
    always((moment) => {
      const begins = moment.before.kind !== "starting" && moment.next.kind === "starting";
      return moment.next.generation === moment.before.generation + (begins ? 1 : 0);
    });
  });

  test("the driver is asked to start only what does not run, once a life", () => {
    always((moment) => {
      if (!asks(moment, "driver-start")) return true;
      const down = ["created", "stopped", "failed"].includes(moment.before.kind);
      // A resume that failed boots instead, after what is left was killed.
      const again =
        moment.before.kind === "starting" &&
        moment.before.resume &&
        moment.effects.some((e) => e.kind === "driver-start" && e.clean);
      return down || again;
    });
  });

  test("what holds a claim is not put to sleep by a wish", () => {
    always(({ before, event, next }) => event.kind !== "sleep" || event.claims === 0 || next === before);
  });

  test("events of another life change nothing", () => {
    always(({ before, event, next }) => {
      const late = "generation" in event && event.generation !== before.generation;
      const stranger = event.kind === "exited" && event.process !== before.process;
      return !(late || stranger) || next === before;
    });
  });

  test("a life that ends takes its claims with it, before the driver is asked to end it", () => {
    always((moment) => {
      const up = (kind: string): boolean => kind === "started" || kind === "draining";
      if (!up(moment.before.kind) || up(moment.next.kind)) return true;
      const lost = moment.effects.findIndex((effect) => effect.kind === "lose-claims");
      const asked = moment.effects.findIndex(
        (effect) => effect.kind === "driver-stop" || effect.kind === "driver-suspend",
      );
      return lost >= 0 && lost < asked;
    });
  });

  test("those who wait are answered whenever a start ends", () => {
    always((moment) => {
      if (moment.before.kind !== "starting" || moment.next.kind === "starting") return true;
      return asks(moment, "open") || asks(moment, "fail-waiters");
    });
  });

  test("nothing runs in a state that says so", () => {
    always((moment) => {
      const ended =
        ["stopped", "failed", "destroying"].includes(moment.next.kind) && moment.next.kind !== moment.before.kind;
      if (!ended) return true;
      // From stopping (the driver has said so), from a start that failed, or from a state that was down already.
      return ["stopping", "created", "stopped", "failed", "starting"].includes(moment.before.kind);
    });
  });
});

describe("backoff", () => {
  test("doubles from half a second to ten seconds, and begins anew when the Machine has proved itself", () => {
    let state = newMachine(START);
    let now = START;
    const step = (event: LifeEvent): void => {
      const result = transition(state, event, now);
      if (result.ok) state = result.value.next;
    };
    const none: AfterExit = { restart: { policy: "no", maxRetries: 0 }, wakeable: true, autoDestroy: false };
    const waits: number[] = [];
    for (let i = 0; i < 7; i++) {
      step({ kind: "start", because: "a claim" });
      step({ kind: "start-failed", generation: state.generation, error: ERROR, after: none });
      waits.push(state.retryAt - now);
      now = (now + 60_000) as Monotonic;
    }
    expect(waits).toEqual([500, 1000, 2000, 4000, 8000, 10_000, 10_000]);
    step({ kind: "start", because: "a claim" });
    step({ kind: "driver-started", generation: state.generation, pid: 1 });
    step({ kind: "proved", generation: state.generation });
    expect(state.failures).toBe(0);
    expect(ms(state.retryAt)).toBe(0);
  });
});
