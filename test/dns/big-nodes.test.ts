import { expect, test } from "vitest";
import type { Ip6 } from "../../src/core/ids.ts";
import { rememberBigNodes } from "../../src/dns/big-nodes.ts";
import { ZONES, type Node } from "../../src/dns/zone.ts";
import { FakeClock } from "../support/fake-clock.ts";
import { HOME, IAD, OTHER } from "./landscape.ts";

const zone = ZONES[0]!;
const addresses = (count: number): Node => ({
  kind: "addresses",
  addresses: Array<Ip6>(count).fill("fdaa::1" as Ip6),
  order: "any",
});

test("a long list is gathered once in 50 ms for each network and name, a short one every time", async () => {
  const clock = new FakeClock();
  const asked: string[] = [];
  const find = rememberBigNodes(clock, (asker, _zone, key) => {
    asked.push(`${asker.network} ${key}`);
    return key === "small" ? addresses(64) : key === "none" ? undefined : addresses(65);
  });
  for (let i = 0; i < 3; i++) {
    for (const key of ["big", "small", "none"]) find({ network: HOME, region: IAD }, zone, key);
    find({ network: OTHER, region: IAD }, zone, "big");
  }
  const times = (entry: string): number => asked.filter((one) => one === entry).length;
  expect([times(`${HOME} big`), times(`${OTHER} big`), times(`${HOME} small`), times(`${HOME} none`)]).toEqual([
    1, 1, 3, 3,
  ]);
  await clock.advance(50);
  find({ network: HOME, region: IAD }, zone, "big");
  expect(times(`${HOME} big`)).toBe(2);
});

test("long text counts as long, and any number of names takes bounded memory", () => {
  let asked = 0;
  const find = rememberBigNodes(new FakeClock(), (_asker, _zone, key) => {
    asked++;
    return { kind: "text", text: key.padEnd(3000) };
  });
  for (let i = 0; i < 1000; i++)
    expect(find({ network: HOME, region: IAD }, zone, `${i}`)).toMatchObject({ kind: "text" });
  expect(asked).toBe(1000);
  find({ network: HOME, region: IAD }, zone, "999");
  expect(asked).toBe(1000);
});
