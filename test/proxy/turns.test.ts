import { expect, test } from "vitest";
import type { NetworkId } from "../../src/core/ids.ts";
import { Turns } from "../../src/proxy/turns.ts";
import { FakeClock } from "../support/fake-clock.ts";

const FLOOD = 0x8000_0001 as NetworkId;
const OTHER = 0x8000_0002 as NetworkId;

/** Of a proxy that another network has used a moment ago. */
async function sharedTurns(clock = new FakeClock()): Promise<Turns> {
  const turns = new Turns(clock);
  await turns.take(OTHER);
  return turns;
}

test("one network's flood does not stand before another one's beginning", async () => {
  const turns = await sharedTurns();
  let begun = 0;
  const flood = Array.from({ length: 1000 }, async () => {
    await turns.take(FLOOD);
    begun++;
  });
  await turns.take(OTHER);
  expect(begun).toBeLessThanOrEqual(1);
  // Neither at first, nor when the flood has been served for a while and goes on arriving.
  while (begun < 500) await new Promise(setImmediate);
  const before = begun;
  flood.push(Promise.resolve(turns.take(FLOOD)), Promise.resolve(turns.take(FLOOD)));
  await turns.take(OTHER);
  expect(begun - before).toBeLessThanOrEqual(1);
  await Promise.all(flood);
  expect(begun).toBe(1000);
});

test("a network's own are served in the order of their arrival, one in a turn of the event loop", async () => {
  const turns = await sharedTurns();
  const served: number[] = [];
  const all = Promise.all(
    [1, 2, 3, 4].map(async (n) => {
      await turns.take(FLOOD);
      served.push(n);
    }),
  );
  let most = 0;
  for (let last = 0; served.length < 4; last = served.length) {
    await new Promise(setImmediate);
    most = Math.max(most, served.length - last);
  }
  await all;
  expect(served).toEqual([1, 2, 3, 4]);
  expect(most).toBe(1);
});

test("newcomers without end hold nobody up for ever", async () => {
  const turns = await sharedTurns();
  let isServed = false;
  void turns.take(FLOOD);
  void turns.take(FLOOD)?.then(() => (isServed = true));
  let came = 0;
  for (; !isServed && came < 1000; came++) {
    void turns.take(FLOOD);
    await new Promise(setImmediate);
  }
  expect(came).toBeLessThan(100);
});

test("a network that is alone does not wait for its turn, until another one comes", async () => {
  const clock = new FakeClock();
  const turns = await sharedTurns(clock);
  expect(turns.take(FLOOD)).toBeInstanceOf(Promise);
  await clock.advance(50_000);
  const last = turns.take(FLOOD);
  await clock.advance(11_000);
  await last;
  for (let i = 0; i < 10; i++) expect(turns.take(FLOOD)).toBeUndefined();
  expect(turns.take(OTHER)).toBeInstanceOf(Promise);
  expect(turns.take(FLOOD)).toBeInstanceOf(Promise);
});
