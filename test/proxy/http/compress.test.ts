import { brotliDecompressSync, gunzipSync } from "node:zlib";
import { afterEach, describe, expect, test } from "vitest";
import { dial, type Front, type RawOrigin, startFront, startRawOrigin } from "./harness.ts";

const cleanups: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

async function start(compress = true): Promise<{ front: Front; origin: RawOrigin }> {
  const origin = await startRawOrigin();
  cleanups.push(() => origin.close());
  const front = await startFront(origin.port, { http: { compress } });
  cleanups.push(() => front.close());
  return { front, origin };
}

const BODY = "compressible ".repeat(500);
const json = (more = "", body = BODY): string =>
  `HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\n${more}\r\n${body}`;

/** Head and decoded body of the answer to one request. */
async function ask(
  request: string,
  answer: string | readonly string[],
  compress = true,
): Promise<{ head: string; body: Buffer }> {
  const { front, origin } = await start(compress);
  const client = await dial(front.port);
  client.send(request);
  const machine = await origin.next();
  await machine.takeHead();
  for (const piece of typeof answer === "string" ? [answer] : answer) {
    machine.send(piece);
    await new Promise<void>((resolve) => setImmediate(resolve));
  }
  machine.end();
  client.end();
  const text = await client.rest();
  const end = text.indexOf("\r\n\r\n") + 4;
  const head = text.slice(0, end);
  let body = Buffer.from(text.slice(end), "latin1");
  if (/transfer-encoding: chunked/i.test(head)) {
    let rest = body;
    const parts: Buffer[] = [];
    for (;;) {
      const line = rest.indexOf("\r\n");
      const size = Number.parseInt(rest.subarray(0, line).toString(), 16);
      if (!(size > 0)) break;
      parts.push(rest.subarray(line + 2, line + 2 + size));
      rest = rest.subarray(line + 4 + size);
    }
    body = Buffer.concat(parts);
  }
  return { head, body };
}

const get = (accept: string): string => `GET / HTTP/1.1\r\nHost: a\r\nAccept-Encoding: ${accept}\r\n\r\n`;

describe("compress", () => {
  test("brotli before gzip, as the client accepts; length and strong ETag go", async () => {
    const { head, body } = await ask(
      get("gzip, deflate, br"),
      json('ETag: "x"\r\nVary: Origin\r\nAccept-Ranges: bytes\r\n'),
    );
    expect(head).toContain("\r\nContent-Encoding: br\r\nVary: Origin, Accept-Encoding\r\n");
    expect(head).toContain('\r\nETag: W/"x"\r\n');
    expect(head).not.toMatch(/Content-Length|Accept-Ranges/);
    expect(brotliDecompressSync(body).toString()).toBe(BODY);
  });

  test("gzip of a chunked answer that comes in pieces", async () => {
    const pieces = [
      "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nTransfer-Encoding: chunked\r\n\r\n",
      `${BODY.length.toString(16)}\r\n${BODY}\r\n`,
      `${BODY.length.toString(16)}\r\n${BODY}\r\n0\r\n\r\n`,
    ];
    const { head, body } = await ask(get("gzip"), pieces);
    expect(head).toContain("\r\nContent-Encoding: gzip\r\n");
    expect(gunzipSync(body).toString()).toBe(BODY + BODY);
  });

  const UNTOUCHED: readonly (readonly [string, string, string, boolean?])[] = [
    ["the service did not ask", get("gzip"), json(), false],
    ["the app has encoded it", get("gzip"), json("Content-Encoding: gzip\r\n")],
    ["it is small", get("gzip"), json("", "small")],
    ["no-transform", get("gzip"), json("Cache-Control: public, no-transform\r\n")],
    ["an event stream", get("gzip"), "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: x\n\n"],
    ["an image", get("gzip"), json().replace("application/json", "image/png")],
    ["it has no body", get("gzip"), json("", "")],
    ["a part", get("gzip"), json("Content-Range: bytes 0-1/2\r\n").replace("200 OK", "206 Partial Content")],
  ];
  for (const [why, request, answer, compress] of UNTOUCHED) {
    test(`untouched when ${why}`, async () => {
      const { head, body } = await ask(request, answer, compress);
      expect(head).not.toMatch(/Content-Encoding: (?!gzip\r\nDate)|Vary/);
      expect(answer.endsWith(body.toString("latin1"))).toBe(true);
    });
  }

  const HEAD = get("gzip").replace("GET", "HEAD");
  test("HEAD is answered with the head that GET would get", async () => {
    const { head, body } = await ask(HEAD, json('ETag: "x"\r\n').replace(BODY, ""));
    expect(head).toContain('\r\nETag: W/"x"\r\nContent-Encoding: gzip\r\nVary: Accept-Encoding\r\n');
    expect(head).not.toContain("Content-Length");
    expect(body).toHaveLength(0);
    expect((await ask(HEAD, json("", "small").replace("small", ""))).head).toMatch(
      /^(?!.*Vary)[^]*Content-Length: 5\r\n/,
    );
  });

  const TOGETHER = "GET / HTTP/1.1\r\nHost: a\r\nAccept-Encoding: br;q=0\r\nAccept-Encoding: gzip\r\n\r\n";
  const NEGOTIATED: readonly (readonly [string, string, string | undefined])[] = [
    ["nothing is said", "GET / HTTP/1.1\r\nHost: a\r\n\r\n", undefined],
    ["an empty list", get(""), undefined],
    ["only identity", get("identity"), undefined],
    ["q=0 for ours", get("gzip;q=0, br; q=0.000"), undefined],
    ["only what we do not have", get("zstd, compress"), undefined],
    ["* stands for what is not named", get("br;q=0, *"), "gzip"],
    ["* with q=0", get("deflate, *;q=0"), "deflate"],
    ["identity refused", get("identity;q=0, gzip;q=0.1"), "gzip"],
    ["the highest q wins", get("br;q=0.5, gzip;q=0.8, deflate;q=0.7"), "gzip"],
    ["our order where q is the same", get("deflate, gzip, br"), "br"],
    ["identity rated higher", get("identity, gzip;q=0.5"), undefined],
    ["identity rated alike", get("identity, gzip"), "gzip"],
    ["capitals and the old name", get("X-GZIP"), "gzip"],
    ["items that are malformed say nothing", get("br;q=2, gzip;q=x, deflate;q=0.5"), "deflate"],
    ["two fields are one list", TOGETHER, "gzip"],
  ];
  test.each(NEGOTIATED)("Accept-Encoding, %s (RFC 9110 §12.5.3)", async (_name, request, expected) => {
    const { head } = await ask(request, json());
    expect(/\r\nContent-Encoding: (\S+)/.exec(head)?.[1]).toBe(expected);
    // Whoever keeps this answer must know that others get another one.
    expect(head.match(/\r\nVary: Accept-Encoding\r\n/g)).toHaveLength(1);
    expect(head.includes("Content-Length")).toBe(expected === undefined);
  });

  test("Vary that says it already is left as it is", async () => {
    expect((await ask(get("gzip"), json("Vary: accept-encoding, Origin\r\n"))).head).toContain(
      "\r\nVary: accept-encoding, Origin\r\n",
    );
    expect((await ask(get("gzip"), json("Vary: *\r\n"))).head).toContain("\r\nVary: *\r\n");
  });
});
