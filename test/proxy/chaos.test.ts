import type { Socket } from "node:net";
import { expect, test } from "vitest";
import { AppError } from "../../src/core/errors.ts";
import type { MachineId } from "../../src/core/ids.ts";
import { seconds } from "../../src/core/units.ts";
import type { DialAddress } from "../../src/network/plane.ts";
import { closedPort, open, upstream, world } from "./fixture.ts";
import { machine, service } from "./values.ts";

const IDS = ["00000000000001", "00000000000002", "00000000000003"] as MachineId[];

/** The same numbers for the same seed. */
function randomFrom(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state * 48_271) % 2_147_483_647;
    return state / 2_147_483_647;
  };
}

test.each([1, 2, 3, 4])(
  "after random days of clients and Machines nothing is held: no claim, no descriptor, no waiter (seed %i)",
  async (seed) => {
    const random = randomFrom(seed * 7919);
    const chance = (share: number): boolean => random() < share;
    const w = await world({
      limits: { queueTimeout: seconds(0.3), wakeTimeout: seconds(0.5), queueLength: 20, halfClosedTimeout: seconds(1) },
    });
    const upstreams = new Set<Socket>();
    const address = await upstream((socket) => {
      upstreams.add(socket);
      socket.on("close", () => upstreams.delete(socket));
      if (chance(0.1)) return void socket.resetAndDestroy();
      if (chance(0.1)) return void socket.end("goodbye");
      if (chance(0.1)) return void socket.pause();
      socket.pipe(socket);
    });
    const nobody = await closedPort();
    for (const id of IDS) {
      w.add(machine(id, [service({ concurrency: { softLimit: 3, hardLimit: 6 } })]), {
        async start(): Promise<readonly DialAddress[]> {
          await pause(random() * 30);
          if (chance(0.2)) throw new AppError("PM02", "not today");
          return [chance(0.1) ? nobody : address];
        },
      });
    }
    const clients = new Set<Socket>();
    for (let step = 0; step < 600; step++) {
      const dice = random();
      if (dice < 0.4 && clients.size < 60) {
        const client = w.dial();
        clients.add(client);
        client.on("close", () => clients.delete(client));
        client.on("data", () => {});
        if (chance(0.7)) client.write(Buffer.alloc(Math.floor(random() * 200_000), 1));
      } else if (dice < 0.75) {
        const client = [...clients][Math.floor(random() * clients.size)];
        if (client === undefined) continue;
        if (chance(0.3)) client.resetAndDestroy();
        else if (chance(0.5)) client.end();
        else if (chance(0.35)) client.pause();
        else if (client.writable) client.write("more");
      } else if (dice < 0.8) {
        const socket = [...upstreams][Math.floor(random() * upstreams.size)];
        if (chance(0.5)) socket?.resetAndDestroy();
        else socket?.end();
      } else if (dice < 0.84) {
        // A life ends, with or without a word; a failed one is forgiven.
        w.pool.end(IDS[Math.floor(random() * IDS.length)]!, undefined, chance(0.5) ? "stopping" : "stopped");
      } else if (dice < 0.9) {
        for (const id of IDS) if (chance(0.7)) w.pool.forgive(id);
      } else await pause(random() * 8);
    }
    for (const client of clients) client.destroy();
    for (const id of IDS) w.pool.forgive(id);
    while (w.proxy.connections() > 0) await pause(5);
    expect(IDS.map((id) => w.pool.claims(id))).toEqual([0, 0, 0]);
    while (w.proxy.usage().open > 0) await pause(5);
    expect(w.proxy.usage()).toMatchObject({ open: 0, waiting: 0 });
    expect(w.logged.filter((line) => line.includes("inside the proxy"))).toEqual([]);
    expect(w.settled.filter((s) => s.code === "FP15")).toEqual([]);

    // And it still works.
    const client = open(w.dial());
    client.end("x");
    client.resume();
    while (w.proxy.connections() > 0 || !client.destroyed) await pause(5);
  },
);

function pause(milliseconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}
