import { createPublicKey, generateKeyPairSync, verify } from "node:crypto";
import { afterEach, describe, expect, test } from "vitest";
import type { AppName, MachineId, OrgSlug, RegionCode } from "../../../src/core/ids.ts";
import { ms } from "../../../src/core/units.ts";
import { createFlySrcSigner } from "../../../src/proxy/http/fly-src.ts";
import { RequestIds } from "../../../src/proxy/http/request-id.ts";
import type { RegistryView } from "../../../src/registry/view.ts";
import { FakeClock } from "../../support/fake-clock.ts";
import { connectionTo, httpRoute, MACHINE } from "../../support/static-reach.ts";
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

const GET = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const OK = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

describe("http_options", () => {
  test("response.headers removes, sets and lists fields of the final response", async () => {
    const { front, origin } = await start({
      http: {
        responseHeaders: [
          { name: "X-Powered-By", value: false },
          { name: "X-Frame-Options", value: ["DENY"] },
          { name: "X-List", value: ["a", "b"] },
          { name: "Via", value: false },
        ],
      },
    });
    const client = await dial(front.port);
    client.send(GET);
    const machine = await origin.next();
    await machine.takeHead();
    machine.send("HTTP/1.1 200 OK\r\nx-powered-by: PHP\r\nX-Frame-Options: ALLOW\r\nContent-Length: 0\r\n\r\n");
    const head = await client.takeHead();
    expect(head).toContain("\r\nX-Frame-Options: DENY\r\nX-List: a\r\nX-List: b\r\n");
    expect(head).not.toMatch(/PHP|ALLOW|Via/);
  });

  test("response.pristine neither adds nor touches Server, Via and Fly-Request-Id", async () => {
    const { front, origin } = await start({ http: { pristine: true } });
    const client = await dial(front.port);
    client.send(GET);
    const machine = await origin.next();
    await machine.takeHead();
    machine.send("HTTP/1.1 200 OK\r\nServer: mine\r\nFly-Request-Id: own\r\nContent-Length: 0\r\n\r\n");
    expect(await client.takeHead()).toBe(
      "HTTP/1.1 200 OK\r\nServer: mine\r\nFly-Request-Id: own\r\nContent-Length: 0\r\n\r\n",
    );
  });

  test("idle_timeout ends an exchange in which nothing moves", async () => {
    const clock = new FakeClock();
    const { front, origin } = await start({ clock, http: { idleTimeout: ms(10_000) } });
    const client = await dial(front.port);
    client.send(GET);
    const machine = await origin.next();
    await machine.takeHead();
    await clock.advance(12_000);
    await client.rest().catch(() => "");
    await eventually(() => front.reach.claims.size === 0);
    expect(front.settlements[0]?.code).toBe("FP13");
  });
});

describe("time", () => {
  test("a head that does not arrive in time is answered with 408", async () => {
    const clock = new FakeClock();
    const { front } = await start({ clock });
    const client = await dial(front.port);
    client.send("GET / HTTP/1.1\r\nHost:");
    await eventually(() => clock.pending > 0);
    await new Promise<void>((resolve) => client.socket.write("", () => resolve()));
    for (let i = 0; i < 33 && !client.ended; i++) await clock.advance(1000);
    expect(await client.rest()).toMatch(/^HTTP\/1\.1 408 [\s\S]*FP09: /);
  });

  test("an idle connection is closed without a word after keepalive_timeout", async () => {
    const clock = new FakeClock();
    const { front, origin } = await start({ clock });
    const client = await dial(front.port);
    client.send(GET);
    const machine = await origin.next();
    await machine.takeHead();
    machine.send(OK);
    await client.take("\r\n\r\nok");
    await clock.advance(77_000);
    expect(await client.rest()).toBe("");
  });

  test("a connection to the Machine is not used again after 4 s, and not for a POST after 1 s", async () => {
    const clock = new FakeClock();
    const { front, origin } = await start({ clock });
    const client = await dial(front.port);
    const exchange = async (request: string): Promise<void> => {
      const before = origin.connections.length;
      client.send(request);
      await eventually(() => origin.connections.some((peer) => peer.received.includes("\r\n\r\n")));
      const machine = origin.connections.find((peer) => peer.received.includes("\r\n\r\n"));
      machine!.received = "";
      machine!.send(OK);
      await client.take("\r\n\r\nok");
      expect(origin.connections.length).toBeGreaterThanOrEqual(before);
    };
    await exchange(GET);
    await clock.advance(3000);
    await exchange(GET);
    expect(origin.connections).toHaveLength(1);
    await clock.advance(1500);
    await exchange("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n");
    expect(origin.connections).toHaveLength(2);
    await clock.advance(6000);
    await eventually(() => origin.connections.every((peer) => peer.ended));
    await exchange(GET);
    expect(origin.connections).toHaveLength(3);
  });

  test("a client that half-closed is waited for until half_closed_timeout without a byte", async () => {
    const clock = new FakeClock();
    const { front, origin } = await start({ clock });
    const client = await dial(front.port);
    client.end(GET);
    const machine = await origin.next();
    await machine.takeHead();
    machine.send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n");
    await client.takeHead();
    await clock.advance(599_000);
    expect(front.reach.claims.size).toBe(1);
    machine.send("data: 1\n\n");
    await client.take("data: 1\n\n");
    await clock.advance(599_000);
    expect(front.reach.claims.size).toBe(1);
    await clock.advance(3000);
    expect(front.reach.claims.size).toBe(0);
  });

  test("a client that owes its body and sends nothing is answered with 408", async () => {
    const clock = new FakeClock();
    const { front, origin } = await start({ clock });
    const client = await dial(front.port);
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nab");
    const machine = await origin.next();
    await machine.take("ab");
    await clock.advance(77_000);
    expect(await client.rest()).toMatch(/^HTTP\/1\.1 408 [\s\S]*FP13: /);
    expect(front.reach.claims.size).toBe(0);
  });
});

describe("waiting for a Machine", () => {
  test("a client that was paused meanwhile owes the rest of its body as soon as it may send again", async () => {
    const clock = new FakeClock();
    const { front, origin } = await start({ clock, limits: { holdBuffer: 1024 as never } });
    let open: () => void = () => undefined;
    front.reach.gate = new Promise((resolve) => (open = resolve));
    const client = await dial(front.port);
    const part = "x".repeat(4096);
    client.send(`POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 8192\r\n\r\n${part}`);
    await eventually(() => front.reach.asked === 1);
    // It is our turn: nobody owes us anything however long the wake takes.
    await clock.advance(200_000);
    open();
    const machine = await origin.next();
    await machine.take(part);
    await clock.advance(77_000);
    expect(await client.rest()).toMatch(/^HTTP\/1\.1 408 [\s\S]*FP13: /);
    expect(front.reach.claims.size).toBe(0);
  });

  test("bytes are held while it wakes, up to the hold buffer, and all of them arrive", async () => {
    const { front, origin } = await start({ limits: { holdBuffer: 1024 as never } });
    let open: () => void = () => undefined;
    front.reach.gate = new Promise((resolve) => (open = resolve));
    const client = await dial(front.port);
    const body = "x".repeat(500_000);
    client.send(`POST / HTTP/1.1\r\nHost: a\r\nContent-Length: ${body.length}\r\n\r\n${body}`);
    await eventually(() => client.socket.bytesWritten > 0);
    expect(front.reach.claimed).toBe(0);
    open();
    const machine = await origin.next();
    await machine.takeHead();
    await machine.until((peer) => peer.received.length === body.length);
    machine.send(OK);
    await client.take("\r\n\r\nok");
  });

  test("a client that leaves while it waits aborts the work", async () => {
    const { front } = await start();
    front.reach.gate = new Promise(() => undefined);
    const client = await dial(front.port);
    client.send(GET);
    await eventually(() => front.reach.asked === 1);
    client.reset();
    await eventually(() => front.settlements.length === 1);
    expect(front.settlements[0]).toMatchObject({ code: "FP16", machine: undefined });
  });
});

describe("drain and close", () => {
  test("drain finishes the request that is being served, says so, and closes idle connections", async () => {
    const { front, origin } = await start();
    const idle = await dial(front.port);
    const busy = await dial(front.port);
    busy.send(GET);
    const machine = await origin.next();
    await machine.takeHead();
    const drained = front.handler.drain();
    expect(await idle.rest()).toBe("");
    idle.end();
    machine.send(OK);
    expect(await busy.rest()).toMatch(/\r\nConnection: close\r\n\r\nok$/);
    busy.end();
    await drained;
  });

  test("close cuts what is left, with FP11", async () => {
    const { front, origin } = await start();
    const client = await dial(front.port);
    client.send(GET);
    const machine = await origin.next();
    await machine.takeHead();
    await front.handler.close();
    expect(front.settlements[0]?.code).toBe("FP11");
    expect(front.reach.claims.size).toBe(0);
  });
});

describe("what is told", () => {
  test("each request is settled once, and written to the access log with its id", async () => {
    const { front, origin } = await start();
    const client = await dial(front.port);
    client.send("GET /path?q HTTP/1.1\r\nHost: web.flycast\r\n\r\n");
    const machine = await origin.next();
    const id = /Fly-Request-Id: (\S+)/.exec(await machine.takeHead())?.[1];
    machine.send(OK);
    await client.take("\r\n\r\nok");
    expect(front.settlements).toMatchObject([{ status: 200, machine: MACHINE, code: undefined, bytesOut: 2 }]);
    expect(front.access).toMatchObject([
      { method: "GET", target: "/path?q", host: "web.flycast", protocol: "HTTP/1.1", requestId: id, status: 200 },
    ]);
  });

  test("a calling Machine is named and signed; what it says of itself is not believed", async () => {
    const { privateKey, publicKey } = generateKeyPairSync("ed25519");
    const clock = new FakeClock();
    const signer = createFlySrcSigner(privateKey, clock);
    const view = {
      machine: () => ({ app: "caller" }),
      app: () => ({ org: "personal" }),
    } as unknown as Partial<RegistryView>;
    const caller = { ...connectionTo(httpRoute(), clock).caller, via: "machine" as const, machine: MACHINE };
    const { front, origin } = await start({ signer, view, connection: { caller } });
    const client = await dial(front.port);
    client.send("GET / HTTP/1.1\r\nHost: a\r\nFly-Src: instance=evil\r\n\r\n");
    const machine = await origin.next();
    const head = await machine.takeHead();
    const value = /\r\nFly-Src: (.*)\r\n/.exec(head)?.[1] ?? "";
    const signature = /\r\nFly-Src-Signature: (.*)\r\n/.exec(head)?.[1] ?? "";
    expect(value).toBe(`instance=${MACHINE};app=caller;org=personal;ts=${Math.floor(clock.wall() / 1000)}`);
    expect(verify(null, Buffer.from(value), publicKey, Buffer.from(signature, "base64"))).toBe(true);
    const jwk = { kty: "OKP", crv: "Ed25519", x: Buffer.from(signer.publicKey, "hex").toString("base64url") };
    expect(createPublicKey({ key: jwk, format: "jwk" }).equals(publicKey)).toBe(true);
    machine.send(OK);
    await client.take("\r\n\r\nok");
  });

  test("a caller's signature is made once a second", async () => {
    const clock = new FakeClock();
    const signer = createFlySrcSigner(generateKeyPairSync("ed25519").privateKey, clock);
    const lines = (): string => signer.lines("1" as MachineId, "a" as AppName, "o" as OrgSlug);
    const first = lines();
    expect(lines()).toBe(first);
    await clock.advance(1000);
    expect(lines()).not.toBe(first);
  });

  test("request ids are ULIDs that sort by time and do not repeat", async () => {
    const clock = new FakeClock();
    const { randomBytes } = await import("node:crypto");
    const ids = new RequestIds(clock, randomBytes, "iad" as RegionCode);
    const some = Array.from({ length: 1000 }, () => ids.next());
    expect(new Set(some).size).toBe(1000);
    expect(some[0]).toMatch(/^01[0-9A-HJKMNP-TV-Z]{24}-iad$/);
    await clock.advance(1);
    expect(ids.next() > (some[0] ?? "")).toBe(true);
  });
});
