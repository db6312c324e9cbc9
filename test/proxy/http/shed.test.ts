import { expect, onTestFinished, test } from "vitest";
import type { MachineId } from "../../../src/core/ids.ts";
import { machine, service } from "../values.ts";
import { dial, eventually, startRawOrigin } from "./harness.ts";
import { httpWorld } from "./world.ts";

const GET = "GET / HTTP/1.1\r\nHost: app.flycast\r\n\r\n";
const OK = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

test("idle connections to Machines are given up before a client is refused; busy ones are not", async () => {
  const origin = await startRawOrigin();
  onTestFinished(() => origin.close());
  // Room for three clients, each with its way to a Machine.
  const w = await httpWorld({ limits: { connections: 6, perNetwork: 1 } });
  w.add(machine("00000000000001" as MachineId, [service({ handlers: ["http"], concurrency: { type: "requests" } })]), {
    start: async () => [{ host: "127.0.0.1", port: origin.port }],
  });
  // Three at once, so that there are three connections to the Machine; then all clients leave.
  const first = await Promise.all([1, 2, 3].map(() => dial(w.publishedPort())));
  for (const client of first) client.send(GET);
  const machines = [await origin.next(), await origin.next(), await origin.next()];
  for (const there of machines) {
    await there.takeHead();
    there.send(OK);
  }
  for (const client of first) {
    await client.take("\r\n\r\nok");
    client.end();
    await client.rest();
  }
  await eventually(() => w.proxy.connections() === 0);
  expect(w.proxy.usage().open).toBe(3);

  // Two use connections that were kept; the third fits only if the one that is left goes.
  const second = [];
  for (let i = 0; i < 3; i++) {
    const client = await dial(w.publishedPort());
    client.send(GET);
    second.push(client);
    if (i < 2) await eventually(() => machines.filter((there) => there.received !== "").length === i + 1);
  }
  await eventually(() => machines.some((there) => there.closed || there.ended));
  const busy = machines.filter((there) => !there.closed && !there.ended);
  expect(busy).toHaveLength(2);
  for (const there of [...busy, await origin.next()]) {
    await there.takeHead();
    there.send(OK);
  }
  for (const client of second) {
    await client.take("\r\n\r\nok");
    client.end();
  }
  expect(w.settled.filter(({ code }) => code !== undefined)).toEqual([]);
});
