import { expect, test } from "vitest";
import { checkResolution } from "../../src/dns/check-resolution.ts";
import { fakeUpstream } from "./fake-upstream.ts";
import { Landscape } from "./landscape.ts";
import { bindPair, serve } from "./support.ts";

const at = (port: number): { host: string; port: number } => ({ host: "127.0.0.1", port });
const brief = async (port: number): Promise<string[]> =>
  (await checkResolution(at(port))).map(({ what, ok }) => `${what}: ${ok ? "yes" : "no"}`);

test("a server that answers and forwards is well", async () => {
  const upstream = await fakeUpstream((q) =>
    q.answer([{ name: ".", type: "NS", class: "IN", ttl: 60, data: "a.root-servers.net" }]),
  );
  const { port } = await serve(new Landscape(), { forward: { upstreams: [upstream.address] } });
  expect(await brief(port)).toEqual(["private names: yes", "other names: yes"]);
});

test("one without an upstream says so, and what is not there at all is told apart", async () => {
  const { port } = await serve(new Landscape());
  expect(await brief(port)).toEqual(["private names: yes", "other names: no"]);
  expect((await checkResolution(at(port)))[1]?.detail).toContain("no upstream resolver answered");

  const gone = await bindPair();
  await new Promise<void>((resolve) => gone.udp.close(() => resolve()));
  expect((await checkResolution(at(gone.port))).map(({ ok }) => ok)).toEqual([false, false]);
});
