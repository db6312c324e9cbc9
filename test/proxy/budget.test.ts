import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { NetworkId } from "../../src/core/ids.ts";
import { Budget, descriptorLimit } from "../../src/proxy/budget.ts";
import { HOME, LIMITS, OTHER } from "./values.ts";

const budget = (limits: Partial<typeof LIMITS>, descriptors = 10_000): Budget =>
  new Budget(() => ({ ...LIMITS, ...limits }), descriptors);

describe("the limit of connections", () => {
  test("auto leaves 512 descriptors or a tenth, whichever is more, and half where there are few", () => {
    expect(budget({}, 1_048_576).limit).toBe(943_718);
    expect(budget({}, 4096).limit).toBe(3584);
    expect(budget({}, 256).limit).toBe(128);
    expect(descriptorLimit()).toBeGreaterThan(100);
  });

  test("a client's connection counts twice, so that its way to the Machine is never refused", () => {
    const one = budget({ connections: 4, perNetwork: 1 });
    const taken = [one.openDownstream(HOME, undefined), one.openDownstream(HOME, undefined)];
    expect(taken.every((t) => t.ok)).toBe(true);
    expect(one.openDownstream(OTHER, undefined)).toEqual({ ok: false, error: "FP03" });
    expect(one.openUpstream().ok && one.openUpstream().ok).toBe(true);
    expect(one.openUpstream().ok).toBe(false);
  });

  test("giving back twice gives back once", () => {
    const one = budget({ connections: 4, perNetwork: 1 });
    const first = one.openDownstream(HOME, "a");
    one.openDownstream(HOME, "a");
    if (first.ok) {
      first.value();
      first.value();
    }
    expect(one.open).toBe(1);
  });
});

test("a source gets its share of its network's share", () => {
  const one = budget({ connections: 64, perNetwork: 0.5 });
  const flood = Array.from({ length: 20 }, () => one.openDownstream(HOME, "flooder").ok);
  expect(flood.filter(Boolean)).toHaveLength(8);
  expect(one.openDownstream(HOME, "neighbour").ok).toBe(true);
});

test("whatever one network takes, another one gets in, and the limit is never passed", () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 8, max: 500 }),
      fc.array(fc.tuple(fc.boolean(), fc.nat(3), fc.boolean()), { maxLength: 600 }),
      (connections, steps) => {
        const one = budget({ connections, perNetwork: 0.5 });
        const taken: (() => void)[] = [];
        for (const [open, source, upstream] of steps) {
          if (!open) taken.pop()?.();
          else {
            const got = upstream ? one.openUpstream() : one.openDownstream(HOME, `source ${source}`);
            if (got.ok) taken.push(got.value);
          }
          expect(one.open).toBeLessThanOrEqual(connections);
          expect(one.downstream).toBeLessThanOrEqual(Math.max(1, Math.floor(connections / 4)));
        }
        for (const giveBack of taken) giveBack();
        expect(one.open).toBe(0);
        expect(one.openDownstream(OTHER, "other").ok).toBe(true);
      },
    ),
  );
});

test("waiters are bounded for each network and for the node", () => {
  const one = budget({ queueLength: 1, perNetwork: 0.5 });
  const wait = (network: NetworkId): boolean => one.startWaiting(network).ok;
  expect(Array.from({ length: 20 }, () => wait(HOME)).filter(Boolean)).toHaveLength(8);
  expect(Array.from({ length: 20 }, () => wait(OTHER)).filter(Boolean)).toHaveLength(8);
  expect(wait(1 as NetworkId)).toBe(false);
});

describe("when descriptors run short", () => {
  /** Four descriptors, all of them connections to Machines; so many are only kept in case they are needed. */
  function full(idle: number): { one: Budget; taken: (() => void)[]; asked: number[] } {
    const asked: number[] = [];
    let left = idle;
    const one = new Budget(
      () => ({ ...LIMITS, connections: 4, perNetwork: 1 }),
      10_000,
      (count) => {
        asked.push(count);
        const shed = Math.min(count, left);
        left -= shed;
        return shed;
      },
    );
    const taken = Array.from({ length: 4 }, () => {
      const got = one.openUpstream();
      if (!got.ok) throw new Error(got.error);
      return got.value;
    });
    return { one, taken, asked };
  }

  test("connections that are only kept make room, as many as are needed and at once", () => {
    const { one, asked } = full(3);
    expect(one.openDownstream(HOME, undefined).ok).toBe(true);
    expect(asked).toEqual([2]);
    expect(one.open).toBe(3);
    expect(one.openUpstream().ok).toBe(true);
    expect(one.openUpstream().ok).toBe(true);
    expect(one.openUpstream()).toEqual({ ok: false, error: "FP03" });
    expect(one.open).toBe(4);
  });

  test("the end of those that were shed is not counted twice", () => {
    const { one, taken } = full(2);
    const got = one.openDownstream(HOME, undefined);
    for (const giveBack of taken) giveBack();
    expect(one.open).toBe(1);
    if (got.ok) got.value();
    expect(one.open).toBe(0);
  });

  test("where nothing is kept, new work is refused", () => {
    expect(full(0).one.openDownstream(HOME, undefined)).toEqual({ ok: false, error: "FP03" });
  });
});
