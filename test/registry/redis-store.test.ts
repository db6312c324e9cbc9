import { randomBytes } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { connect, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Redis } from "ioredis";
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import type { Ip6 } from "../../src/core/ids.ts";
import { systemClock } from "../../src/core/clock.ts";
import { flycastNumber } from "../../src/network/address.ts";
import type { Registry } from "../../src/registry/commands.ts";
import { openRedisRegistry, type RedisRegistry, type RedisRegistryOptions } from "../../src/registry/stores/redis.ts";
import { hasRedis, RedisServer } from "./redis-server.ts";
import { contentsOf, describeStore } from "./store.contract.ts";
import { appName, defaultNetwork, iad, machineConfig, personal, temporaryFolder } from "./support.ts";

let server: RedisServer;
let prefixes = 0;
const newPrefix = (): string => `test-${process.pid}-${prefixes++}`;

async function open(dir: string, prefix: string, more: Partial<RedisRegistryOptions> = {}): Promise<RedisRegistry> {
  return await openRedisRegistry({
    dir,
    prefix,
    url: server.url,
    clock: systemClock,
    random: (n) => randomBytes(n),
    onNotice: () => undefined,
    ...more,
  });
}

/** A node with a state folder of its own; closed with the test. */
async function node(prefix: string, more: Partial<RedisRegistryOptions> = {}): Promise<RedisRegistry> {
  const registry = await open(await temporaryFolder(), prefix, more);
  onTestFinished(() => registry.close());
  return registry;
}

const makeApp = (registry: Registry, name: string) =>
  registry.commands.createApp({ name: appName(name), org: personal, network: defaultNetwork });

/** Waits until a view shows what it should. */
async function until(registry: Registry, holds: () => boolean): Promise<void> {
  if (holds()) return;
  await new Promise<void>((resolve) => {
    const stop = registry.changes.subscribe(() => {
      if (!holds()) return;
      stop();
      resolve();
    });
  });
}

describe.skipIf(!hasRedis)("with a Redis server (needs redis-server)", () => {
  beforeAll(async () => {
    server = await RedisServer.start();
  });
  afterAll(() => server.stop());

  for (const snapshotAfter of [2000, 1]) {
    describeStore(`the Redis store, a snapshot after ${snapshotAfter} records`, async () => {
      const dir = await mkdtemp(join(tmpdir(), "flycast-test-"));
      const prefix = newPrefix();
      return {
        open: () => open(dir, prefix, { snapshotAfter }),
        destroy: () => rm(dir, { recursive: true, force: true }),
      };
    });
  }

  test("two nodes see each other's changes, in the same order", async () => {
    const prefix = newPrefix();
    const [one, two] = [await node(prefix), await node(prefix)];
    expect(one.host).not.toBe(two.host);
    const app = await makeApp(one, "web");
    await until(two, () => two.view.app(app.name) !== undefined);
    const machine = await two.commands.createMachine({ app: app.name, region: iad, config: machineConfig() });
    await until(one, () => one.view.machine(machine.id) !== undefined);
    expect(machine.host).toBe(two.host);
    expect(contentsOf(one.view)).toStrictEqual(contentsOf(two.view));
  });

  test("a command is decided on the newest state, whoever wrote it last", async () => {
    const prefix = newPrefix();
    const nodes = await Promise.all([node(prefix), node(prefix), node(prefix)]);
    const home = nodes[0]!.view.networkNamed(personal, defaultNetwork)!.id;
    expect(new Set(nodes.map(({ view }) => view.networkNamed(personal, defaultNetwork)?.id)).size).toBe(1);
    const made = await Promise.allSettled(nodes.map((one) => makeApp(one, "web")));
    expect(made.filter(({ status }) => status === "fulfilled")).toHaveLength(1);
    // Everybody allocates at once: no number is given twice, none is left out.
    const addresses = await Promise.all(
      nodes.flatMap((one) => Array.from({ length: 50 }, () => one.commands.allocateAddress(appName("web"), home))),
    );
    const numbers = addresses.map(({ address }) => flycastNumber(address)!).toSorted((a, b) => a - b);
    expect(numbers).toEqual(Array.from({ length: 150 }, (_, i) => i + 1));
    for (const one of nodes) {
      await until(one, () => one.view.addressesOf(appName("web")).length === 150);
      expect(contentsOf(one.view)).toStrictEqual(contentsOf(nodes[0]!.view));
    }
  });

  test("a node that comes later reads the snapshot and the records after it", async () => {
    const prefix = newPrefix();
    const one = await node(prefix, { snapshotAfter: 10 });
    for (let i = 0; i < 35; i++) await makeApp(one, `app-${i}`);
    await one.close();
    const again = await node(prefix);
    expect([...again.view.apps()]).toHaveLength(35);
    const redis = new Redis(server.url);
    onTestFinished(() => redis.disconnect());
    expect(await redis.xlen(`{${prefix}}:log`)).toBeLessThan(35);
    // One snapshot at a time: old ones go.
    expect((await redis.keys(`{${prefix}}:snapshot:*`)).length).toBe(1);
  });

  test("without Redis views go on and commands are refused; with it back, all goes on", async () => {
    const own = await RedisServer.start();
    onTestFinished(() => own.stop());
    const notices: string[] = [];
    let noticed: () => void;
    const isBack = new Promise<void>((resolve) => (noticed = resolve));
    const registry = await node("away", {
      url: own.url,
      onNotice: (message) => {
        notices.push(message);
        if (message.includes("is back")) noticed();
      },
    });
    await makeApp(registry, "before");
    await own.kill();
    await expect(makeApp(registry, "during")).rejects.toMatchObject({ code: "node_unreachable" });
    expect(registry.view.app(appName("before"))).toBeDefined();
    await own.up();
    await isBack;
    await expect
      .poll(
        () =>
          makeApp(registry, "after").then(
            () => true,
            (error: { code: string }) => error.code === "name_taken",
          ),
        {
          timeout: 20_000,
        },
      )
      .toBe(true);
    expect([...registry.view.apps()].map(({ name }) => name as string)).toEqual(["before", "after"]);
    expect(notices[0]).toContain("is away");
  });

  test("a node starts without Redis from what it knew, and catches up when Redis is back", async () => {
    const own = await RedisServer.start();
    onTestFinished(() => own.stop());
    const dir = await temporaryFolder();
    const first = await open(dir, "offline", { url: own.url });
    const other = await node("offline", { url: own.url });
    await makeApp(first, "known");
    await first.close();
    await makeApp(other, "missed");
    await own.kill();
    const notices: string[] = [];
    const again = await open(dir, "offline", { url: own.url, onNotice: (message) => notices.push(message) });
    onTestFinished(() => again.close());
    expect(notices[0]).toContain("goes on with what it knew");
    expect([...again.view.apps()].map(({ name }) => name as string)).toEqual(["known"]);
    await expect(makeApp(again, "x")).rejects.toMatchObject({ code: "node_unreachable" });
    await own.up();
    await until(again, () => again.view.app(appName("missed")) !== undefined);
    await expect
      .poll(() => makeApp(again, "new").catch(() => undefined), { timeout: 20_000 })
      .toMatchObject({ name: "new" });
  });

  test("Redis is killed while nodes write: what was acknowledged is there, once, and no number was given twice", async () => {
    const own = await RedisServer.start();
    onTestFinished(() => own.stop());
    const nodes = [await node("killed", { url: own.url }), await node("killed", { url: own.url })];
    const home = nodes[0]!.view.networkNamed(personal, defaultNetwork)!.id;
    await makeApp(nodes[0]!, "web");
    await until(nodes[1]!, () => nodes[1]!.view.app(appName("web")) !== undefined);
    const acknowledged: string[] = [];
    let isOver = false;
    const writers = nodes.flatMap((one) =>
      Array.from({ length: 4 }, async () => {
        while (!isOver) {
          // A refusal comes at once while Redis is away: give the rest of the process its turn.
          await one.commands.allocateAddress(appName("web"), home).then(
            ({ address }) => acknowledged.push(address),
            () => new Promise((resolve) => setImmediate(resolve)),
          );
        }
      }),
    );
    for (let life = 0; life < 5; life++) {
      const before = acknowledged.length;
      await expect.poll(() => acknowledged.length, { timeout: 20_000, interval: 3 }).toBeGreaterThan(before + 10);
      await own.kill();
      await own.up();
    }
    isOver = true;
    await Promise.all(writers);
    expect(new Set(acknowledged).size).toBe(acknowledged.length);
    const late = await node("killed", { url: own.url });
    for (const one of [...nodes, late]) {
      await until(one, () => acknowledged.every((address) => one.view.addressAt(address as Ip6) !== undefined));
      expect(contentsOf(one.view)).toStrictEqual(contentsOf(late.view));
    }
  });

  test("a Redis that forgot what was acknowledged is not believed", async () => {
    const prefix = newPrefix();
    const registry = await node(prefix);
    await makeApp(registry, "web");
    const redis = new Redis(server.url);
    onTestFinished(() => redis.disconnect());
    await redis.del(`{${prefix}}:seq`, `{${prefix}}:log`);
    await expect(makeApp(registry, "next")).rejects.toMatchObject({ code: "state_damaged" });
    expect(registry.view.app(appName("web"))).toBeDefined();
  });

  test("a node that fell behind a trimmed stream loads what is, and tells what changed", async () => {
    const prefix = newPrefix();
    let cut: Socket[] = [];
    let isOpen = true;
    const dial = async (host: string, port: number): Promise<Socket> => {
      if (!isOpen) throw new Error("no way out");
      const socket = connect(port, host);
      cut.push(socket);
      await new Promise<void>((resolve, reject) => socket.once("connect", resolve).once("error", reject));
      return socket;
    };
    const slow = await node(prefix, { dial });
    const fast = await node(prefix, { snapshotAfter: 5 });
    await makeApp(slow, "gone");
    await until(fast, () => fast.view.app(appName("gone")) !== undefined);
    isOpen = false;
    for (const socket of cut) socket.destroy();
    cut = [];
    await fast.commands.destroyApp(appName("gone"));
    for (let i = 0; i < 40; i++) await makeApp(fast, `app-${i}`);
    const told: string[] = [];
    slow.changes.subscribe((change) => told.push(change.kind === "app" ? change.name : change.kind));
    isOpen = true;
    await until(slow, () => [...slow.view.apps()].length === 40);
    expect(contentsOf(slow.view)).toEqual(contentsOf(fast.view));
    expect(told).toContain("gone");
    expect(told.filter((name) => name.startsWith("app-"))).toHaveLength(40);
  });

  test("hosts are those that live", async () => {
    const prefix = newPrefix();
    const one = await node(prefix, { about: "first" });
    const two = await node(prefix, { about: "second" });
    const seen = async () => (await one.hosts()).map(({ about }) => about).toSorted((a, b) => (a < b ? -1 : 1));
    await expect.poll(seen).toEqual(["first", "second"]);
    await two.close();
    expect(await seen()).toEqual(["first"]);
  });

  test("no Redis at all is said, without the password", async () => {
    const url = "redis://:s3cret@127.0.0.1:1/0";
    const failure = open(await temporaryFolder(), "x", { url });
    await expect(failure).rejects.toMatchObject({ code: "node_unreachable" });
    await expect(failure).rejects.not.toThrow("s3cret");
  });
});
