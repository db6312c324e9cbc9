import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { orderCandidates, type Candidate } from "../../src/balancer/order.ts";
import type { MachineId } from "../../src/core/ids.ts";

function candidate(machine: string, about: Partial<Candidate> = {}): Candidate {
  return {
    machine: machine as MachineId,
    state: "running",
    local: true,
    rtt: 0,
    load: 0,
    softLimit: 20,
    hardLimit: 25,
    cordoned: false,
    healthy: true,
    emptying: false,
    ...about,
  };
}

const remote = { local: false, rtt: 80 };
const order = (candidates: readonly Candidate[], random = (): number => 0.5): string[] =>
  orderCandidates(candidates, { random }).map((c) => c.machine);

describe("load classes", () => {
  const table: [string, Candidate[], string[]][] = [
    [
      "local below soft, local below hard, remote below soft, remote below hard",
      [
        candidate("rh", { ...remote, load: 22 }),
        candidate("rs", remote),
        candidate("lh", { load: 22 }),
        candidate("ls", { load: 19 }),
      ],
      ["ls", "lh", "rs", "rh"],
    ],
    [
      "nobody at its hard limit",
      [candidate("full", { load: 25 }), candidate("free", { ...remote, load: 24 })],
      ["free"],
    ],
    [
      "at the soft limit is above it",
      [candidate("at", { load: 20 }), candidate("asleep", { state: "asleep" })],
      ["asleep", "at"],
    ],
    ["nobody cordoned or unhealthy", [candidate("c", { cordoned: true }), candidate("u", { healthy: false })], []],
    ["nobody that is down", [candidate("down", { state: "down" })], []],
    ["the least loaded of equally close ones", [candidate("b", { load: 2 }), candidate("a", { load: 1 })], ["a", "b"]],
    [
      "the closest before the least loaded",
      [candidate("far", { ...remote, rtt: 90 }), candidate("near", { ...remote, rtt: 10, load: 9 })],
      ["near", "far"],
    ],
    [
      "one that is being emptied comes last in its class, and before the next class",
      [candidate("hard", { load: 21 }), candidate("emptying", { emptying: true }), candidate("busy", { load: 10 })],
      ["busy", "emptying", "hard"],
    ],
  ];
  test.each(table)("%s", (_name, candidates, expected) => {
    expect(order(candidates)).toEqual(expected);
  });
});

describe("waking", () => {
  test("nobody is woken while a running Machine is below its soft limit, wherever it is", () => {
    expect(order([candidate("asleep", { state: "asleep" }), candidate("rs", remote)])).toEqual(["rs", "asleep"]);
  });

  test("with every running Machine at its soft limit the nearest one asleep comes first", () => {
    const candidates = [
      candidate("lh", { load: 20 }),
      candidate("far", { state: "asleep", ...remote }),
      candidate("near", { state: "asleep" }),
    ];
    expect(order(candidates)).toEqual(["near", "far", "lh"]);
  });

  test("a Machine that is being emptied is taken back before another is woken", () => {
    expect(order([candidate("asleep", { state: "asleep" }), candidate("e", { emptying: true })])[0]).toBe("e");
  });
});

test("equals are drawn by chance, each one as often", () => {
  const counts = new Map<string, number>();
  let seed = 1;
  const random = (): number => (seed = (seed * 48271) % 2147483647) / 2147483647;
  for (let i = 0; i < 3000; i++) {
    const [first] = order([candidate("a"), candidate("b"), candidate("c")], random);
    counts.set(first!, (counts.get(first!) ?? 0) + 1);
  }
  for (const count of counts.values()) expect(count).toBeGreaterThan(850);
});

describe("whatever the candidates", () => {
  const anyCandidate = fc.record({
    machine: fc.string({ minLength: 14, maxLength: 14 }),
    state: fc.constantFrom("running", "asleep", "down"),
    local: fc.boolean(),
    rtt: fc.double({ min: 0, max: 300, noNaN: true }),
    load: fc.nat(60),
    softLimit: fc.integer({ min: 1, max: 30 }),
    hardLimit: fc.option(fc.integer({ min: 1, max: 50 }), { nil: undefined }),
    cordoned: fc.boolean(),
    healthy: fc.boolean(),
    emptying: fc.boolean(),
  }) as fc.Arbitrary<Candidate>;

  test("the order is a selection of them without the ineligible, and complete", () => {
    fc.assert(
      fc.property(fc.array(anyCandidate), fc.double({ min: 0, max: 0.999, noNaN: true }), (candidates, chance) => {
        const ordered = orderCandidates(candidates, { random: () => chance });
        expect(new Set(ordered).size).toBe(ordered.length);
        for (const c of ordered) {
          expect(candidates).toContain(c);
          expect(c.cordoned || !c.healthy || c.state === "down").toBe(false);
          if (c.hardLimit !== undefined) expect(c.load).toBeLessThan(c.hardLimit);
        }
        const eligible = candidates.filter(
          (c) => c.state !== "down" && !c.cordoned && c.healthy && (c.hardLimit === undefined || c.load < c.hardLimit),
        );
        expect(ordered).toHaveLength(eligible.length);
      }),
    );
  });

  test("a remote Machine never comes before a running local one that is below its soft limit", () => {
    fc.assert(
      fc.property(fc.array(anyCandidate), (candidates) => {
        const ordered = orderCandidates(candidates, { random: Math.random });
        const firstRemote = ordered.findIndex((c) => c.state === "running" && !c.local);
        const lastLocalFree = ordered.findLastIndex((c) => c.state === "running" && c.local && c.load < c.softLimit);
        if (firstRemote >= 0) expect(lastLocalFree).toBeLessThan(firstRemote);
      }),
    );
  });
});
