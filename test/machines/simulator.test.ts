import { describe, expect, test } from "vitest";
import { simulate } from "./simulator.ts";

// More of them: npm run sim -- --seeds N. A seed that fails is replayed with --from SEED --seeds 1 --trace.
const SEEDS = 300;
const BATCH = 100;

describe("a random day of a node breaks no promise", () => {
  for (let from = 1; from <= SEEDS; from += BATCH) {
    test(`seeds ${from} to ${from + BATCH - 1}`, async () => {
      const bad: string[] = [];
      let wakes = 0;
      let sleeps = 0;
      for (let seed = from; seed < from + BATCH; seed++) {
        const report = await simulate(seed);
        wakes += report.wakes;
        sleeps += report.sleeps;
        for (const violation of report.violations) bad.push(`seed ${seed}: ${violation}`);
      }
      expect(bad).toEqual([]);
      // A day on which nothing happens shows nothing.
      expect(wakes).toBeGreaterThan(BATCH);
      expect(sleeps).toBeGreaterThan(BATCH / 2);
    });
  }

  test("the same seed gives the same day", async () => {
    const lines: string[][] = [[], []];
    for (const trace of lines) await simulate(42, { trace: (line) => trace.push(line) });
    expect(lines[0]).toEqual(lines[1]);
    expect(lines[0]!.length).toBeGreaterThan(20);
  });
});
