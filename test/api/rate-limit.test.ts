import { expect, test } from "vitest";
import { RateLimit } from "../../src/api/rate-limit.ts";
import { FakeClock } from "../support/fake-clock.ts";

test("a caller has a burst, then what comes back with time; another one is not held up", async () => {
  const clock = new FakeClock();
  const limit = new RateLimit(clock, { perSecond: 2, burst: 3 });
  for (let i = 0; i < 3; i++) limit.take("a");
  expect(() => limit.take("a")).toThrow(/2 requests a second/);
  limit.take("b");
  await clock.advance(500);
  limit.take("a");
  expect(() => limit.take("a")).toThrow();
  await clock.advance(60_000);
  for (let i = 0; i < 3; i++) limit.take("a");
  expect(() => limit.take("a")).toThrow();
});

test("refused calls cost nothing, and a call that took long counts as many", async () => {
  const clock = new FakeClock();
  const limit = new RateLimit(clock, { perSecond: 10, burst: 10 });
  limit.charge("a", 15);
  expect(() => limit.take("a")).toThrow();
  // Half a second of work is owed; asking again and again makes it no longer.
  for (let i = 0; i < 5; i++) {
    await clock.advance(100);
    expect(() => limit.take("a")).toThrow();
  }
  await clock.advance(100);
  limit.take("a");
  limit.charge("a", 1_000_000);
  await clock.advance(1200);
  limit.take("a");
});

test("a flood of callers takes bounded memory and shuts nobody out", () => {
  const limit = new RateLimit(new FakeClock(), { perSecond: 1, burst: 1 });
  for (let i = 0; i < 20_000; i++) limit.take(`caller ${i}`);
  limit.take("one more");
});
