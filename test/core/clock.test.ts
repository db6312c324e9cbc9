import { expect, test } from "vitest";
import { systemClock } from "../../src/core/clock.ts";
import { ms } from "../../src/core/units.ts";

test("a timer of the system's clock never fires before its time, whole milliseconds or not", async () => {
  const early: number[] = [];
  const one = (delay: number): Promise<void> =>
    new Promise((resolve) => {
      const armed = systemClock.now();
      systemClock.after(ms(delay), () => {
        const passed = systemClock.now() - armed;
        if (passed < delay) early.push(delay - passed);
        resolve();
      });
    });
  // A thousand fractions, in ten turns that begin at odd moments.
  for (let turn = 0; turn < 10; turn++)
    await Promise.all(Array.from({ length: 100 }, (_, index) => one(1 + turn / 10 + index / 100)));
  expect(early).toEqual([]);
});

test("a timer that was cancelled does not fire, also when it was cancelled twice", async () => {
  let fired = 0;
  const timer = systemClock.after(ms(1), () => fired++);
  timer.cancel();
  timer.cancel();
  await new Promise<void>((resolve) => systemClock.after(ms(10), resolve));
  expect(fired).toBe(0);
});
