import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { expect, test } from "vitest";
import { ms } from "../../src/core/units.ts";
import { DEFAULT_DNS_LIMITS } from "../../src/dns/server.ts";
import { FakeClock } from "../support/fake-clock.ts";
import { framed, query, show } from "./ask.ts";
import { a, fakeUpstream } from "./fake-upstream.ts";
import { Landscape, machineId } from "./landscape.ts";
import { cleanUp, serve } from "./support.ts";

const landscape = new Landscape().app("web").app("big");
landscape.machine("web", machineId(1));
for (let i = 0; i < 1500; i++) landscape.machine("big", machineId(100 + i));

async function open(port: number, allowHalfOpen = false): Promise<Socket> {
  const socket = connect({ port, host: "127.0.0.1", allowHalfOpen });
  cleanUp(() => socket.destroy());
  socket.on("error", () => {});
  await once(socket, "connect");
  // Only who reads learns that the other side has ended.
  socket.resume();
  return socket;
}

async function exchange(socket: Socket): Promise<string> {
  socket.write(framed(query("web.internal", "AAAA")));
  const [chunk] = (await once(socket, "data")) as [Buffer];
  return show(chunk.subarray(2)).rcode;
}

test("one source may hold so many connections; when one ends, its slot is free again", async () => {
  const tcp = { total: 10, perNetwork: 10, perSource: 2 };
  const { port } = await serve(landscape, { limits: { tcp } });
  const [first, second] = [await open(port), await open(port)];
  expect(await exchange(first)).toBe("NOERROR");
  expect(await exchange(second)).toBe("NOERROR");
  const third = await open(port);
  await once(third, "close");
  first.end();
  await once(first, "close");
  for (;;) {
    const again = await open(port);
    again.write(framed(query("web.internal", "AAAA")));
    const event = await Promise.race([
      once(again, "data").then(() => "data"),
      once(again, "close").then(() => "close"),
    ]);
    if (event === "data") break;
  }
});

test("a connection without a question, or with half of one, is closed after a while; one that asks stays", async () => {
  const clock = new FakeClock();
  const { port } = await serve(landscape, { clock });
  const [busy, half, quiet] = [await open(port), await open(port), await open(port)];
  for (const socket of [busy, half, quiet]) expect(await exchange(socket)).toBe("NOERROR");
  half.write(framed(query("web.internal", "AAAA")).subarray(0, 5));
  await clock.advance(DEFAULT_DNS_LIMITS.tcpIdle - 1000);
  expect(await exchange(busy)).toBe("NOERROR");
  const ended = Promise.all([once(half, "close"), once(quiet, "close")]);
  await clock.advance(1000);
  await ended;
  expect(await exchange(busy)).toBe("NOERROR");
});

test("no connection lives longer than the limit, however busy", async () => {
  const clock = new FakeClock();
  const { port } = await serve(landscape, { clock, limits: { tcpLifetime: ms(25_000) } });
  const socket = await open(port);
  const ended = once(socket, "close");
  for (let i = 0; i < 3; i++) {
    expect(await exchange(socket)).toBe("NOERROR");
    await clock.advance(8000);
  }
  await clock.advance(1000);
  await ended;
});

test("who sends a question and FIN still gets an answer that has to be fetched", async () => {
  const upstream = await fakeUpstream();
  const { port } = await serve(landscape, { forward: { upstreams: [upstream.address] } });
  const socket = await open(port, true);
  socket.end(framed(query("example.com", "A")));
  await upstream.count(1);
  upstream.received[0]?.answer([a("example.com", "192.0.2.1")]);
  const [chunk] = (await once(socket, "data")) as [Buffer];
  expect(show(chunk.subarray(2)).answers).toEqual(["192.0.2.1"]);
  await once(socket, "end");
});

test("a client that asks and never reads makes us stop reading, and hurts nobody", async () => {
  const { port } = await serve(landscape);
  const greedy = await open(port);
  greedy.pause();
  // 1,500 Machines are 42 KB an answer: a thousand questions would be 42 MB of answers.
  const flood = Buffer.concat(Array.from({ length: 1000 }, () => framed(query("big.internal", "AAAA"))));
  for (let i = 0; i < 1000; i++) greedy.write(flood);
  for (let i = 0; i < 20; i++) expect(await exchange(await open(port))).toBe("NOERROR");
  // Not all of it was taken: what lies unread is still on the client's side.
  expect(greedy.writableLength).toBeGreaterThan(0);
  // And it gets all its answers as soon as it reads.
  let received = 0;
  greedy.on("data", (chunk: Buffer) => (received += chunk.length));
  greedy.resume();
  while (received < 10_000_000) await once(greedy, "data");
});
