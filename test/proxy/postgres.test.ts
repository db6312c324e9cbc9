import fc from "fast-check";
import { once } from "node:events";
import type { Socket } from "node:net";
import { connect as connectTls } from "node:tls";
import { describe, expect, test } from "vitest";
import { AppError } from "../../src/core/errors.ts";
import type { MachineId } from "../../src/core/ids.ts";
import type { DialAddress } from "../../src/network/plane.ts";
import { KeyWatcher } from "../../src/proxy/postgres/key-watcher.ts";
import {
  fatalError,
  parseFirstMessage,
  sqlStateOf,
  startupMessage,
  type FirstMessage,
} from "../../src/proxy/postgres/messages.ts";
import { parseProxyHeader } from "../../src/proxy/handlers/proxy-protocol-parse.ts";
import { SessionState } from "../../src/proxy/postgres/session-state.ts";
import { temporaryAuthority } from "../../src/proxy/tls/authority.ts";
import { ending, open, read, readAll, upstream, world } from "./fixture.ts";
import { machine, service } from "./values.ts";

const M1 = "00000000000001" as MachineId;
const M2 = "00000000000002" as MachineId;
const SSL_REQUEST = Buffer.from("0000000804d2162f", "hex");
const GSS_REQUEST = Buffer.from("0000000804d21630", "hex");
const STARTUP = startupMessage("ann", "shop");
const AUTH_OK = Buffer.from("R\0\0\0\x08\0\0\0\0", "latin1");
const READY = Buffer.from("Z\0\0\0\x05I", "latin1");
const POSTGRES = service({ internalPort: 5432 });

function keyData(key: Buffer): Buffer {
  const head = Buffer.from("K\0\0\0\0", "latin1");
  head.writeUInt32BE(4 + key.length, 1);
  return Buffer.concat([head, key]);
}

function cancelRequest(key: Buffer): Buffer {
  const head = Buffer.from("0000000004d2162e", "hex");
  head.writeUInt32BE(8 + key.length, 0);
  return Buffer.concat([head, key]);
}

interface FakeServer {
  readonly address: DialAddress;
  /** First messages in the order of arrival. */
  readonly heard: string[];
  readonly cancelled: string[];
}

const OTHER: FirstMessage = { kind: "other" };

/** A server that answers beginnings as Postgres does: sessions echo what follows, `notYet` of them are refused with 57P03. */
async function postgres(key: Buffer, notYet = 0, behindProxyHeader = false): Promise<FakeServer> {
  const heard: string[] = [];
  const cancelled: string[] = [];
  let refusals = notYet;
  const address = await upstream((socket: Socket) => {
    let received = Buffer.alloc(0);
    socket.on("data", function listen(chunk: Buffer) {
      received = Buffer.concat([received, chunk]);
      const header = behindProxyHeader ? parseProxyHeader(received) : undefined;
      if (header?.kind === "more") return;
      const bytes = received.subarray(header?.kind === "header" ? header.length : 0);
      const first = header?.kind === "invalid" ? OTHER : parseFirstMessage(bytes)?.value;
      if (first === undefined) return;
      socket.off("data", listen);
      heard.push(first.kind);
      if (first.kind === "cancel") {
        cancelled.push(first.key.toString("hex"));
        return void socket.end();
      }
      if (first.kind !== "startup") return void socket.end();
      if (refusals-- > 0) return void socket.end(fatalError({ sqlState: "57P03", message: "starting up", hint: "" }));
      socket.write(Buffer.concat([AUTH_OK, keyData(key), READY]));
      socket.pipe(socket);
    });
  });
  return { address, heard, cancelled };
}

const KEY1 = Buffer.from("0000000100000011", "hex");
const KEY2 = Buffer.from("0000000200000022", "hex");
const ANSWER = AUTH_OK.length + keyData(KEY1).length + READY.length;

async function sessionOf(client: Socket): Promise<Buffer> {
  client.write(STARTUP);
  return read(client, ANSWER);
}

describe("waking", () => {
  test("a connection without a word wakes nobody; a StartupMessage does", async () => {
    const w = await world();
    const server = await postgres(KEY1);
    w.add(machine(M1, [POSTGRES]), { start: async () => [server.address] });
    const silent = w.dial();
    await once(silent, "connect");
    silent.end();
    await ending(silent);
    expect((await w.whenSettled(1))[0]?.code).toBe("FP10");
    expect(w.pool.starts).toEqual([]);
    expect((await sessionOf(w.dial())).includes(keyData(KEY1))).toBe(true);
    expect(w.pool.starts).toEqual([M1]);
  });

  test("the server is asked until it no longer says 57P03, and the client notices nothing", async () => {
    const w = await world();
    const server = await postgres(KEY1, 5);
    w.add(machine(M1, [POSTGRES]), { start: async () => [server.address] });
    const clients = [w.dial(), w.dial(), w.dial()];
    for (const answer of await Promise.all(clients.map(sessionOf))) expect(answer.subarray(0, 1).toString()).toBe("R");
    // Five refusals and one success of the prober, then the three sessions.
    expect(server.heard).toHaveLength(9);
    expect(w.pool.reachable).toHaveLength(1);
  });

  test("a CancelRequest wakes nobody and is answered by the end of its connection", async () => {
    const w = await world();
    w.add(machine(M1, [POSTGRES]), { start: async () => [] });
    const client = w.dial();
    client.write(cancelRequest(KEY1));
    expect((await readAll(client)).length).toBe(0);
    expect(w.pool.starts).toEqual([]);
  });

  test("protocol = tcp switches it off: the Machine is woken at accept", async () => {
    const w = await world({ app: { protocol: "tcp" } });
    const address = await upstream((socket) => void socket.end("mysql"));
    w.add(machine(M1, [POSTGRES]), { start: async () => [address] });
    expect((await readAll(w.dial())).toString()).toBe("mysql");
  });

  test("a service on another port that carried a session once is Postgres from then on", async () => {
    const w = await world();
    const server = await postgres(KEY1);
    w.add(machine(M1, [service({ internalPort: 6000 })]), { start: async () => [server.address] });
    const first = w.dial();
    await sessionOf(first);
    first.destroy();
    await w.whenSettled(1);
    w.pool.end(M1);
    const second = w.dial();
    second.write(cancelRequest(KEY1));
    await readAll(second);
    expect(w.pool.starts).toEqual([M1]);
  });

  test("bytes that are not Postgres go to the Machine as they are", async () => {
    const w = await world();
    const address = await upstream((socket) => void socket.pipe(socket));
    w.add(machine(M1, [POSTGRES]), { start: async () => [address] });
    const client = w.dial();
    client.end("GET / HTTP/1.1\r\n\r\n");
    expect((await readAll(client)).toString()).toBe("GET / HTTP/1.1\r\n\r\n");
  });
});

describe("cancelling", () => {
  async function twoMachines() {
    const w = await world();
    const [one, two] = [await postgres(KEY1), await postgres(KEY2)];
    const busy = service({ internalPort: 5432, concurrency: { softLimit: 1, hardLimit: 1 } });
    w.add(machine(M1, [busy]), { start: async () => [one.address] });
    w.add(machine(M2, [busy]), { start: async () => [two.address] });
    const sessions = [w.dial(), w.dial()];
    for (const client of sessions) await sessionOf(client);
    return { w, one, two, sessions };
  }

  test("a key goes to the Machine that issued it, although every Machine is at its hard limit", async () => {
    const { w, one, two } = await twoMachines();
    const client = w.dial();
    client.write(cancelRequest(KEY2));
    await readAll(client);
    expect([one.cancelled, two.cancelled]).toEqual([[], [KEY2.toString("hex")]]);
    expect(w.pool.claims(M1) + w.pool.claims(M2)).toBe(2);
  });

  test("with proxy_proto the server's readiness and cancelling come with a header, too", async () => {
    const w = await world();
    const server = await postgres(KEY1, 2, true);
    w.add(machine(M1, [service({ internalPort: 5432, handlers: ["proxy_proto"], proxyProtocol: "v2" })]), {
      start: async () => [server.address],
    });
    await sessionOf(w.dial());
    const client = w.dial();
    client.write(cancelRequest(KEY1));
    await readAll(client);
    expect(server.cancelled).toEqual([KEY1.toString("hex")]);
  });

  test("a key that nobody saw goes to every running Machine, longer ones of protocol 3.2 too", async () => {
    const { w, one, two } = await twoMachines();
    const client = w.dial();
    const key = Buffer.alloc(260, 9);
    client.write(cancelRequest(key));
    await readAll(client);
    expect([one.cancelled, two.cancelled]).toEqual([[key.toString("hex")], [key.toString("hex")]]);
  });

  test("the key of a session that has ended is forgotten", async () => {
    const { w, one, two, sessions } = await twoMachines();
    sessions.forEach((socket) => void socket.destroy());
    await w.whenSettled(2);
    const client = w.dial();
    client.write(cancelRequest(KEY1));
    await readAll(client);
    expect([one.cancelled.length, two.cancelled.length]).toEqual([1, 1]);
  });
});

describe("refusing", () => {
  const failing = { start: async () => Promise.reject(new AppError("PM02", "no such program")) };

  test("when the wake fails the client gets an ErrorResponse, not a reset", async () => {
    const w = await world();
    w.add(machine(M1, [POSTGRES]), failing);
    const client = w.dial();
    client.write(STARTUP);
    const answer = await readAll(client);
    expect(answer.subarray(0, 1).toString()).toBe("E");
    expect(sqlStateOf(answer.subarray(5))).toBe("57P03");
    expect(answer.toString()).toContain("no such program");
    client.destroy();
    expect((await w.whenSettled(1))[0]?.code).toBe("PM02");
  });

  test("a client that asked for encryption first is told in clear text, if it goes on", async () => {
    const w = await world();
    w.add(machine(M1, [POSTGRES]), failing);
    const client = w.dial();
    client.write(SSL_REQUEST);
    expect((await read(client, 1)).toString()).toBe("N");
    client.write(STARTUP);
    expect((await readAll(client)).toString()).toContain("57P03");
  });
});

describe("pg_tls", () => {
  async function tlsWorld(defaultSelfSigned = true) {
    const authority = temporaryAuthority(new Date());
    const w = await world({ more: { authority: () => authority } });
    const server = await postgres(KEY1);
    const choice = { internalPort: 9000, handlers: ["pg_tls"], tls: { defaultSelfSigned } } as const;
    w.add(machine(M1, [service(choice)]), { start: async () => [server.address] });
    return { w, server, ca: authority.cert };
  }

  test("SSLRequest is answered with S, the session inside is plain to the Machine, and verify-full would be satisfied", async () => {
    const { w, server, ca } = await tlsWorld();
    const client = w.dial();
    client.write(SSL_REQUEST);
    expect((await read(client, 1)).toString()).toBe("S");
    expect(w.pool.starts).toEqual([]);
    const secured = open(connectTls({ socket: client, ca, servername: "app.flycast", ALPNProtocols: ["postgresql"] }));
    await once(secured, "secureConnect");
    expect((await sessionOf(secured)).includes(keyData(KEY1))).toBe(true);
    expect(new Set(server.heard)).toEqual(new Set(["startup"]));
  });

  test("GSS is declined, and TLS may follow", async () => {
    const { w } = await tlsWorld();
    const client = w.dial();
    client.write(GSS_REQUEST);
    expect((await read(client, 1)).toString()).toBe("N");
    client.write(SSL_REQUEST);
    expect((await read(client, 1)).toString()).toBe("S");
  });

  test("bytes behind SSLRequest close the connection (CVE-2021-23222)", async () => {
    const { w } = await tlsWorld();
    const client = w.dial();
    client.write(Buffer.concat([SSL_REQUEST, STARTUP]));
    expect(await ending(client)).toBe("ECONNRESET");
    expect(client.bytesRead).toBe(0);
    expect((await w.whenSettled(1))[0]?.code).toBe("PT04");
  });

  test("TLS without asking needs the protocol name postgresql", async () => {
    const { w, ca } = await tlsWorld();
    const dial = (ALPNProtocols: string[]) =>
      open(connectTls({ host: "127.0.0.1", port: w.publishedPort(), ca, servername: "app.flycast", ALPNProtocols }));
    const good = dial(["postgresql"]);
    await once(good, "secureConnect");
    expect((await sessionOf(good)).subarray(0, 1).toString()).toBe("R");
    await ending(dial([]));
    expect((await w.whenSettled(1))[0]?.code).toBe("PT04");
  });

  test("a client without TLS goes on in clear text", async () => {
    const { w } = await tlsWorld();
    expect((await sessionOf(w.dial())).subarray(0, 1).toString()).toBe("R");
  });

  test("without a certificate the answer is N, not silence", async () => {
    const { w } = await tlsWorld(false);
    const client = w.dial();
    client.write(SSL_REQUEST);
    expect((await read(client, 1)).toString()).toBe("N");
    expect((await sessionOf(client)).subarray(0, 1).toString()).toBe("R");
  });
});

describe("what a session does", () => {
  const Z = (status: string): Buffer => Buffer.from(`Z\0\0\0\x05${status}`, "latin1");
  const tag = (text: string): Buffer => Buffer.concat([head("C", text.length + 1), Buffer.from(`${text}\0`)]);
  const query = (text: string): Buffer => Buffer.concat([head("Q", text.length + 1), Buffer.from(`${text}\0`)]);
  const sync = head("S", 0);

  function head(type: string, length: number): Buffer {
    const bytes = Buffer.from(`${type}\0\0\0\0`, "latin1");
    bytes.writeUInt32BE(4 + length, 1);
    return bytes;
  }

  /** "c" said by the client, "s" by the server; the last word is whether it is idle then. */
  const table: [string, readonly ["c" | "s", Buffer][], boolean][] = [
    ["before it has begun", [], false],
    [
      "after its beginning",
      [
        ["c", STARTUP],
        ["s", AUTH_OK],
        ["s", READY],
      ],
      true,
    ],
    [
      "while its beginning is unanswered",
      [
        ["c", STARTUP],
        ["s", AUTH_OK],
      ],
      false,
    ],
    [
      "after a query",
      [
        ["c", STARTUP],
        ["s", READY],
        ["c", query("select 1")],
        ["s", tag("SELECT 1")],
        ["s", Z("I")],
      ],
      true,
    ],
    [
      "during a query",
      [
        ["c", STARTUP],
        ["s", READY],
        ["c", query("select 1")],
        ["s", tag("SELECT 1")],
      ],
      false,
    ],
    [
      "in a transaction",
      [
        ["c", STARTUP],
        ["s", READY],
        ["c", query("begin")],
        ["s", tag("BEGIN")],
        ["s", Z("T")],
      ],
      false,
    ],
    [
      "in a failed one",
      [
        ["c", STARTUP],
        ["s", READY],
        ["c", query("x")],
        ["s", Z("E")],
      ],
      false,
    ],
    [
      "with one of two pipelined requests answered",
      [
        ["c", STARTUP],
        ["s", READY],
        ["c", sync],
        ["c", sync],
        ["s", Z("I")],
      ],
      false,
    ],
    [
      "with half a message sent",
      [
        ["c", STARTUP],
        ["s", READY],
        ["c", query("select 1").subarray(0, 7)],
      ],
      false,
    ],
    [
      "with half a message received",
      [
        ["c", STARTUP],
        ["s", READY],
        ["s", Z("I").subarray(0, 3)],
      ],
      false,
    ],
    [
      "while it listens",
      [
        ["c", STARTUP],
        ["s", READY],
        ["c", query("listen x")],
        ["s", tag("LISTEN")],
        ["s", Z("I")],
      ],
      false,
    ],
    [
      "after it was refused encryption",
      [
        ["c", SSL_REQUEST],
        ["s", Buffer.from("N")],
        ["c", STARTUP],
        ["s", READY],
      ],
      true,
    ],
    [
      "when encrypted",
      [
        ["c", SSL_REQUEST],
        ["s", Buffer.from("S")],
        ["c", STARTUP],
        ["s", READY],
      ],
      false,
    ],
  ];
  test.each(table)("%s", (_name, said, isIdle) => {
    const whole = new SessionState();
    for (const [side, bytes] of said) {
      if (side === "c") whole.fromClient(bytes);
      else whole.fromMachine(bytes);
    }
    expect(whole.isIdle).toBe(isIdle);
    const bitwise = new SessionState();
    for (const [side, bytes] of said) {
      for (const byte of bytes) {
        if (side === "c") bitwise.fromClient(Buffer.from([byte]));
        else bitwise.fromMachine(Buffer.from([byte]));
      }
    }
    expect(bitwise.isIdle).toBe(isIdle);
  });

  test("any bytes leave it busy or idle, and nothing throws", () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.boolean(), fc.uint8Array())), (said) => {
        const state = new SessionState();
        state.fromClient(STARTUP);
        for (const [isClient, bytes] of said) {
          if (isClient) state.fromClient(Buffer.from(bytes));
          else state.fromMachine(Buffer.from(bytes));
        }
        expect(typeof state.isIdle).toBe("boolean");
      }),
    );
  });
});

describe("whatever the bytes", () => {
  test("the first message is recognised or not, and nothing throws", () => {
    const start = fc.constantFrom("", "00000008", "0000000804d2162f", "0000001004d2162e", "0000004000030000", "16");
    fc.assert(
      fc.property(start, fc.uint8Array({ maxLength: 300 }), (prefix, noise) => {
        const bytes = Buffer.concat([Buffer.from(prefix, "hex"), noise]);
        const parsed = parseFirstMessage(bytes);
        if (parsed !== undefined) expect(parsed.length).toBeLessThanOrEqual(bytes.length);
      }),
    );
  });

  test("the key is found however the server's bytes are cut, and noise finds none", () => {
    const said = Buffer.concat([AUTH_OK, Buffer.from("S\0\0\0\x09a\0b\0\0", "latin1"), keyData(KEY1), READY]);
    fc.assert(
      fc.property(fc.array(fc.nat(said.length)), fc.boolean(), (cuts, negotiated) => {
        const keys: Buffer[] = [];
        const watcher = new KeyWatcher((key) => keys.push(key), negotiated);
        const bytes = negotiated ? Buffer.concat([Buffer.from("N"), said]) : said;
        const edges = [0, ...cuts.toSorted((a, b) => a - b), bytes.length];
        for (let i = 1; i < edges.length; i++) watcher.see(bytes.subarray(edges[i - 1], edges[i]));
        expect(keys).toEqual([KEY1]);
      }),
    );
    fc.assert(
      fc.property(fc.array(fc.uint8Array()), (chunks) => {
        const watcher = new KeyWatcher(() => {}, false);
        for (const chunk of chunks) watcher.see(Buffer.from(chunk));
      }),
    );
  });
});
