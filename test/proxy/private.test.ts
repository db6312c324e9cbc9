import { once } from "node:events";
import { connect, createServer, type Socket } from "node:net";
import { expect, test } from "vitest";
import type { MachineId, NetworkId } from "../../src/core/ids.ts";
import type { WallTime } from "../../src/core/units.ts";
import type { Caller } from "../../src/network/caller.ts";
import { createLoopbackPlane } from "../../src/network/loopback.ts";
import type { NetworkPlane } from "../../src/network/plane.ts";
import { closedPort, echo, ending, ip6, open, readAll, upstream, world } from "./fixture.ts";
import { APP, HOME, IAD, machine, OTHER, service } from "./values.ts";

const M1 = "00000000000001" as MachineId;
const HERE = ip6("::1");

/** The lab's way in, with `::1` as the one Flycast address that this computer has without a namespace. */
function plane(): NetworkPlane {
  return {
    ...createLoopbackPlane(),
    async listenPrivate(port) {
      const server = createServer({ allowHalfOpen: true, noDelay: true });
      server.listen(port, "::1");
      await once(server, "listening");
      return server;
    },
  };
}

const from =
  (network: NetworkId | undefined) =>
  (address: string, port: number): Caller => ({
    address,
    port,
    network,
    via: "machine",
    machine: undefined,
    region: IAD,
  });

const dial = (port: number): Socket => open(connect({ host: "::1", port, allowHalfOpen: true }));

async function privateWorld(caller: NetworkId | undefined, network: NetworkId = HOME) {
  const ways = plane();
  const w = await world({ plane: ways, ports: [], identify: from(caller) });
  w.apply({ kind: "address", value: { address: HERE, app: APP, network, createdAt: 0 as WallTime } });
  const { port } = await closedPort();
  w.add(machine(M1, [service({ start: port })]), { start: async () => [await upstream(echo)] });
  await w.proxy.sync();
  return { w, port };
}

test("a connection to a Flycast address reaches the app, and its destination is what the caller dialled", async () => {
  const { w, port } = await privateWorld(HOME);
  const client = dial(port);
  client.end("hello");
  expect((await readAll(client)).toString()).toBe("hello");
  const [settlement] = await w.whenSettled(1);
  expect(settlement?.work?.connection).toMatchObject({
    destination: { address: HERE, port },
    caller: { address: "::1", network: HOME },
    network: HOME,
  });
});

test("a caller of another network is reset without a byte, and counted", async () => {
  const { w, port } = await privateWorld(OTHER);
  const client = dial(port);
  client.write("let me in");
  expect(await ending(client)).toBe("ECONNRESET");
  expect(client.bytesRead).toBe(0);
  expect((await w.whenSettled(1))[0]?.code).toBe("FP02");
  expect(w.pool.starts).toEqual([]);
});

test("on a port of the plane's own what no service lists is reset and counted, before there is any app", async () => {
  const { port } = await closedPort();
  const w = await world({ plane: { ...plane(), sharedPorts: [port] }, ports: [], identify: from(HOME) });
  await w.proxy.sync();
  expect(await ending(dial(port))).toBe("ECONNRESET");
  expect((await w.whenSettled(1))[0]?.code).toBe("FP01");
});

test("a caller that nobody knows is reset, too", async () => {
  const { w, port } = await privateWorld(undefined);
  expect(await ending(dial(port))).toBe("ECONNRESET");
  expect((await w.whenSettled(1))[0]?.code).toBe("FP02");
});

test("an address allocated on another network serves that network, and not the app's own", async () => {
  const there = await privateWorld(OTHER, OTHER);
  const client = dial(there.port);
  client.end("x");
  expect((await readAll(client)).toString()).toBe("x");
  const home = await privateWorld(HOME, OTHER);
  expect(await ending(dial(home.port))).toBe("ECONNRESET");
});

test("an address that no app has is reset at once and counted, on a port that others use", async () => {
  const { w, port } = await privateWorld(HOME);
  w.apply({ kind: "address-gone", address: HERE });
  expect(await ending(dial(port))).toBe("ECONNRESET");
  expect((await w.whenSettled(1))[0]?.code).toBe("FP01");
});

test("listeners follow the registry: opened for a new service, closed when no service lists the port", async () => {
  const { w, port } = await privateWorld(HOME);
  const next = await closedPort();
  w.apply({ kind: "machine", value: machine(M1, [service({ start: next.port })]) });
  await w.proxy.sync();
  const client = dial(next.port);
  client.end("moved");
  expect((await readAll(client)).toString()).toBe("moved");
  expect(await ending(dial(port))).toBe("ECONNREFUSED");
  await w.whenSettled(1);
  w.apply({ kind: "machine-gone", id: M1 });
  await w.proxy.sync();
  expect(await ending(dial(next.port))).toBe("ECONNREFUSED");
});

test("every port of a range leads to the service, with the port that the caller dialled", async () => {
  const ways = plane();
  const w = await world({ plane: ways, ports: [], identify: from(HOME) });
  w.apply({ kind: "address", value: { address: HERE, app: APP, network: HOME, createdAt: 0 as WallTime } });
  const first = await freeRange(3);
  w.add(machine(M1, [service({ start: first, end: first + 2 })]), { start: async () => [await upstream(echo)] });
  await w.proxy.sync();
  for (const port of [first, first + 1, first + 2]) {
    const client = dial(port);
    client.end(String(port));
    expect((await readAll(client)).toString()).toBe(String(port));
  }
  const ports = (await w.whenSettled(3)).map((s) => s.work?.connection.destination.port);
  expect(ports).toEqual([first, first + 1, first + 2]);
});

/** The first of so many neighbouring ports that are free. */
async function freeRange(count: number): Promise<number> {
  for (;;) {
    const { port } = await closedPort();
    const servers = Array.from({ length: count }, (_, i) => createServer().listen(port + i, "::1"));
    const results = await Promise.all(
      servers.map((s) =>
        once(s, "listening").then(
          () => true,
          () => false,
        ),
      ),
    );
    await Promise.all(servers.map((s) => new Promise((resolve) => s.close(resolve))));
    if (results.every(Boolean)) return port;
  }
}
