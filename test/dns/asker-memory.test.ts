import { expect, test } from "vitest";
import { rememberAskers } from "../../src/dns/asker-memory.ts";
import type { Asker } from "../../src/dns/zone.ts";
import { FakeClock } from "../support/fake-clock.ts";
import { HOME, IAD, OTHER } from "./landscape.ts";

test("a source is looked up again after 50 ms, nobody's as well as somebody's", async () => {
  const clock = new FakeClock();
  const known = new Map<string, Asker>([["a", { network: HOME, region: IAD }]]);
  let asked = 0;
  const askerOf = rememberAskers(clock, (source) => {
    asked++;
    return known.get(source);
  });
  for (let i = 0; i < 10; i++) expect([askerOf("a")?.network, askerOf("b")]).toEqual([HOME, undefined]);
  expect(asked).toBe(2);
  known.set("b", { network: OTHER, region: IAD });
  known.delete("a");
  await clock.advance(50);
  expect([askerOf("a"), askerOf("b")?.network]).toEqual([undefined, OTHER]);
});

test("any number of sources takes bounded memory", () => {
  const askerOf = rememberAskers(new FakeClock(), (source) => ({
    network: Number(source) as typeof HOME,
    region: IAD,
  }));
  for (let i = 1; i < 20_000; i++) expect(askerOf(`${i}`)?.network).toBe(i);
});
