import { connect as connectHttp2 } from "node:http2";
import { expect, onTestFinished, test } from "vitest";
import { dial, type RawOrigin, startFront, startRawOrigin } from "./harness.ts";

const GIVEN = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const FRESH = /\r\ntraceparent: 00-([0-9a-f]{32})-([0-9a-f]{16})-00\r\n/g;

async function start(trace: boolean): Promise<{ port: number; origin: RawOrigin }> {
  const origin = await startRawOrigin();
  onTestFinished(() => origin.close());
  const front = await startFront(origin.port, { trace: () => trace });
  onTestFinished(() => front.close());
  return { port: front.port, origin };
}

async function headFor(port: number, origin: RawOrigin, fields: string): Promise<string> {
  const client = await dial(port);
  onTestFinished(() => void client.socket.destroy());
  client.send(`GET / HTTP/1.1\r\nHost: a\r\n${fields}\r\n`);
  return (await origin.next()).takeHead();
}

test("a trace that a client brings goes on as it is, whatever the node is asked for", async () => {
  for (const trace of [false, true]) {
    const { port, origin } = await start(trace);
    const head = await headFor(port, origin, `Traceparent: ${GIVEN}\r\ntracestate: a=1\r\n`);
    expect(head.match(/traceparent/gi)).toHaveLength(1);
    expect(head).toContain(`\r\nTraceparent: ${GIVEN}\r\ntracestate: a=1\r\n`);
  }
});

test("a request without a trace gets one of its own when the node is asked for it, and none otherwise", async () => {
  const { port, origin } = await start(true);
  const heads = [await headFor(port, origin, ""), await headFor(port, origin, "")];
  const ids = heads.map((head) => [...head.matchAll(FRESH)].map((match) => match[1]));
  expect(ids.map((found) => found.length)).toEqual([1, 1]);
  expect(ids[0]).not.toEqual(ids[1]);
  const plain = await start(false);
  expect(await headFor(plain.port, plain.origin, "")).not.toMatch(/traceparent/i);
});

test("HTTP/2 has the same rule", async () => {
  const { port, origin } = await start(true);
  const client = connectHttp2(`http://127.0.0.1:${port}`);
  client.on("error", () => undefined);
  onTestFinished(() => client.destroy());
  client.request({ ":path": "/" }).on("error", () => undefined);
  expect((await (await origin.next()).takeHead()).match(FRESH)).toHaveLength(1);
  client.request({ ":path": "/", traceparent: GIVEN }).on("error", () => undefined);
  const head = await (await origin.next()).takeHead();
  expect(head.match(/traceparent/gi)).toHaveLength(1);
  expect(head).toContain(GIVEN);
});
