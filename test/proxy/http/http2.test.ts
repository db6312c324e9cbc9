import { once } from "node:events";
import * as http2 from "node:http2";
import { connect as connectTcp, type AddressInfo } from "node:net";
import { afterEach, describe, expect, test } from "vitest";
import { dial, eventually, type Front, type RawOrigin, startFront, startRawOrigin } from "./harness.ts";

const cleanups: (() => Promise<void> | void)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

async function start(
  how: Parameters<typeof startFront>[1] = {},
): Promise<{ front: Front; origin: RawOrigin; client: http2.ClientHttp2Session }> {
  const origin = await startRawOrigin();
  cleanups.push(() => origin.close());
  return { origin, ...(await startClient(origin.port, how)) };
}

async function startClient(
  originPort: number,
  how: Parameters<typeof startFront>[1] = {},
): Promise<{ front: Front; client: http2.ClientHttp2Session }> {
  const front = await startFront(originPort, how);
  cleanups.push(() => front.close());
  const client = http2.connect(`http://127.0.0.1:${front.port}`);
  client.on("error", () => undefined);
  cleanups.push(() => client.destroy());
  return { front, client };
}

async function read(stream: http2.ClientHttp2Stream): Promise<{
  headers: http2.IncomingHttpHeaders & { ":status"?: number };
  body: string;
  trailers: http2.IncomingHttpHeaders;
}> {
  let body = "";
  let trailers: http2.IncomingHttpHeaders = {};
  let headers: http2.IncomingHttpHeaders = {};
  stream.setEncoding("latin1");
  stream.on("response", (received) => (headers = received));
  stream.on("trailers", (received) => (trailers = received));
  stream.on("data", (chunk: string) => (body += chunk));
  await once(stream, "close");
  return { headers, body, trailers };
}

describe("HTTP/2 from the client, HTTP/1.1 to the Machine", () => {
  test("streams become requests with the platform's headers, and hold a claim each", async () => {
    const { front, origin, client } = await start();
    const a = client.request({ ":path": "/a", cookie: ["x=1", "y=2"], "fly-src": "forged" });
    const b = client.request({ ":path": "/b", ":method": "POST" });
    b.end("hello");
    const answers = Promise.all([read(a), read(b)]);
    const machines = [await origin.next(), await origin.next()];
    for (const machine of machines) {
      const head = await machine.takeHead();
      expect(head).toMatch(/\r\nVia: 2 fly\.io\r\n/);
      expect(head).not.toContain("forged");
      if (head.startsWith("GET /a")) {
        expect(head).toContain("\r\ncookie: x=1; y=2\r\n");
        expect(head).toContain(`\r\nhost: 127.0.0.1:${front.port}\r\n`);
        machine.send(
          "HTTP/1.1 302 Found\r\nLocation: /c\r\nSet-Cookie: a\r\nSet-Cookie: b\r\nContent-Length: 1\r\n\r\nA",
        );
      } else {
        expect(head).toContain("\r\nTransfer-Encoding: chunked\r\n");
        await machine.take("5\r\nhello\r\n0\r\n\r\n");
        expect(front.reach.claims.size).toBeGreaterThan(0);
        machine.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-Sum: 1\r\n\r\n");
      }
    }
    const [first, second] = await answers;
    expect(first.headers).toMatchObject({ ":status": 302, location: "/c", "set-cookie": ["a", "b"], via: "2 fly.io" });
    expect(first.body).toBe("A");
    expect(second.body).toBe("abc");
    expect(second.trailers).toMatchObject({ "x-sum": "1" });
    await eventually(() => front.reach.claims.size === 0);
  });

  test("fields that come twice are one list, in heads and in trailers", async () => {
    const { origin, client } = await start();
    const answer = read(client.request({ ":path": "/" }));
    const machine = await origin.next();
    await machine.takeHead();
    machine.send(
      "HTTP/1.1 200 OK\r\nAge: 1\r\nAge: 2\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nETag: 1\r\nETag: 2\r\n\r\n",
    );
    const { headers, trailers } = await answer;
    expect(headers["age"]).toBe("1, 2");
    expect(trailers["etag"]).toBe("1, 2");
  });

  test("a cancelled stream releases its claim and ends the connection to the Machine", async () => {
    const { front, origin, client } = await start();
    const stream = client.request({ ":path": "/" });
    stream.on("error", () => undefined);
    const machine = await origin.next();
    await machine.takeHead();
    expect(front.reach.claims.size).toBe(1);
    stream.close(http2.constants.NGHTTP2_CANCEL);
    await machine.rest();
    expect(front.reach.claims.size).toBe(0);
  });

  test("a response that breaks off resets its stream and no other", async () => {
    const { origin, client } = await start();
    const broken = client.request({ ":path": "/broken" });
    const failure = once(broken, "error");
    broken.resume();
    const machine = await origin.next();
    await machine.takeHead();
    machine.end("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc");
    expect(await failure).toMatchObject([{ code: "ERR_HTTP2_STREAM_ERROR" }]);
    const fine = read(client.request({ ":path": "/fine" }));
    const other = await origin.next();
    await other.takeHead();
    other.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    expect((await fine).body).toBe("ok");
  });

  test("a scheme that is neither http nor https is refused", async () => {
    const { front, client } = await start();
    const { headers } = await read(client.request({ ":path": "/", ":scheme": "ftp" }));
    expect(headers[":status"]).toBe(400);
    expect(front.reach.asked).toBe(0);
  });

  test("errors are answered with their code; CONNECT is refused", async () => {
    const { front, client } = await start();
    front.reach.claim = () => {
      throw Object.assign(new Error("boom"), {});
    };
    const answer = await read(client.request({ ":path": "/" }));
    expect(answer.headers[":status"]).toBe(500);
    const connect = client.request({ ":method": "CONNECT", ":authority": "a:80" });
    connect.end();
    expect((await read(connect)).headers[":status"]).toBe(405);
  });

  test("a large body passes both ways", async () => {
    const { origin, client } = await start();
    const size = 3 * 1024 * 1024;
    const stream = client.request({ ":method": "PUT", ":path": "/", "content-length": size });
    const answer = read(stream);
    stream.end("x".repeat(size));
    const machine = await origin.next();
    await machine.takeHead();
    await machine.until((peer) => peer.received.length === size);
    machine.send(`HTTP/1.1 200 OK\r\nContent-Length: ${size}\r\n\r\n${"y".repeat(size)}`);
    expect((await answer).body).toHaveLength(size);
  });

  test("more than a hundred resets within ten seconds end the session", async () => {
    const { front, client } = await start();
    front.reach.gate = new Promise(() => undefined);
    const closed = once(client, "close");
    let opened = 0;
    const next = (): void => {
      if (client.closed || client.destroyed || opened++ > 300) return;
      const stream = client.request({ ":path": "/" });
      stream.on("error", () => undefined);
      stream.close(http2.constants.NGHTTP2_CANCEL);
      setImmediate(next);
    };
    next();
    await closed;
    expect(opened).toBeGreaterThan(100);
    expect(front.reach.claims.size).toBe(0);
  });

  test("bytes that look like the preface for a while are still HTTP/1.1", async () => {
    const { front } = await start();
    const client = await dial(front.port);
    client.send("PR");
    client.send("OPFIND * HTTP/1.1\r\n\r\n");
    expect(await client.rest()).toMatch(/^HTTP\/1\.1 400 /);
    client.end();
  });
});

describe("h2_backend", () => {
  async function startH2Origin(
    onStream: (stream: http2.ServerHttp2Stream, headers: http2.IncomingHttpHeaders) => void,
  ) {
    const server = http2.createServer();
    server.on("stream", onStream);
    server.on("sessionError", () => undefined);
    const sessions: http2.ServerHttp2Session[] = [];
    server.on("session", (session) => sessions.push(session));
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    cleanups.push(() => {
      for (const session of sessions) session.destroy();
      server.close();
    });
    return { port: (server.address() as AddressInfo).port, sessions };
  }

  test("headers, data in both directions and trailers pass, as gRPC needs them", async () => {
    const origin = await startH2Origin((stream, headers) => {
      expect(headers).toMatchObject({
        te: "trailers",
        "grpc-timeout": "1S",
        "fly-client-ip": "fdaa:8000:1:a7b:1:0:a:102",
      });
      stream.respond({ ":status": 200, "content-type": "application/grpc" }, { waitForTrailers: true });
      stream.on("wantTrailers", () => stream.sendTrailers({ "grpc-status": "0" }));
      stream.on("data", (chunk: Buffer) => stream.write(`<${chunk.toString()}>`));
      stream.on("end", () => stream.end());
    });
    const { front, client } = await startClient(origin.port, { http: { h2Backend: true } });
    const stream = client.request({ ":method": "POST", ":path": "/x.Y/Z", te: "trailers", "grpc-timeout": "1S" });
    const answer = read(stream);
    stream.write("one");
    await once(stream, "data"); // a stream in both directions at once
    stream.end("two");
    expect(await answer).toMatchObject({ trailers: { "grpc-status": "0" } });
    expect(front.reach.claims.size).toBe(0);
    const again = client.request({ ":method": "POST", ":path": "/x.Y/Z", te: "trailers", "grpc-timeout": "1S" });
    again.end("three");
    expect((await read(again)).body).toBe("<three>");
    expect(origin.sessions).toHaveLength(1);
  });

  test("trailers of a request reach the Machine, without those that would speak for us", async () => {
    const seen: Promise<unknown[]>[] = [];
    const origin = await startH2Origin((stream) => {
      const trailers = once(stream, "trailers");
      seen.push(trailers);
      stream.resume();
      void trailers.then(() => stream.respond({ ":status": 200 }, { endStream: true }));
    });
    const { front, client } = await startClient(origin.port, { http: { h2Backend: true } });
    const stream = client.request({ ":method": "POST", ":path": "/" }, { waitForTrailers: true });
    stream.on("wantTrailers", () => stream.sendTrailers({ "x-sum": "1", "fly-src": "forged" }));
    const answer = read(stream);
    stream.end("x");
    expect((await answer).headers[":status"]).toBe(200);
    const [fields] = (await seen[0]) ?? [];
    expect(Object.entries(fields as object)).toEqual([["x-sum", "1"]]);

    const old = await dial(front.port);
    old.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nX-Sum: 2\r\n\r\n");
    expect(await old.takeHead()).toMatch(/^HTTP\/1\.1 200 /);
    expect(Object.entries((await seen[1])?.[0] as object)).toEqual([["x-sum", "2"]]);
    old.end();
  });

  test("a Machine that answers 1xx without end is given up", async () => {
    const origin = await startH2Origin((stream) => {
      stream.on("error", () => undefined);
      for (let i = 0; i < 200; i++) stream.additionalHeaders({ ":status": 103 });
      stream.respond({ ":status": 200 }, { endStream: true });
    });
    const { client } = await startClient(origin.port, { http: { h2Backend: true } });
    const stream = client.request({ ":path": "/" });
    let informed = 0;
    stream.on("headers", () => informed++);
    const { headers, body } = await read(stream);
    expect(headers[":status"]).toBe(502);
    expect(body).toMatch(/^PU02: /);
    expect(informed).toBe(100);
  });

  test("an answer of trailers only arrives", async () => {
    const origin = await startH2Origin((stream) => {
      stream.respond({ ":status": 200, "grpc-status": "5" }, { endStream: true });
    });
    const { client } = await startClient(origin.port, { http: { h2Backend: true } });
    const stream = client.request({ ":method": "POST", ":path": "/" });
    stream.end("x");
    expect((await read(stream)).headers).toMatchObject({ ":status": 200, "grpc-status": "5" });
  });

  test("a cancelled stream is cancelled at the Machine, and its claim released", async () => {
    const aborted: Promise<unknown>[] = [];
    const origin = await startH2Origin((stream) => {
      stream.on("error", () => undefined);
      aborted.push(once(stream, "aborted"));
      stream.respond({ ":status": 200 });
      stream.write("x");
    });
    const { front, client } = await startClient(origin.port, { http: { h2Backend: true } });
    const stream = client.request({ ":method": "POST", ":path": "/" });
    stream.on("error", () => undefined);
    await once(stream, "data");
    stream.close(http2.constants.NGHTTP2_CANCEL);
    await eventually(() => front.reach.claims.size === 0);
    await aborted[0];
  });

  test("a client that speaks HTTP/1.1 is served too", async () => {
    const origin = await startH2Origin((stream) => {
      stream.respond({ ":status": 200, "content-type": "text/plain" });
      stream.on("data", (chunk: Buffer) => stream.write(chunk));
      stream.on("end", () => stream.end());
    });
    const front = await startFront(origin.port, { http: { h2Backend: true } });
    cleanups.push(() => front.close());
    const client = await dial(front.port);
    client.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n");
    expect(await client.take("3\r\nabc\r\n0\r\n\r\n")).toContain("\r\ntransfer-encoding: chunked\r\n");
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    await client.take("0\r\n\r\n");
  });

  test("a client that goes away without a reset lets go of a Machine that says nothing", async () => {
    const origin = await startRawOrigin();
    cleanups.push(() => origin.close());
    for (const h2Backend of [true, false]) {
      const { front, client } = await startClient(origin.port, { http: { h2Backend } });
      const stream = client.request({ ":method": "POST", ":path": "/" });
      stream.on("error", () => undefined);
      stream.write("x");
      await origin.next();
      await eventually(() => front.reach.claims.size === 1);
      client.destroy(); // FIN, as the kernel sends it for a process that was killed
      await eventually(() => front.reach.claims.size === 0);
      expect(front.settlements.map((settlement) => settlement.code)).toEqual(["FP10"]);
    }
  });

  test("a Machine that goes away without a reset fails the streams that it owes an answer", async () => {
    const origin = await startRawOrigin();
    cleanups.push(() => origin.close());
    const { front, client } = await startClient(origin.port, { http: { h2Backend: true } });
    const reading = read(client.request({ ":path": "/" }));
    const machine = await origin.next();
    await machine.take("SM\r\n\r\n");
    machine.end();
    const answer = await reading;
    expect(answer.headers[":status"]).toBe(502);
    expect(front.reach.claims.size).toBe(0);
  });

  test("a Machine that does not speak HTTP/2 is a 502", async () => {
    const origin = await startRawOrigin((peer) => peer.end("HTTP/1.1 400 Bad Request\r\n\r\n"));
    cleanups.push(() => origin.close());
    const { client } = await startClient(origin.port, { http: { h2Backend: true } });
    expect((await read(client.request({ ":path": "/" }))).headers[":status"]).toBe(502);
  });
});

test("a client that opens HTTP/2 and leaves in the middle of the preface leaves nothing behind", async () => {
  const { front } = await start();
  const socket = connectTcp(front.port, "127.0.0.1");
  socket.write("PRI * HTTP/2.0\r\n");
  await once(socket, "connect");
  socket.destroy();
  await front.handler.drain();
});
