import type { Socket } from "node:net";
import { expect, test } from "vitest";
import type { MachineId, RegionCode } from "../../src/core/ids.ts";
import type { DialAddress } from "../../src/network/plane.ts";
import { echo, read, readAll, upstream, world, type World } from "./fixture.ts";
import { machine, service } from "./values.ts";

const IDS = ["00000000000001", "00000000000002", "00000000000003"] as MachineId[];
const AMS = "ams" as RegionCode;

async function connected(w: World): Promise<Socket> {
  const client = w.dial();
  client.write("x");
  await read(client, 1);
  return client;
}

async function turn(): Promise<void> {
  await new Promise<void>((resolve) => setTimeout(resolve, 2));
}

test("running Machines share connections evenly", async () => {
  const w = await world();
  const address = await upstream(echo);
  for (const id of IDS) {
    w.add(machine(id, [service()]), { start: async () => [address] });
    await w.pool.start(id);
  }
  for (let i = 0; i < 12; i++) await connected(w);
  expect(IDS.map((id) => w.pool.claims(id))).toEqual([4, 4, 4]);
});

test("waiters are the load of a starting Machine: beyond its soft limit the next one is started, too", async () => {
  const w = await world();
  const start = Promise.resolve<readonly DialAddress[]>([await upstream(echo)]);
  let release = (): void => {};
  const gate = new Promise<void>((resolve) => (release = resolve));
  for (const id of IDS)
    w.add(machine(id, [service({ concurrency: { softLimit: 5 } })]), { start: () => gate.then(() => start) });
  const clients = Array.from({ length: 8 }, () => w.dial());
  const answers = clients.map((client) => {
    client.end("x");
    return readAll(client);
  });
  while (w.proxy.usage().waiting < 8) await turn();
  expect(w.pool.starts).toHaveLength(2);
  expect(w.pool.starts.map((id) => w.pool.claims(id))).toEqual([5, 3]);
  release();
  await Promise.all(answers);
  expect(w.pool.starts).toHaveLength(2);
});

test("at the soft limit of all that run the next one is woken, at the end everybody is loaded further", async () => {
  const w = await world();
  const address = await upstream(echo);
  for (const id of IDS.slice(0, 2))
    w.add(machine(id, [service({ concurrency: { softLimit: 1, hardLimit: 2 } })]), { start: async () => [address] });
  for (const starts of [1, 2, 2, 2]) {
    await connected(w);
    expect(w.pool.starts).toHaveLength(starts);
  }
  expect(IDS.slice(0, 2).map((id) => w.pool.claims(id))).toEqual([2, 2]);
});

test("the caller's own region is loaded to its hard limit before another one is used", async () => {
  const w = await world();
  const address = await upstream(echo);
  const limited = service({ concurrency: { softLimit: 1, hardLimit: 2 } });
  w.add(machine(IDS[0]!, [limited]), { start: async () => [address] });
  w.add(machine(IDS[1]!, [limited], AMS), { start: async () => [address] });
  await w.pool.start(IDS[0]!);
  await w.pool.start(IDS[1]!);
  const shares: number[][] = [];
  for (let i = 0; i < 3; i++) {
    await connected(w);
    shares.push([w.pool.claims(IDS[0]!), w.pool.claims(IDS[1]!)]);
  }
  expect(shares).toEqual([
    [1, 0],
    [2, 0],
    [2, 1],
  ]);
});

test("cordoned and unhealthy Machines get nothing, and those that are being emptied only what nobody else takes", async () => {
  const w = await world();
  const address = await upstream(echo);
  w.add({ ...machine(IDS[0]!, [service()]), cordoned: true }, { start: async () => [address] });
  for (const id of IDS.slice(1)) {
    w.add(machine(id, [service()]), { start: async () => [address] });
    await w.pool.start(id);
  }
  w.pool.emptied = new Set([IDS[1]!]);
  await connected(w);
  await connected(w);
  expect(IDS.map((id) => w.pool.claims(id))).toEqual([0, 0, 2]);
  w.catalogue.setStatus(IDS[2]!, { ...w.catalogue.status(IDS[2]!), unhealthyPorts: new Set([9000]) });
  await connected(w);
  expect(IDS.map((id) => w.pool.claims(id))).toEqual([0, 1, 2]);
});

test("a Machine that refuses is passed over: the connection goes to the next one", async () => {
  const w = await world();
  const good = await upstream(echo);
  const { closedPort } = await import("./fixture.ts");
  const bad = await closedPort();
  let first: MachineId | undefined;
  for (const id of IDS.slice(0, 2)) {
    w.add(machine(id, [service()]), {
      async start() {
        first ??= id;
        return [id === first ? bad : good];
      },
    });
  }
  // One that has been up for longer than any start takes.
  w.proxy.reload({ ...(await import("./values.ts")).LIMITS, wakeTimeout: 1 as never });
  expect((await connected(w)).destroyed).toBe(false);
});
