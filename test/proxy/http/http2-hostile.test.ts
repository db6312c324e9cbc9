/** HTTP/2 frame by frame, as no library sends it: each flood ends, and costs us no memory on its way. */
import { afterEach, describe, expect, test } from "vitest";
import { dial, eventually, type Front, type RawOrigin, type RawPeer, startFront, startRawOrigin } from "./harness.ts";

import {
  CONTINUATION,
  DATA,
  END_HEADERS,
  END_STREAM,
  field,
  frame,
  frames,
  GET,
  GOAWAY,
  HEADERS,
  PING,
  PREFACE,
  RST_STREAM,
  SETTINGS,
  u32,
  WINDOW_UPDATE,
} from "./h2-frames.ts";

const cleanups: (() => Promise<void> | void)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

async function start(
  how: Parameters<typeof startFront>[1] = {},
): Promise<{ front: Front; origin: RawOrigin; client: RawPeer }> {
  const origin = await startRawOrigin();
  cleanups.push(() => origin.close());
  const front = await startFront(origin.port, how);
  cleanups.push(() => front.close());
  const client = await dial(front.port);
  cleanups.push(() => void client.socket.destroy());
  client.send(PREFACE);
  return { front, origin, client };
}

/** Sends pieces as fast as they are taken, until the other side has ended the connection or takes no more. */
async function flood(client: RawPeer, piece: string, times: number): Promise<number> {
  const bytes = Buffer.from(piece, "latin1");
  let sent = 0;
  while (sent < times && !client.ended && !client.closed) {
    const flowing = client.socket.write(bytes);
    sent++;
    if (!flowing) {
      const drained = new Promise<boolean>((resolve) => client.socket.once("drain", () => resolve(true)));
      const stuck = new Promise<boolean>((resolve) => setTimeout(() => resolve(false), 500));
      if (!(await Promise.race([drained, stuck]))) break; // it does not read what it could not answer
    } else await new Promise<void>((resolve) => setImmediate(resolve));
  }
  return sent;
}

const MB = 1024 * 1024;
const memory = (): number => process.memoryUsage().rss;

describe("floods over HTTP/2", () => {
  test("a head that never ends, in CONTINUATION frames, ends the connection (CVE-2024-27316)", async () => {
    const { front, client } = await start();
    const before = memory();
    client.send(frame(HEADERS, END_STREAM, 1, GET));
    const piece = frame(CONTINUATION, 0, 1, field("x", "y".repeat(100)).repeat(100));
    const sent = await flood(client, piece, 20_000);
    expect(sent).toBeLessThan(2000);
    expect(front.reach.asked).toBe(0);
    expect(memory() - before).toBeLessThan(100 * MB);
  });

  test("empty CONTINUATION frames without end, too", async () => {
    const { front, client } = await start();
    client.send(frame(HEADERS, END_STREAM, 1, GET));
    await flood(client, frame(CONTINUATION, 0, 1).repeat(1000), 2000);
    await eventually(() => client.ended || client.closed);
    expect(front.reach.asked).toBe(0);
  });

  test.each([
    ["PING", frame(PING, 0, 0, "12345678")],
    ["SETTINGS", frame(SETTINGS, 0, 0)],
  ])("%s that want an answer, from a client that reads none of them", async (_name, ask) => {
    const { client } = await start();
    client.socket.pause();
    const before = memory();
    // 100,000 answers of 9 to 17 bytes would be megabytes; the kernel's own buffers hold some of them.
    await flood(client, ask.repeat(1000), 1000);
    expect(memory() - before).toBeLessThan(100 * MB);
    client.socket.resume();
  });

  test("a client that makes us reset its streams does not go on for long (CVE-2025-8671)", async () => {
    const { front, client } = await start();
    front.reach.gate = new Promise(() => undefined);
    for (let stream = 1; stream < 801 && !client.ended && !client.closed; stream += 2) {
      // A window beyond 2 to the 31 is an error of the stream (RFC 9113 §6.9.1), which we have to answer with a reset.
      client.send(
        frame(HEADERS, END_STREAM | END_HEADERS, stream, GET) + frame(WINDOW_UPDATE, 0, stream, u32(0x7fffffff)),
      );
      await new Promise<void>((resolve) => setImmediate(resolve));
    }
    await client.rest();
    expect(frames(client.received).some(({ type }) => type === GOAWAY)).toBe(true);
    expect(front.reach.asked).toBeLessThan(150);
    await eventually(() => front.reach.claims.size === 0);
  });

  test("more streams at once than were allowed are refused, and those that there are go on", async () => {
    const { front, origin, client } = await start();
    for (let stream = 1; stream < 241; stream += 2) client.send(frame(HEADERS, END_STREAM | END_HEADERS, stream, GET));
    await eventually(() => frames(client.received).filter(({ type }) => type === RST_STREAM).length >= 20);
    expect(front.reach.claims.size).toBeLessThanOrEqual(100);
    expect(front.reach.claims.size).toBeGreaterThan(50);
    expect(client.ended).toBe(false);
    for (const machine of origin.connections) machine.socket.destroy();
  });
});

describe("limits of a head over HTTP/2", () => {
  test("more fields or bytes than HTTP/1.1 may have are refused without a Machine", async () => {
    for (const fields of [field("x", "y").repeat(200), field("x", "y".repeat(120)).repeat(600)]) {
      const { front, client } = await start();
      const block = GET + fields;
      const size = 16_000;
      for (let at = 0; at < block.length; at += size) {
        const isLast = at + size >= block.length;
        const type = at === 0 ? HEADERS : CONTINUATION;
        client.send(
          frame(type, (at === 0 ? END_STREAM : 0) | (isLast ? END_HEADERS : 0), 1, block.slice(at, at + size)),
        );
      }
      await eventually(
        () =>
          client.ended ||
          client.closed ||
          frames(client.received).some(({ type }) => type === RST_STREAM || type === HEADERS),
      );
      expect(front.reach.asked).toBe(0);
      client.socket.destroy();
    }
  });
});

describe("a client that does not read", () => {
  test("a closed window stops the Machine's answer: little of it waits here", async () => {
    const { front, origin, client } = await start();
    client.send(frame(HEADERS, END_STREAM | END_HEADERS, 1, GET));
    const machine = await origin.next();
    await machine.takeHead();
    machine.send("HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n");
    const piece = Buffer.alloc(64 * 1024);
    let written = 0;
    let isStuck = false;
    while (!isStuck && written < 200 * MB) {
      written += piece.length;
      if (machine.socket.write(piece)) continue;
      const drained = new Promise<boolean>((resolve) => machine.socket.once("drain", () => resolve(true)));
      const silence = new Promise<boolean>((resolve) => setTimeout(() => resolve(false), 500));
      isStuck = !(await Promise.race([drained, silence]));
    }
    // The kernel's buffers hold a few megabytes; the window of 64 KiB was used up.
    expect(isStuck).toBe(true);
    expect(written).toBeLessThan(30 * MB);
    expect(frames(client.received).some(({ type }) => type === DATA)).toBe(true);
    expect(front.reach.claims.size).toBe(1);
    client.socket.destroy();
    await eventually(() => front.reach.claims.size === 0);
  });
});

test("CONNECT with a protocol (RFC 8441) is not offered, and refused", async () => {
  const { front, client } = await start();
  await eventually(() => frames(client.received).some(({ type }) => type === SETTINGS));
  const bytes = Buffer.from(client.received, "latin1");
  const settings = bytes.subarray(9, 9 + bytes.readUIntBE(0, 3));
  for (let at = 0; at < settings.length; at += 6) {
    if (settings.readUInt16BE(at) === 8) expect(settings.readUInt32BE(at + 2)).toBe(0);
  }
  const head = `${field(":method", "CONNECT")}${field(":protocol", "websocket")}\x86\x84\x01\x01a`;
  client.send(frame(HEADERS, END_HEADERS, 1, head));
  await eventually(
    () => client.ended || frames(client.received).some(({ type }) => type === RST_STREAM || type === HEADERS),
  );
  expect(front.reach.asked).toBe(0);
});
