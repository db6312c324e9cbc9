import { once } from "node:events";
import { createServer, type AddressInfo, type Server } from "node:net";
import { afterEach, describe, expect, test } from "vitest";
import type { Ip6, MachineId, NetworkId } from "../../src/core/ids.ts";
import { createLoopbackPlane } from "../../src/network/loopback.ts";
import type { PlaceRequest } from "../../src/network/plane.ts";

const request = (id: string, ports: readonly number[]): PlaceRequest => ({
  id: id as MachineId,
  network: 0x18 as NetworkId,
  address: "fdaa:0:18::2" as Ip6,
  mounts: [],
  files: [],
  hidden: [],
  ports,
});

const servers: Server[] = [];
afterEach(async () => {
  for (const server of servers.splice(0)) {
    server.close();
    await once(server, "close");
  }
});

async function listen(port: number, host: string): Promise<number> {
  const server = createServer().listen(port, host);
  servers.push(server);
  await once(server, "listening");
  return (server.address() as AddressInfo).port;
}

describe("loopback mode", () => {
  test("gives each Machine ports of its own: PORT for the first service, PORT_n for each", async () => {
    const plane = createLoopbackPlane();
    const [web, api] = await Promise.all([
      plane.place(request("web", [8080, 9090])),
      plane.place(request("api", [8080])),
    ]);
    expect(web.env).toEqual({
      HOST: "127.0.0.1",
      PORT: `${web.dial(8080)[0]?.port}`,
      PORT_8080: `${web.dial(8080)[0]?.port}`,
      PORT_9090: `${web.dial(9090)[0]?.port}`,
    });
    const given = [web.dial(8080), web.dial(9090), api.dial(8080)].flat();
    expect(new Set(given.map((address) => address.port)).size).toBe(3);
    expect(new Set(given.map((address) => address.host))).toEqual(new Set(["127.0.0.1"]));
    expect(web.dial(1234)).toEqual([]);
    expect(web.enter({ folder: "/", user: undefined })).toEqual([]);
    expect(web.members()).toBeUndefined();
  });

  test("a port that it gives is free, for a Machine that listens on all interfaces too", async () => {
    const base = await listen(0, "0.0.0.0");
    const plane = createLoopbackPlane({ ports: { from: base, to: base + 20 }, random: () => 0 });
    const place = await plane.place(request("web", [80]));
    const port = place.dial(80)[0]?.port;
    expect(port).toBeGreaterThan(base);
    expect(await listen(port!, "0.0.0.0")).toBe(port);
  });

  test("the ports stay from start to start, also when services are added", async () => {
    const plane = createLoopbackPlane();
    const first = (await plane.place(request("web", [80]))).dial(80);
    expect((await plane.place(request("web", [80]))).dial(80)).toEqual(first);
    const grown = await plane.place(request("web", [80, 81]));
    expect(grown.dial(80)).toEqual(first);
    expect(grown.dial(81)).not.toEqual(first);
  });

  test("a port that a stranger took while the Machine was asleep is replaced, and the others stay", async () => {
    const plane = createLoopbackPlane();
    const first = await plane.place(request("web", [80, 81]));
    await listen(first.dial(80)[0]!.port, "127.0.0.1");
    const second = await plane.place(request("web", [80, 81]));
    expect(second.dial(80)).not.toEqual(first.dial(80));
    expect(second.dial(81)).toEqual(first.dial(81));
    expect(second.env["PORT"]).toBe(`${second.dial(80)[0]!.port}`);
  });

  test("what was given back can be given again, and when nothing is free it says so", async () => {
    const probe = await listen(0, "127.0.0.1");
    const free = servers.pop()!;
    free.close();
    await once(free, "close");
    const plane = createLoopbackPlane({ ports: { from: probe, to: probe } });
    expect((await plane.place(request("one", [80]))).dial(80)[0]?.port).toBe(probe);
    await expect(plane.place(request("two", [80]))).rejects.toThrow("is free");
    await plane.unplace("one" as MachineId);
    expect((await plane.place(request("two", [80]))).dial(80)[0]?.port).toBe(probe);
  });

  test("a Machine without services gets a PORT nevertheless", async () => {
    const place = await createLoopbackPlane().place(request("worker", []));
    expect(Object.keys(place.env).sort()).toEqual(["HOST", "PORT"]);
  });

  test("has no private listeners, no doors and no namespaces", async () => {
    const plane = createLoopbackPlane();
    expect(plane.listenPrivate(80)).toBeUndefined();
    await plane.onServiceDoor(() => expect.unreachable());
    await plane.addNetwork(0x18 as NetworkId);
    expect(await plane.client(0x18 as NetworkId)).toMatchObject({ address: undefined, enter: [] });
    expect(await plane.refused()).toEqual({});
  });
});
