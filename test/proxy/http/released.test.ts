/** What a connection that is already open may still ask for when the registry has changed. */
import { connect as connectHttp2, type ClientHttp2Session, type ClientHttp2Stream } from "node:http2";
import { once } from "node:events";
import { describe, expect, onTestFinished, test } from "vitest";
import type { HttpOptions, Service } from "../../../src/config/model.ts";
import type { AppName, MachineId } from "../../../src/core/ids.ts";
import type { World } from "../fixture.ts";
import { APP, HOME, machine, OTHER, service, type ServiceChoice } from "../values.ts";
import { dial, startRawOrigin, type RawOrigin, type RawPeer } from "./harness.ts";
import { httpWorld } from "./world.ts";

const M1 = "00000000000001" as MachineId;
const GET = "GET / HTTP/1.1\r\nHost: app.flycast\r\n\r\n";
const OK = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-App: yes\r\n\r\nok";
const HTTP: ServiceChoice = { handlers: ["http"], concurrency: { type: "requests" } };

async function start(): Promise<{ w: World; origin: RawOrigin }> {
  const origin = await startRawOrigin();
  onTestFinished(() => origin.close());
  const w = await httpWorld();
  w.add(machine(M1, [service(HTTP)]), { start: async () => [{ host: "127.0.0.1", port: origin.port }] });
  return { w, origin };
}

/** A client whose first request was served, and the Machine's side of it. */
async function served(w: World, origin: RawOrigin): Promise<{ client: RawPeer; there: RawPeer }> {
  const client = await dial(w.publishedPort());
  client.send(GET);
  const there = await origin.next();
  await there.takeHead();
  there.send(OK);
  await client.take("\r\n\r\nok");
  return { client, there };
}

function withOptions(options: Partial<HttpOptions>): Service {
  const plain = service(HTTP);
  return { ...plain, ports: plain.ports.map((p) => ({ ...p, httpOptions: { ...p.httpOptions, ...options } })) };
}

const changes: [string, (w: World) => void][] = [
  ["the address was released", (w) => w.apply({ kind: "address-gone", address: w.address })],
  [
    "the address belongs to another app",
    (w) =>
      w.apply({
        kind: "address",
        value: {
          address: w.address,
          app: "other" as AppName,
          network: HOME,
          createdAt: w.catalogue.app(APP)!.createdAt,
        },
      }),
  ],
  [
    "the address is on another network",
    (w) =>
      w.apply({
        kind: "address",
        value: { address: w.address, app: APP, network: OTHER, createdAt: w.catalogue.app(APP)!.createdAt },
      }),
  ],
  [
    "the app was destroyed",
    (w) => {
      w.apply({ kind: "machine-gone", id: M1 });
      w.apply({ kind: "address-gone", address: w.address });
      w.apply({ kind: "app-gone", name: APP });
    },
  ],
  ["the port is gone", (w) => w.apply({ kind: "machine", value: machine(M1, [service({ ...HTTP, start: 5001 })]) })],
  ["the port is raw TCP now", (w) => w.apply({ kind: "machine", value: machine(M1, [service()]) })],
  [
    "the port wants TLS now",
    (w) => w.apply({ kind: "machine", value: machine(M1, [service({ ...HTTP, handlers: ["http", "tls"] })]) }),
  ],
];

describe("a request on a connection that was open before", () => {
  test.each(changes)("is refused when %s", async (_why, change) => {
    const { w, origin } = await start();
    const { client, there } = await served(w, origin);
    change(w);
    client.send(GET);
    const answer = await client.rest();
    expect(answer).toMatch(/^HTTP\/1\.1 404 [\s\S]*\r\nConnection: close\r\n\r\nFP01: no service listens there\n$/);
    expect(there.received).toBe("");
    expect(w.settled.at(-1)).toMatchObject({ code: "FP01", status: 404, subject: { app: APP } });
    expect(w.logged.filter((line) => line.includes('"code":"FP01"'))).toHaveLength(1);
    client.end();
  });

  test("is answered without a body when it is a HEAD", async () => {
    const { w, origin } = await start();
    const { client } = await served(w, origin);
    w.apply({ kind: "address-gone", address: w.address });
    client.send(GET.replace("GET", "HEAD"));
    expect(await client.rest()).toMatch(/^HTTP\/1\.1 404 [^]*\r\n\r\n$/);
    client.end();
  });

  test("does not disturb the one that was being served: it ends, and only what is pipelined behind it is refused", async () => {
    const { w, origin } = await start();
    const { client, there } = await served(w, origin);
    client.send(GET + GET);
    await there.takeHead();
    w.apply({ kind: "address-gone", address: w.address });
    there.send(OK);
    expect(await client.rest()).toMatch(/^HTTP\/1\.1 200 [^]*\r\n\r\nokHTTP\/1\.1 404 [^]*FP01: /);
    client.end();
  });

  test("finds the port's options as they are now", async () => {
    const { w, origin } = await start();
    const { client, there } = await served(w, origin);
    w.apply({
      kind: "machine",
      value: machine(M1, [withOptions({ responseHeaders: [{ name: "X-App", value: false }] })]),
    });
    client.send(GET);
    await there.takeHead();
    there.send(OK);
    expect(await client.take("\r\n\r\nok")).not.toContain("X-App");
    client.end();
  });
});

describe("a stream of a session that was open before", () => {
  function session(w: World): ClientHttp2Session {
    const client = connectHttp2(`http://127.0.0.1:${w.publishedPort()}`);
    client.on("error", () => undefined);
    onTestFinished(() => client.destroy());
    return client;
  }

  async function answerOf(stream: ClientHttp2Stream): Promise<{ status: number | undefined; body: string }> {
    let status: number | undefined;
    stream.on("response", (headers) => (status = headers[":status"]));
    let body = "";
    for await (const part of stream as AsyncIterable<Buffer>) body += part.toString();
    return { status, body };
  }

  test("is refused, and the session ends after what it still serves", async () => {
    const { w, origin } = await start();
    const client = session(w);
    const first = answerOf(client.request({ ":path": "/first" }));
    const there = await origin.next();
    await there.takeHead();
    w.apply({ kind: "address-gone", address: w.address });
    const goaway = once(client, "goaway");
    expect(await answerOf(client.request({ ":path": "/second" }))).toEqual({
      status: 404,
      body: "FP01: no service listens there\n",
    });
    await goaway;
    const closed = once(client, "close");
    there.send(OK);
    expect(await first).toEqual({ status: 200, body: "ok" });
    await closed;
    expect(w.settled.map(({ code, status }) => ({ code, status }))).toEqual([
      { code: "FP01", status: 404 },
      { code: undefined, status: 200 },
    ]);
  });
});
