import { once } from "node:events";
import { connect as connectHttp2, createServer as createHttp2Server } from "node:http2";
import { createServer as createHttpServer } from "node:http";
import { connect as connectTls } from "node:tls";
import { describe, expect, onTestFinished, test } from "vitest";
import type { HttpOptions } from "../../../src/config/model.ts";
import type { MachineId } from "../../../src/core/ids.ts";
import { seconds } from "../../../src/core/units.ts";
import type { DialAddress } from "../../../src/network/plane.ts";
import { open, type World } from "../fixture.ts";
import { machine, service, type ServiceChoice } from "../values.ts";
import { dial, eventually, listen, RawPeer, startRawOrigin, type RawOrigin } from "./harness.ts";
import { httpWorld } from "./world.ts";

const M1 = "00000000000001" as MachineId;
const M2 = "00000000000002" as MachineId;
const GET = "GET / HTTP/1.1\r\nHost: app.flycast\r\n\r\n";
const OK = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

async function rawOrigin(): Promise<RawOrigin> {
  const origin = await startRawOrigin();
  onTestFinished(() => origin.close());
  return origin;
}

const HTTP: ServiceChoice = { handlers: ["http"], concurrency: { type: "requests" } };
const at = (port: number): readonly DialAddress[] => [{ host: "127.0.0.1", port }];

describe("HTTP through all phases", () => {
  test("a hundred clients at once start a sleeping Machine once, and all are served", async () => {
    const server = createHttpServer((_request, response) => response.end("ok"));
    const port = await listen(server);
    onTestFinished(() => void server.close());
    const w = await httpWorld();
    let starts = 0;
    w.add(machine(M1, [service(HTTP)]), {
      start: async () => {
        starts++;
        await new Promise<void>((resolve) => setImmediate(resolve));
        return at(port);
      },
    });
    const answers = await Promise.all(
      Array.from({ length: 100 }, async () => {
        const client = await dial(w.publishedPort());
        client.send(GET.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n"));
        const answer = await client.rest();
        client.end();
        return answer;
      }),
    );
    expect(answers.filter((answer) => answer.startsWith("HTTP/1.1 200 ") && answer.includes("ok"))).toHaveLength(100);
    expect(starts).toBe(1);
    server.closeAllConnections();
  });

  test("a sleeping Machine that speaks HTTP/2 is woken by a stream, and answers it and the next one", async () => {
    const server = createHttp2Server((request, response) => request.pipe(response));
    const port = await listen(server);
    onTestFinished(() => void server.close());
    const w = await httpWorld();
    const http = { ...service(HTTP).ports[0]?.httpOptions, h2Backend: true } as HttpOptions;
    const plain = service(HTTP);
    w.add(machine(M1, [{ ...plain, ports: plain.ports.map((p) => ({ ...p, httpOptions: http })) }]), {
      start: async () => at(port),
    });
    const client = connectHttp2(`http://127.0.0.1:${w.publishedPort()}`);
    client.on("error", () => undefined);
    onTestFinished(() => client.destroy());
    for (const text of ["first", "second"]) {
      const stream = client.request({ ":method": "POST", ":path": "/" });
      stream.end(text);
      let answer = "";
      for await (const part of stream as AsyncIterable<Buffer>) answer += part.toString();
      expect(answer).toBe(text);
    }
  });

  test("at the hard limit a request waits, and is served by the slot that frees", async () => {
    const origin = await rawOrigin();
    const w = await httpWorld();
    w.add(machine(M1, [service({ ...HTTP, concurrency: { type: "requests", hardLimit: 1 } })]), {
      start: async () => at(origin.port),
    });
    const first = await dial(w.publishedPort());
    first.send(GET);
    const busy = await origin.next();
    await busy.takeHead();
    const second = await dial(w.publishedPort());
    second.send(GET.replace("/ ", "/second "));
    await eventually(() => w.proxy.usage().waiting === 1);
    busy.send(OK);
    await first.take("\r\n\r\nok");
    // The slot and the connection are the first one's.
    expect(await busy.takeHead()).toMatch(/^GET \/second /);
    busy.send(OK);
    await second.take("\r\n\r\nok");
    for (const client of [first, second]) client.end();
  });

  test("nobody free in time is a 503 with FP06 and Retry-After", async () => {
    const origin = await rawOrigin();
    const w = await httpWorld({ limits: { queueTimeout: seconds(0.05) } });
    w.add(machine(M1, [service({ ...HTTP, concurrency: { type: "requests", hardLimit: 1 } })]), {
      start: async () => at(origin.port),
    });
    const first = await dial(w.publishedPort());
    first.send(GET);
    await (await origin.next()).takeHead();
    const second = await dial(w.publishedPort());
    second.send(GET);
    expect(await second.takeHead()).toMatch(/^HTTP\/1\.1 503 [\s\S]*\r\nRetry-After: 1\r\n/);
    await second.take("FP06: ");
    for (const client of [first, second]) client.end();
  });

  test("a Machine that cannot be started is passed over for one that can", async () => {
    const origin = await rawOrigin();
    const w = await httpWorld();
    const broken = { start: () => Promise.reject(new Error("no such program")) };
    w.add(machine(M1, [service(HTTP)]), broken);
    w.add(machine(M2, [service(HTTP)]), { start: async () => at(origin.port) });
    const client = await dial(w.publishedPort());
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello");
    const there = await origin.next();
    await there.take("hello");
    there.send(OK);
    await client.take("\r\n\r\nok");
    client.end();
  });

  test("proxy_proto writes its header before each connection, which then serves one client only", async () => {
    const origin = await rawOrigin();
    const w = await httpWorld();
    w.add(machine(M1, [service({ ...HTTP, handlers: ["http", "proxy_proto"] })]), {
      start: async () => at(origin.port),
    });
    const client = await dial(w.publishedPort());
    client.send(GET);
    const there = await origin.next();
    expect(await there.takeHead()).toMatch(
      /^PROXY TCP[46] [^\r]*\r\nGET \/ HTTP\/1\.1\r\n[\s\S]*\r\nConnection: close\r\n/,
    );
    there.end(OK);
    await client.take("\r\n\r\nok");
    client.end();
  });
});

describe("HTTPS", () => {
  const TLS: ServiceChoice = { ...HTTP, handlers: ["http", "tls"], tls: { defaultSelfSigned: true } };

  async function secure(w: World, alpn: string): Promise<RawPeer> {
    const socket = connectTls({
      host: "127.0.0.1",
      port: w.publishedPort(),
      rejectUnauthorized: false,
      servername: "app.flycast",
      ALPNProtocols: [alpn],
    });
    open(socket);
    await once(socket, "secureConnect");
    return new RawPeer(socket);
  }

  test("HTTP/1.1 after TLS says https to the Machine; an answer that breaks off ends the client's connection", async () => {
    const origin = await rawOrigin();
    const w = await httpWorld();
    w.add(machine(M1, [service(TLS)]), { start: async () => at(origin.port) });
    const client = await secure(w, "http/1.1");
    client.send(GET);
    const there = await origin.next();
    expect(await there.takeHead()).toContain("\r\nX-Forwarded-Proto: https\r\nX-Forwarded-SSL: on\r\n");
    there.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc");
    await client.take("abc");
    there.end();
    await eventually(() => client.closed);
    expect(w.settled[0]?.code).toBe("PU02");
  });

  test("h2 by ALPN", async () => {
    const origin = await rawOrigin();
    const w = await httpWorld();
    w.add(machine(M1, [service(TLS)]), { start: async () => at(origin.port) });
    const session = connectHttp2(`https://127.0.0.1:${w.publishedPort()}`, {
      rejectUnauthorized: false,
      servername: "app.flycast",
    });
    onTestFinished(() => session.destroy());
    session.on("error", () => undefined);
    const stream = session.request({ ":path": "/h2" });
    stream.setEncoding("utf8");
    let body = "";
    stream.on("data", (chunk: string) => (body += chunk));
    const there = await origin.next();
    expect(await there.takeHead()).toMatch(
      /^GET \/h2 [\s\S]*\r\nX-Forwarded-Proto: https\r\n[\s\S]*\r\nVia: 2 fly\.io\r\n/,
    );
    there.send(OK);
    await once(stream, "close");
    expect(body).toBe("ok");
  });
});
