import { afterEach, describe, expect, test } from "vitest";
import { dial, eventually, type Front, type RawOrigin, startFront, startRawOrigin } from "./harness.ts";

const cleanups: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

async function start(how: Parameters<typeof startFront>[1] = {}): Promise<{ front: Front; origin: RawOrigin }> {
  const origin = await startRawOrigin();
  cleanups.push(() => origin.close());
  const front = await startFront(origin.port, how);
  cleanups.push(() => front.close());
  return { front, origin };
}

const OK = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

describe("keep-alive", () => {
  test("requests of one client share a connection to the Machine, and hold a claim only while they last", async () => {
    const { front, origin } = await start();
    const client = await dial(front.port);
    client.send("GET /1 HTTP/1.1\r\nHost: web.flycast\r\n\r\n");
    const machine = await origin.next();
    expect(await machine.takeHead()).toMatch(/^GET \/1 HTTP\/1\.1\r\nHost: web\.flycast\r\n/);
    expect(front.reach.claims.size).toBe(1);
    machine.send(OK);
    await client.take("\r\n\r\nok");
    expect(front.reach.claims.size).toBe(0);
    client.send("GET /2 HTTP/1.1\r\nHost: web.flycast\r\n\r\n");
    expect(await machine.takeHead()).toMatch(/^GET \/2 /);
    machine.send(OK);
    await client.take("\r\n\r\nok");
    expect(origin.connections).toHaveLength(1);
    expect(front.settlements).toHaveLength(2);
  });

  test("with concurrency by connections every request gets a connection of its own", async () => {
    const { front, origin } = await start({ type: "connections" });
    const client = await dial(front.port);
    for (const path of ["/1", "/2"]) {
      client.send(`GET ${path} HTTP/1.1\r\nHost: web.flycast\r\n\r\n`);
      const machine = await origin.next();
      expect(await machine.takeHead()).toContain("\r\nConnection: close\r\n");
      machine.end(OK);
      await client.take("\r\n\r\nok");
    }
    expect(origin.connections).toHaveLength(2);
  });

  test("pipelined requests are answered in order, one after the other", async () => {
    const { front, origin } = await start();
    const client = await dial(front.port);
    client.send(
      "GET /1 HTTP/1.1\r\nHost: a\r\n\r\nPOST /2 HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabcGET /3 HTTP/1.1\r\nHost: a\r\n\r\n",
    );
    const machine = await origin.next();
    for (const path of ["/1", "/2", "/3"]) {
      const head = await machine.takeHead();
      expect(head).toContain(` ${path} HTTP/1.1\r\n`);
      if (path === "/2") await machine.take("abc");
      expect(machine.received).toBe("");
      machine.send(`HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n${path}`);
    }
    await client.take("\r\n\r\n/1");
    await client.take("\r\n\r\n/2");
    await client.take("\r\n\r\n/3");
  });
});

describe("bodies", () => {
  test("a chunked request and a chunked response pass in their chunks, with trailers", async () => {
    const { front, origin } = await start();
    const client = await dial(front.port);
    client.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n");
    const machine = await origin.next();
    expect(await machine.takeHead()).toContain("\r\nTransfer-Encoding: chunked\r\n");
    await machine.take("5\r\nhello\r\n");
    client.send("6;x=1\r\n world\r\n0\r\nX-Sum: 1\r\nFly-Src: forged\r\n\r\n");
    await machine.take("6\r\n world\r\n0\r\nX-Sum: 1\r\n\r\n");
    machine.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n");
    machine.send("\r\n");
    await client.take("\r\n\r\n3\r\nabc\r\n0\r\n\r\n");
    await eventually(() => front.reach.claims.size === 0);
  });

  test("a response that ends with the connection ends the client's connection too", async () => {
    const { front, origin } = await start();
    const client = await dial(front.port);
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    const machine = await origin.next();
    await machine.takeHead();
    machine.send("HTTP/1.1 200 OK\r\n\r\nabc");
    machine.end("def");
    expect(await client.rest()).toMatch(/\r\nConnection: close\r\n\r\nabcdef$/);
  });

  test("a body of 8 MB passes both ways with a client that reads slowly", async () => {
    const { front, origin } = await start();
    const client = await dial(front.port);
    const size = 8 * 1024 * 1024;
    const body = "x".repeat(size);
    client.send(`PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: ${size}\r\n\r\n${body}`);
    const machine = await origin.next();
    await machine.takeHead();
    await machine.until((peer) => peer.received.length === size);
    client.socket.pause();
    machine.send(`HTTP/1.1 200 OK\r\nContent-Length: ${size}\r\n\r\n${body}`);
    await client.until(() => machine.socket.writableLength > 0);
    client.socket.resume();
    await client.until((peer) => peer.received.length > size && peer.received.endsWith(body.slice(-10)));
  });
});

describe("failures", () => {
  test("a refused connection is a 502 or 503 that names the code and keeps the client's connection", async () => {
    const { front, origin } = await start();
    const port = origin.port;
    await cleanups.shift()?.();
    expect(port).toBe(origin.port);
    const client = await dial(front.port);
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    const head = await client.takeHead();
    expect(head).toMatch(/^HTTP\/1\.1 503 /);
    expect(head).not.toContain("Connection: close");
    await client.take("PR03: no Machine of the app could be reached\n");
    expect(front.reach.claims.size).toBe(0);
    expect(front.settlements[0]?.code).toBe("PR03");
  });

  test("a Machine that closes without an answer is a 502, and the request is not sent again", async () => {
    const { front, origin } = await start();
    const client = await dial(front.port);
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    const machine = await origin.next();
    await machine.takeHead();
    machine.end();
    expect(await client.takeHead()).toMatch(/^HTTP\/1\.1 502 /);
    expect(origin.connections).toHaveLength(1);
  });

  test("an idempotent request on a pooled connection that the Machine closed is sent again on a fresh one", async () => {
    const { front, origin } = await start();
    const client = await dial(front.port);
    client.send("GET /1 HTTP/1.1\r\nHost: a\r\n\r\n");
    const first = await origin.next();
    await first.takeHead();
    first.send(OK);
    await client.take("\r\n\r\nok");
    client.send("GET /2 HTTP/1.1\r\nHost: a\r\n\r\n");
    await first.takeHead();
    first.reset();
    const second = await origin.next();
    expect(await second.takeHead()).toMatch(/^GET \/2 /);
    second.send(OK);
    await client.take("\r\n\r\nok");
  });

  test("a POST on a pooled connection that died is not sent again", async () => {
    const { front, origin } = await start();
    const client = await dial(front.port);
    client.send("GET /1 HTTP/1.1\r\nHost: a\r\n\r\n");
    const machine = await origin.next();
    await machine.takeHead();
    machine.send(OK);
    await client.take("\r\n\r\nok");
    client.send("POST /2 HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx");
    await machine.takeHead();
    machine.reset();
    expect(await client.takeHead()).toMatch(/^HTTP\/1\.1 502 /);
    expect(origin.connections).toHaveLength(1);
  });

  test("a response that breaks off resets the client's connection", async () => {
    const { front, origin } = await start();
    const client = await dial(front.port);
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    const machine = await origin.next();
    await machine.takeHead();
    machine.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc");
    await client.take("abc");
    machine.end();
    await eventually(() => client.closed);
    expect(client.error).toMatchObject({ code: "ECONNRESET" });
    expect(front.settlements[0]?.code).toBe("PU02");
  });

  test("a client that leaves releases the claim and closes the connection to the Machine", async () => {
    const { front, origin } = await start();
    const client = await dial(front.port);
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    const machine = await origin.next();
    await machine.takeHead();
    client.reset();
    await machine.rest();
    expect(front.reach.claims.size).toBe(0);
    expect(front.settlements[0]?.code).toBe("FP16");
  });

  test("a client that half-closes after its request still gets the answer", async () => {
    const { front, origin } = await start();
    const client = await dial(front.port);
    client.end("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    const machine = await origin.next();
    await machine.takeHead();
    machine.send(OK);
    expect(await client.rest()).toMatch(/\r\n\r\nok$/);
  });
});

describe("upgrades", () => {
  test("after 101 bytes pass both ways, half-close is kept and the claim lasts until both ends are done", async () => {
    const { front, origin } = await start();
    const client = await dial(front.port);
    client.send("GET /ws HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\r\nearly");
    const machine = await origin.next();
    const head = await machine.takeHead();
    expect(head).toContain("\r\nUpgrade: websocket\r\n");
    expect(head).toContain("\r\nConnection: Upgrade\r\n");
    expect(machine.received).toBe("");
    machine.send("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\nhello");
    expect(await client.take("hello")).toMatch(/Connection: Upgrade\r\nUpgrade: websocket\r\n\r\nhello$/);
    await machine.take("early");
    client.end("bye");
    await machine.take("bye");
    await machine.rest();
    expect(front.reach.claims.size).toBe(1);
    machine.end("last words");
    expect(await client.rest()).toBe("last words");
    await eventually(() => front.reach.claims.size === 0);
  });

  test("h2c is never offered to the Machine", async () => {
    const { front, origin } = await start();
    const client = await dial(front.port);
    client.send(
      "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n",
    );
    const machine = await origin.next();
    expect(await machine.takeHead()).not.toMatch(/upgrade|h2c|http2/i);
    machine.send(OK);
    await client.take("\r\n\r\nok");
  });
});
