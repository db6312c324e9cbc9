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

test("a flood of callers takes bounded memory and shuts nobody out", () => {
  const limit = new RateLimit(new FakeClock(), { perSecond: 1, burst: 1 });
  for (let i = 0; i < 20_000; i++) limit.take(`caller ${i}`);
  limit.take("one more");
});
