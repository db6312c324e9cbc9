import { createSocket, type Socket } from "node:dgram";
import { once } from "node:events";
import { afterEach, describe, expect, test } from "vitest";
import { seconds } from "../../../src/core/units.ts";
import { isWireGuard } from "../../../src/network/wireguard/datagram.ts";
import { Relay } from "../../../src/network/wireguard/relay.ts";
import { standIn } from "../../../src/network/wireguard/stand-in.ts";
import { FakeClock } from "../../support/fake-clock.ts";

const sockets: Socket[] = [];
const relays: Relay[] = [];
afterEach(async () => {
  for (const relay of relays.splice(0)) await relay.close();
  for (const socket of sockets.splice(0)) socket.close();
});

async function udp(host = "127.0.0.1"): Promise<Socket> {
  const socket = createSocket("udp4");
  sockets.push(socket);
  socket.bind(0, host);
  await once(socket, "listening");
  return socket;
}

/** An initiation of a handshake, as far as a relay can tell. */
function initiation(mark: number): Buffer {
  const datagram = Buffer.alloc(148, mark);
  datagram.writeUInt32LE(1, 0);
  return datagram;
}

/** A relay before a WireGuard that answers, with the same bytes, to those whose mark is even. */
async function start(limits: { readonly known?: number; readonly unknown?: number } = {}) {
  const state = { isUp: true, asked: 0 };
  const clock = new FakeClock();
  const inner = await udp();
  const heard: number[] = [];
  inner.on("message", (datagram, from) => {
    const mark = datagram.at(-1) ?? 0;
    heard.push(mark);
    if (mark % 2 === 0) inner.send(datagram, from.port, from.address);
  });
  const outer = createSocket("udp4");
  outer.bind(0, "127.0.0.1");
  await once(outer, "listening");
  const relay = new Relay({
    outer,
    port: () => (state.asked++, state.isUp ? inner.address().port : undefined),
    clock,
    ...limits,
  });
  relays.push(relay);
  const { port } = outer.address();
  return {
    clock,
    state,
    relay,
    heard,
    inner,
    send: (client: Socket, datagram: Buffer) =>
      new Promise<void>((resolve) => client.send(datagram, port, "127.0.0.1", () => resolve())),
  };
}

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setTimeout(resolve, 2));
}

describe("the relay", () => {
  test("carries datagrams both ways, and tells clients apart", async () => {
    const { relay, send } = await start();
    const clients = await Promise.all([udp(), udp(), udp()]);
    for (const [index, client] of clients.entries()) {
      const answer = once(client, "message");
      await send(client, initiation(index * 2));
      const [datagram] = (await answer) as [Buffer];
      expect(datagram).toEqual(initiation(index * 2));
    }
    expect(relay.size).toBe(3);
  });

  test("shows WireGuard one address for each remote address, so that it limits each by itself", async () => {
    const { inner, send } = await start();
    const seen: string[] = [];
    inner.on("message", (_, from) => seen.push(from.address));
    for (const host of ["127.0.0.1", "127.0.0.1", "127.0.0.2"]) await send(await udp(host), initiation(1));
    await until(() => seen.length === 3);
    expect(new Set(seen).size).toBe(2);
    expect(seen.filter((address) => address.startsWith("127.0.0."))).toEqual([]);
  });

  test("keeps the order of what comes before its socket is open", async () => {
    const { heard, send } = await start();
    const client = await udp();
    const marks = [1, 3, 5, 7, 9];
    await Promise.all(marks.map((mark) => send(client, initiation(mark))));
    await until(() => heard.length === marks.length);
    expect(heard).toEqual(marks);
  });

  test("passes on nothing that cannot be WireGuard", async () => {
    const { relay, heard, send } = await start();
    const client = await udp();
    for (const length of [0, 1, 31, 147]) await send(client, initiation(2).subarray(0, length));
    await send(client, Buffer.alloc(149, 1));
    await send(client, initiation(3));
    await until(() => heard.length > 0);
    expect(heard).toEqual([3]);
    expect(relay.size).toBe(1);
  });

  test("a flood of strangers is bounded, and takes no place from a client that was answered", async () => {
    const { relay, heard, send } = await start({ unknown: 8 });
    const client = await udp();
    const answer = once(client, "message");
    await send(client, initiation(2));
    await answer;
    const strangers = await Promise.all(Array.from({ length: 40 }, () => udp()));
    for (const stranger of strangers) await send(stranger, initiation(1));
    await until(() => heard.length >= 9);
    expect(relay.size).toBe(9);
    const again = once(client, "message");
    await send(client, initiation(4));
    await again;
    expect(relay.size).toBe(9);
  });

  test("a newcomer takes the place of a stranger that has waited for a second", async () => {
    const { clock, relay, heard, send } = await start({ unknown: 1 });
    const [first, second] = await Promise.all([udp(), udp()]);
    await send(first, initiation(1));
    await until(() => heard.length === 1);
    await clock.advance(seconds(2));
    const answer = once(second, "message");
    await send(second, initiation(2));
    await answer;
    expect(relay.size).toBe(1);
  });

  test("forgets strangers after ten seconds and clients after four minutes of silence", async () => {
    const { clock, relay, heard, send } = await start();
    const [client, stranger] = await Promise.all([udp(), udp()]);
    const answer = once(client, "message");
    await send(client, initiation(2));
    await answer;
    await send(stranger, initiation(1));
    await until(() => heard.length === 2);
    await clock.advance(seconds(16));
    expect(relay.size).toBe(1);
    await clock.advance(seconds(200));
    expect(relay.size).toBe(1);
    await clock.advance(seconds(60));
    expect(relay.size).toBe(0);
  });

  test("what comes while WireGuard does not run is lost, and nothing else", async () => {
    const { relay, state, heard, send } = await start();
    const client = await udp();
    state.isUp = false;
    await send(client, initiation(2));
    await send(client, initiation(2));
    await until(() => state.asked === 2);
    state.isUp = true;
    const answer = once(client, "message");
    await until(() => (void send(client, initiation(4)), heard.length > 0));
    await answer;
    expect(new Set(heard)).toEqual(new Set([4]));
    expect(relay.size).toBe(1);
  });

  test("starts anew when WireGuard does", async () => {
    const { relay, send } = await start();
    const client = await udp();
    for (const mark of [2, 4]) {
      const answer = once(client, "message");
      await send(client, initiation(mark));
      await answer;
      relay.reset();
      expect(relay.size).toBe(0);
    }
  });
});

test("addresses of one /64 of IPv6 have one stand-in, as WireGuard limits them together", () => {
  const salt = new Uint8Array(16);
  expect(standIn("2001:db8::1", salt)).toBe(standIn("2001:db8:0:0:9::7", salt));
  expect(standIn("2001:db8::1", salt)).not.toBe(standIn("2001:db8:0:1::1", salt));
  expect(standIn("2001:db8::1", salt)).not.toBe(standIn("2001:db8::1", new Uint8Array(16).fill(1)));
});

test("only types and lengths of WireGuard are taken for it", () => {
  const datagram = (type: number, length: number): Buffer => {
    const bytes = Buffer.alloc(length);
    if (length >= 4) bytes.writeUInt32LE(type, 0);
    return bytes;
  };
  const taken = [0, 1, 2, 3, 4, 5, 256].flatMap((type) =>
    Array.from({ length: 1500 }, (_, length) => ({ type, length })).filter(({ type: t, length }) =>
      isWireGuard(datagram(t, length)),
    ),
  );
  expect(taken.filter(({ type }) => type !== 4)).toEqual([
    { type: 1, length: 148 },
    { type: 2, length: 92 },
    { type: 3, length: 64 },
  ]);
  expect(taken.filter(({ type }) => type === 4).every(({ length }) => length >= 32 && length % 16 === 0)).toBe(true);
});
