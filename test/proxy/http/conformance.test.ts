import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { dial, type Front, type RawOrigin, startFront, startRawOrigin } from "./harness.ts";

let origin: RawOrigin;
let front: Front;

beforeAll(async () => {
  origin = await startRawOrigin();
  front = await startFront(origin.port, { type: "connections" });
});

afterAll(async () => {
  await front.close();
  await origin.close();
});

/** name, RFC section, bytes, status. Each is answered by the proxy itself, closes, and never reaches a Machine. */
const REFUSED: readonly (readonly [string, string, string, number])[] = [
  ["bare LF line ends", "9112 §2.2", "GET / HTTP/1.1\nHost: a\n\n", 400],
  ["bare LF after a field", "9112 §2.2", "GET / HTTP/1.1\r\nHost: a\nX: 1\r\n\r\n", 400],
  ["bare CR in a field value", "9112 §2.2", "GET / HTTP/1.1\r\nHost: a\r\nX: 1\r2\r\n\r\n", 400],
  ["a space before the request line", "9112 §2.2", " GET / HTTP/1.1\r\nHost: a\r\n\r\n", 400],
  ["two spaces in the request line", "9112 §3", "GET  / HTTP/1.1\r\nHost: a\r\n\r\n", 400],
  ["a tab in the request line", "9112 §3", "GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n", 400],
  ["a space within the target", "9112 §3.2", "GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", 400],
  ["no version (HTTP/0.9)", "9112 §3", "GET /\r\n\r\n", 400],
  ["HTTP/2.0 in a request line", "9112 §2.3", "GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505],
  ["HTTP/1.2", "9112 §2.3", "GET / HTTP/1.2\r\nHost: a\r\n\r\n", 505],
  ["HTTP/1.10", "9112 §2.3", "GET / HTTP/1.10\r\nHost: a\r\n\r\n", 400],
  ["lower-case http", "9112 §2.3", "GET / http/1.1\r\nHost: a\r\n\r\n", 400],
  ["a method that is no token", "9110 §9.1", "GE(T / HTTP/1.1\r\nHost: a\r\n\r\n", 400],
  ["NUL in the target", "9112 §3.2", "GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n", 400],
  ["a byte above 0x7f in the target", "9112 §3.2", "GET /\xe9 HTTP/1.1\r\nHost: a\r\n\r\n", 400],
  ["a fragment in the target", "9112 §3.2", "GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n", 400],
  ["a target that is no path", "9112 §3.2", "GET a HTTP/1.1\r\nHost: a\r\n\r\n", 400],
  ["* without OPTIONS", "9112 §3.2.4", "GET * HTTP/1.1\r\nHost: a\r\n\r\n", 400],
  ["CONNECT", "9110 §9.3.6", "CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n", 405],
  ["user info in an absolute target", "9110 §4.2.4", "GET http://u@a/ HTTP/1.1\r\nHost: a\r\n\r\n", 400],
  ["another scheme in an absolute target", "9112 §3.2.2", "GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n", 400],
  ["no Host", "9112 §3.2", "GET / HTTP/1.1\r\n\r\n", 400],
  ["a Host that is not that of the target", "9112 §3.2.2", "GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n", 400],
  ["an empty Host", "9112 §3.2", "GET / HTTP/1.1\r\nHost:\r\n\r\n", 400],
  ["a Host with a port that is none", "9112 §3.2", "GET / HTTP/1.1\r\nHost: a:b\r\n\r\n", 400],
  ["a body with GET in HTTP/1.0", "9112 §11.2", "GET / HTTP/1.0\r\nContent-Length: 3\r\n\r\nabc", 400],
  ["a tab before a length", "9110 §5.6.3", post("Content-Length:\t3"), 400],
  ["two Hosts", "9112 §3.2", "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400],
  ["a Host with a slash", "9112 §3.2", "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400],
  ["a Host with user info", "9112 §3.2", "GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", 400],
  ["a Host list", "9112 §3.2", "GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400],
  ["a space before the colon", "9112 §5.1", "GET / HTTP/1.1\r\nHost : a\r\n\r\n", 400],
  ["a field without a colon", "9112 §5", "GET / HTTP/1.1\r\nHost: a\r\nX\r\n\r\n", 400],
  ["an empty field name", "9112 §5", "GET / HTTP/1.1\r\nHost: a\r\n: 1\r\n\r\n", 400],
  ["a folded line", "9112 §5.2", "GET / HTTP/1.1\r\nHost: a\r\nX: 1\r\n 2\r\n\r\n", 400],
  ["a space before the first field", "9112 §2.2", "GET / HTTP/1.1\r\n Host: a\r\n\r\n", 400],
  ["NUL in a field value", "9110 §5.5", "GET / HTTP/1.1\r\nHost: a\r\nX: \0\r\n\r\n", 400],
  ["DEL in a field value", "9110 §5.5", "GET / HTTP/1.1\r\nHost: a\r\nX: \x7f\r\n\r\n", 400],
  ["a field name above 0x7f", "9110 §5.1", "GET / HTTP/1.1\r\nHost: a\r\nX\xe9: 1\r\n\r\n", 400],
  ["length and chunks", "9112 §6.1", post("Content-Length: 3\r\nTransfer-Encoding: chunked"), 400],
  ["chunks and length", "9112 §6.1", post("Transfer-Encoding: chunked\r\nContent-Length: 3"), 400],
  ["two lengths", "9112 §6.3", post("Content-Length: 3\r\nContent-Length: 4"), 400],
  ["the same length twice", "9112 §6.3", post("Content-Length: 3\r\nContent-Length: 3"), 400],
  ["a list of lengths", "9110 §8.6", post("Content-Length: 3, 3"), 400],
  ["a length with a sign", "9110 §8.6", post("Content-Length: +3"), 400],
  ["a negative length", "9110 §8.6", post("Content-Length: -3"), 400],
  ["a hexadecimal length", "9110 §8.6", post("Content-Length: 0x3"), 400],
  ["an empty length", "9110 §8.6", post("Content-Length:"), 400],
  ["a length beyond 2 to the 53", "9110 §8.6", post("Content-Length: 99999999999999999999"), 400],
  ["a length spelt with an underscore", "9110 §8.6", post("Content_Length: 3"), 400],
  ["a coding spelt with an underscore", "9112 §6.1", post("Transfer_Encoding: chunked"), 400],
  ["two codings in two fields", "9112 §6.1", post("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked"), 400],
  ["chunked twice", "9112 §6.1", post("Transfer-Encoding: chunked, chunked"), 501],
  ["chunked not last", "9112 §6.1", post("Transfer-Encoding: chunked, gzip"), 400],
  ["gzip before chunked", "9112 §6.1", post("Transfer-Encoding: gzip, chunked"), 501],
  ["identity", "9112 §6.1", post("Transfer-Encoding: identity"), 400],
  ["a vertical tab before chunked", "9112 §6.1", post("Transfer-Encoding: \x0bchunked"), 400],
  ["quotes around chunked", "9112 §6.1", post('Transfer-Encoding: "chunked"'), 400],
  ["an empty coding", "9112 §6.1", post("Transfer-Encoding:"), 400],
  ["chunks in HTTP/1.0", "9112 §6.1", "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400],
  ["Connection that names the length", "9110 §7.6.1", post("Connection: content-length\r\nContent-Length: 3"), 400],
  ["Connection that names Host", "9110 §7.6.1", "GET / HTTP/1.1\r\nHost: a\r\nConnection: host\r\n\r\n", 400],
  ["an unknown expectation", "9110 §10.1.1", post("Expect: 200-ok\r\nContent-Length: 3"), 417],
  ["129 fields", "6585 §5", `GET / HTTP/1.1\r\nHost: a\r\n${"X: 1\r\n".repeat(128)}\r\n`, 431],
  ["a head of 64 KiB and more", "6585 §5", `GET / HTTP/1.1\r\nHost: a\r\nX: ${"x".repeat(66_000)}`, 431],
  ["a TLS handshake", "9112 §3", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400],
  ["a forced region that is none", "platform", "GET / HTTP/1.1\r\nHost: a\r\nfly-force-region: ../x\r\n\r\n", 400],
];

function post(fields: string): string {
  return `POST / HTTP/1.1\r\nHost: a\r\n${fields}\r\n\r\nabc`;
}

describe("refused before a Machine is asked", () => {
  for (const [name, section, bytes, status] of REFUSED) {
    test(`${name} (RFC ${section})`, async () => {
      const before = front.reach.claimed;
      const client = await dial(front.port);
      client.send(bytes);
      const answer = await client.rest();
      expect(answer).toMatch(new RegExp(`^HTTP/1\\.1 ${status} `));
      expect(answer).toContain("\r\nConnection: close\r\n");
      expect(answer).toMatch(/\r\nDate: [^\r]* GMT\r\n/);
      expect(front.reach.claimed).toBe(before);
      client.end();
    });
  }

  test("and none of it is answered differently when it comes byte by byte", async () => {
    for (const [, , bytes, status] of REFUSED.filter(([, , text]) => text.length < 200)) {
      const before = front.reach.claimed;
      const client = await dial(front.port);
      for (const byte of bytes) {
        client.send(byte);
        await new Promise<void>((resolve) => setImmediate(resolve));
      }
      expect(await client.rest(), bytes).toMatch(new RegExp(`^HTTP/1\\.1 ${status} `));
      expect(front.reach.claimed).toBe(before);
      client.end();
    }
  });
});

/** name, RFC section, bytes after the head of a chunked request. The Machine never sees the end of the body. */
const BAD_CHUNKS: readonly (readonly [string, string])[] = [
  ["a size that is no number", "x\r\n"],
  ["a size with a prefix", "0x3\r\nabc\r\n"],
  ["a negative size", "-3\r\nabc\r\n"],
  ["a space after the size", "3 \r\nabc\r\n"],
  ["a space before the size", " 3\r\nabc\r\n"],
  ["an empty size", "\r\n"],
  ["a size of 17 digits", "00000000000000003\r\nabc\r\n"],
  ["LF after the size", "3\nabc\r\n"],
  ["CR without LF after the size", "3\rabc"],
  ["LF within an extension", "3;a\nabc\r\n"],
  ["a longer chunk", "3\r\nabcd\r\n"],
  ["a shorter chunk", "4\r\nabc\r\n0\r\n"],
  ["LF after the data", "3\r\nabc\n0\r\n\r\n"],
  ["a folded trailer", "0\r\nX: 1\r\n 2\r\n\r\n"],
  ["a trailer with a space before the colon", "0\r\nX : 1\r\n\r\n"],
  ["bare LF at the end", "0\r\n\n"],
  ["a length among the trailers", "0\r\nContent-Length: 9\r\n\r\n"],
];

describe("chunks that are not what they say (RFC 9112 §7.1)", () => {
  for (const [name, bytes] of BAD_CHUNKS) {
    test(`${name} ends the connection to the Machine`, async () => {
      const client = await dial(front.port);
      client.send("POST /bad HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n");
      const machine = await origin.next();
      await machine.take("1\r\na\r\n");
      client.send(bytes);
      expect(await client.rest()).toMatch(/^HTTP\/1\.1 400 /);
      const seen = await machine.rest();
      expect(seen).not.toContain("0\r\n\r\n");
      client.end();
      machine.end();
    });
  }
});

describe("chunks that are passed on", () => {
  test("extensions are left out, and what they may cost is bounded (RFC 9112 §7.1.1)", async () => {
    const client = await dial(front.port);
    client.send('POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2;a=b;c="d"\r\nok\r\n');
    const machine = await origin.next();
    await machine.takeHead();
    await machine.take("2\r\nok\r\n");
    for (let i = 0; i < 5; i++) client.send(`1;${"x".repeat(4000)}\r\na\r\n`);
    expect(await client.rest()).toMatch(/^HTTP\/1\.1 400 /);
    expect(await machine.rest()).not.toContain("x");
    client.end();
    machine.end();
  });

  test("trailers that would speak for us, or of the message itself, are left out (RFC 9110 §6.5.1)", async () => {
    const client = await dial(front.port);
    const trailers =
      "Fly-Src: x\r\nfly_client_ip: y\r\nX-Forwarded-For: z\r\nCookie: c\r\nX-Sum: 1\r\nContent-Type: t\r\n";
    client.send(`POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n${trailers}\r\n`);
    const machine = await origin.next();
    await machine.takeHead();
    expect(await machine.take("\r\n\r\n")).toBe("0\r\nX-Sum: 1\r\n\r\n");
    machine.end(`HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n${trailers}\r\n`);
    await client.takeHead();
    expect(await client.take("\r\n\r\n")).toBe("0\r\nX-Sum: 1\r\n\r\n");
    client.end();
  });
});

/** name, RFC section, bytes, what the Machine's copy must match, what it must not match. */
const PASSED: readonly (readonly [string, string, string, RegExp, RegExp?])[] = [
  [
    "an empty line before the request line",
    "9112 §2.2",
    "\r\nGET /x HTTP/1.1\r\nHost: a\r\n\r\n",
    /^GET \/x HTTP\/1\.1\r\nHost: a\r\n/,
  ],
  [
    "an absolute target",
    "9112 §3.2.2",
    "GET http://b:81/x?y HTTP/1.1\r\nHost: B:81\r\n\r\n",
    /^GET \/x\?y HTTP\/1\.1\r\nHost: b:81\r\n/,
    /Host: a/,
  ],
  [
    "an absolute target without a path",
    "9112 §3.2.2",
    "GET http://b?q HTTP/1.1\r\nHost: b\r\n\r\n",
    /^GET \/\?q HTTP\/1\.1\r\nHost: b\r\n/,
  ],
  ["OPTIONS *", "9112 §3.2.4", "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", /^OPTIONS \* HTTP\/1\.1\r\n/],
  [
    "HTTP/1.0 without Host",
    "9112 §3.2",
    "GET / HTTP/1.0\r\n\r\n",
    /^GET \/ HTTP\/1\.1\r\nHost: \[fdaa:8000:1:0:1::1\]\r\n/,
  ],
  ["an unknown method", "9110 §9.1", "PURGE /x HTTP/1.1\r\nHost: a\r\n\r\n", /^PURGE \/x /],
  ["an empty field value", "9110 §5.5", "GET / HTTP/1.1\r\nHost: a\r\nX:\r\n\r\n", /\r\nX:\r\n/],
  ["bytes above 0x7f in a value", "9110 §5.5", "GET / HTTP/1.1\r\nHost: a\r\nX: caf\xe9\r\n\r\n", /\r\nX: caf\xe9\r\n/],
  [
    "fields that Connection names are left out",
    "9110 §7.6.1",
    "GET / HTTP/1.1\r\nHost: a\r\nConnection: x-hop\r\nX-Hop: 1\r\nX_Hop: 2\r\nX-Stays: 3\r\n\r\n",
    /\r\nX-Stays: 3\r\n/,
    /hop/i,
  ],
  [
    "hop-by-hop fields are left out",
    "9110 §7.6.1",
    "GET / HTTP/1.1\r\nHost: a\r\nKeep-Alive: 5\r\nProxy-Connection: close\r\nTE: gzip\r\nUpgrade: x\r\n\r\n",
    /^GET/,
    /Keep-Alive|Proxy-Connection|TE:|Upgrade/i,
  ],
  [
    "TE: trailers stays",
    "9110 §10.1.4",
    "GET / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nConnection: TE\r\n\r\n",
    /\r\nTE: trailers\r\n/,
  ],
  [
    "chunked in capitals has one spelling afterwards",
    "9112 §7",
    "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: CHUNKED\r\n\r\n0\r\n\r\n",
    /\r\nTransfer-Encoding: chunked\r\n/,
    /CHUNKED/,
  ],
  [
    "Expect: 100-continue",
    "9110 §10.1.1",
    "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 0\r\n\r\n",
    /\r\nExpect: 100-continue\r\n/,
  ],
  [
    "what the platform adds",
    "platform §4.1",
    "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    /\r\nFly-Client-IP: fdaa:8000:1:a7b:1:0:a:102\r\nX-Forwarded-Proto: http\r\nX-Forwarded-SSL: off\r\nFly-Forwarded-Port: 80\r\nFly-Region: iad\r\nVia: 1\.1 fly\.io\r\nX-Forwarded-For: fdaa:8000:1:a7b:1:0:a:102, fdaa:8000:1:0:1::1\r\nFly-Request-Id: [0-9A-HJKMNP-TV-Z]{26}-iad\r\n/,
  ],
  [
    "X-Forwarded-For of the client comes first",
    "platform §4.1",
    "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 1.1.1.1\r\nX-Forwarded-For: 2.2.2.2\r\n\r\n",
    /\r\nX-Forwarded-For: 1\.1\.1\.1, 2\.2\.2\.2, fdaa:8000:1:a7b:1:0:a:102, fdaa:8000:1:0:1::1\r\n/,
  ],
  [
    "X-Forwarded-Port of the client is kept",
    "platform §4.1",
    "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-Port: 443\r\n\r\n",
    /\r\nX-Forwarded-Port: 443\r\n/,
    /X-Forwarded-Port: 80/,
  ],
  [
    "statements of the proxy cannot be forged",
    "design §4.7",
    "GET / HTTP/1.1\r\nHost: a\r\nFly-Src: instance=x\r\nfly_src_signature: y\r\nFLY-CLIENT-IP: 1.1.1.1\r\nFly-Replay-Src: z\r\nX_Forwarded_For: 6.6.6.6\r\nX-Forwarded-Proto: https\r\nFly-Region: lax\r\n\r\n",
    /^GET/,
    /instance=x|: y|1\.1\.1\.1|: z|6\.6\.6\.6|https|lax/,
  ],
  [
    "wishes reach the app too",
    "platform §4.6",
    "GET / HTTP/1.1\r\nHost: a\r\nfly-prefer-region: ams, fra\r\nfly-prefer-instance-id: 00000000000001\r\n\r\n",
    /\r\nfly-prefer-region: ams, fra\r\n[\s\S]*\r\nFly-Preferred-Instance-Unavailable: 00000000000001\r\n/,
  ],
];

describe("passed on", () => {
  for (const [name, section, bytes, there, absent] of PASSED) {
    test(`${name} (RFC ${section})`, async () => {
      const client = await dial(front.port);
      client.send(bytes);
      const machine = await origin.next();
      const head = await machine.takeHead();
      expect(head).toMatch(there);
      if (absent !== undefined) expect(head).not.toMatch(absent);
      machine.end("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
      await client.take("\r\n\r\nok");
      client.end();
    });
  }
});

/** name, RFC section, the Machine's bytes. The client gets 502 and nothing of it. */
const BAD_RESPONSES: readonly (readonly [string, string, string])[] = [
  ["no HTTP at all", "9112 §4", "SSH-2.0-OpenSSH_9.6\r\n"],
  ["HTTP/2.0", "9112 §4", "HTTP/2.0 200 OK\r\n\r\n"],
  ["a status of two digits", "9112 §4", "HTTP/1.1 20 OK\r\n\r\n"],
  ["bare LF", "9112 §2.2", "HTTP/1.1 200 OK\nContent-Length: 0\n\n"],
  ["a folded field", "9112 §5.2", "HTTP/1.1 200 OK\r\nX: 1\r\n 2\r\nContent-Length: 0\r\n\r\n"],
  ["a space before the colon", "9112 §5.1", "HTTP/1.1 200 OK\r\nContent-Length : 0\r\n\r\n"],
  ["two lengths", "9112 §6.3", "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab"],
  [
    "length and chunks",
    "9112 §6.3",
    "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
  ],
  ["gzip as a transfer coding", "9112 §6.3", "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n"],
  ["101 that nobody asked for", "9110 §15.2.2", "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n"],
  ["a head of more than 64 KiB", "6585 §5", `HTTP/1.1 200 OK\r\nX: ${"x".repeat(70_000)}`],
];

describe("answers that a Machine may not give", () => {
  for (const [name, section, bytes] of BAD_RESPONSES) {
    test(`${name} (RFC ${section})`, async () => {
      const client = await dial(front.port);
      client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
      const machine = await origin.next();
      await machine.takeHead();
      machine.send(bytes);
      const head = await client.takeHead();
      expect(head).toMatch(/^HTTP\/1\.1 502 /);
      expect(head).not.toContain("X: ");
      client.end();
      machine.end();
    });
  }
});

/** name, RFC section, request, the Machine's bytes (then it closes), what the client gets. */
const ANSWERS: readonly (readonly [string, string, string, string, RegExp])[] = [
  [
    "HEAD has no body whatever the length says",
    "9112 §6.3",
    "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n",
    "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n",
    /Content-Length: 9\r\n[\s\S]*\r\n\r\n$/,
  ],
  [
    "204 has neither body nor length",
    "9110 §15.3.5",
    "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n",
    /^HTTP\/1\.1 204 No Content\r\n(?![\s\S]*Content-Length)[\s\S]*\r\n\r\n$/,
  ],
  [
    "304 keeps its length and has no body",
    "9110 §15.4.5",
    "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n",
    /Content-Length: 9\r\n[\s\S]*\r\n\r\n$/,
  ],
  [
    "100, 103 and then 200",
    "9110 §15.2",
    "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx",
    /^HTTP\/1\.1 100 Continue\r\n\r\nHTTP\/1\.1 103 Early Hints\r\nLink: <\/x>\r\n\r\nHTTP\/1\.1 200 OK\r\n[\s\S]*\r\n\r\nx$/,
  ],
  [
    "an HTTP/1.0 client gets neither 1xx nor chunks",
    "9112 §7.1",
    "GET / HTTP/1.0\r\n\r\n",
    "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    /^HTTP\/1\.1 200 OK\r\n(?![\s\S]*Transfer-Encoding)[\s\S]*Connection: close\r\n\r\nabc$/,
  ],
  [
    "an HTTP/1.0 answer ends by close",
    "9112 §6.3",
    "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "HTTP/1.0 200 OK\r\n\r\nabc",
    /^HTTP\/1\.1 200 OK\r\n[\s\S]*Connection: close\r\n\r\nabc$/,
  ],
  [
    "a status line without a reason",
    "9112 §4",
    "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "HTTP/1.1 299\r\nContent-Length: 1\r\n\r\nx",
    /^HTTP\/1\.1 299 \r\n[\s\S]*\r\n\r\nx$/,
  ],
  [
    "fields that the answer's Connection names",
    "9110 §7.6.1",
    "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "HTTP/1.1 200 OK\r\nConnection: close, x-hop\r\nX-Hop: 1\r\nKeep-Alive: 5\r\nContent-Length: 1\r\n\r\nx",
    /^(?![\s\S]*(?:Hop|Keep-Alive))[\s\S]*\r\n\r\nx$/,
  ],
  [
    "several Set-Cookie fields stay several",
    "6265 §3",
    "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "HTTP/1.1 200 OK\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nContent-Length: 1\r\n\r\nx",
    /Set-Cookie: a=1\r\nSet-Cookie: b=2\r\n/,
  ],
  [
    "an answer without a Date gets one",
    "9110 §6.6.1",
    "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx",
    /\r\nDate: \w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT\r\n/,
  ],
  [
    "a Date stays as it is",
    "9110 §6.6.1",
    "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "HTTP/1.1 200 OK\r\nDATE: yesterday\r\nContent-Length: 1\r\n\r\nx",
    /^(?![^]*GMT)[^]*\r\nDATE: yesterday\r\n/,
  ],
  [
    "what the platform adds to an answer",
    "platform §4.1",
    "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "HTTP/1.1 200 OK\r\nServer: mine\r\nFly-Request-Id: forged\r\nContent-Length: 1\r\n\r\nx",
    /^(?![\s\S]*(?:mine|forged))[\s\S]*\r\nServer: Fly\/[\s\S]*\r\nVia: 1\.1 fly\.io\r\nFly-Request-Id: [0-9A-Z]{26}-iad\r\n/,
  ],
];

describe("answers", () => {
  for (const [name, section, request, bytes, expected] of ANSWERS) {
    test(`${name} (RFC ${section})`, async () => {
      const client = await dial(front.port);
      client.send(request);
      const machine = await origin.next();
      await machine.takeHead();
      client.end();
      machine.end(bytes);
      expect(await client.rest()).toMatch(expected);
    });
  }

  test("an answer that comes before the request's body is passed on, and the connection closes", async () => {
    const client = await dial(front.port);
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nabc");
    const machine = await origin.next();
    await machine.take("abc");
    machine.end("HTTP/1.1 413 Content Too Large\r\nContent-Length: 1\r\n\r\nx");
    expect(await client.rest()).toMatch(/^HTTP\/1\.1 413 [\s\S]*Connection: close\r\n\r\nx$/);
    client.end();
  });
});
