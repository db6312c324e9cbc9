import fc from "fast-check";
import { expect, test } from "vitest";
import { createCloseness } from "../../src/balancer/closeness.ts";
import type { RegionEntry } from "../../src/config/model.ts";
import type { RegionCode } from "../../src/core/ids.ts";
import { REGIONS } from "../../src/core/regions.ts";

const code = (text: string): RegionCode => text as RegionCode;
const entry = (name: string, about: Partial<RegionEntry> = {}): RegionEntry => ({
  code: code(name),
  lat: undefined,
  lon: undefined,
  rttMs: new Map(),
  ...about,
});

test("a region is at no distance from itself, known or not", () => {
  const closeness = createCloseness([]);
  expect(closeness(code("iad"), code("iad"))).toBe(0);
  expect(closeness(code("dev"), code("dev"))).toBe(0);
});

test("a neighbour is closer than another continent, and both are closer than a place that nobody knows", () => {
  const closeness = createCloseness([]);
  expect(closeness(code("ams"), code("cdg"))).toBeLessThan(closeness(code("ams"), code("iad")));
  expect(closeness(code("ams"), code("syd"))).toBeLessThan(closeness(code("ams"), code("dev")));
});

test("a declared distance counts in both directions, unless the other side declares its own", () => {
  const one = createCloseness([entry("fsn", { rttMs: new Map([[code("iad"), 95]]) })]);
  expect(one(code("fsn"), code("iad"))).toBe(95);
  expect(one(code("iad"), code("fsn"))).toBe(95);
  const two = createCloseness([
    entry("fsn", { rttMs: new Map([[code("iad"), 95]]) }),
    entry("iad", { rttMs: new Map([[code("fsn"), 120]]) }),
  ]);
  expect(two(code("fsn"), code("iad"))).toBe(95);
  expect(two(code("iad"), code("fsn"))).toBe(120);
});

test("declared coordinates give a region of one's own its place", () => {
  const closeness = createCloseness([entry("fsn", { lat: 50.47, lon: 12.37 })]);
  expect(closeness(code("fsn"), code("fra"))).toBeLessThan(closeness(code("fsn"), code("iad")));
});

test("it is symmetric and finite for all built-in regions", () => {
  const codes = fc.constantFrom(...REGIONS.map((region) => region.code));
  const closeness = createCloseness([]);
  fc.assert(
    fc.property(codes, codes, (a, b) => {
      expect(closeness(a, b)).toBeCloseTo(closeness(b, a), 9);
      expect(Number.isFinite(closeness(a, b))).toBe(true);
    }),
  );
});
