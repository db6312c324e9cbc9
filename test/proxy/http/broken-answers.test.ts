/** Machines that break off, say too much, or say something else than they were asked for. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { dial, type Front, type RawOrigin, startFront, startRawOrigin } from "./harness.ts";

let origin: RawOrigin;
let front: Front;
let pooled: Front;

beforeAll(async () => {
  origin = await startRawOrigin();
  front = await startFront(origin.port, { type: "connections" });
  pooled = await startFront(origin.port, { type: "requests" });
});

afterAll(async () => {
  await Promise.all([front.close(), pooled.close()]);
  await origin.close();
});

const GET = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const OK = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/** Whether a client takes this for a whole message with the Machine's answer. */
function isWhole(text: string): boolean {
  const end = text.lastIndexOf("\r\n\r\nHTTP/1.1 ") === -1 ? 0 : text.lastIndexOf("\r\n\r\nHTTP/1.1 ") + 4;
  const headEnd = text.indexOf("\r\n\r\n", end);
  if (headEnd === -1) return false;
  const head = text.slice(end, headEnd);
  const body = text.slice(headEnd + 4);
  if (head.startsWith("HTTP/1.1 1")) return false;
  const length = /\r\nContent-Length: (\d+)/i.exec(head)?.[1];
  if (length !== undefined) return body.length >= Number(length);
  return body.endsWith("0\r\n\r\n") || body.endsWith("X-Sum: 1\r\n\r\n");
}

describe("an answer that breaks off is never taken for a whole one", () => {
  const ANSWERS: readonly (readonly [string, string])[] = [
    ["with a length", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"],
    ["in chunks", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n5\r\nhello\r\n0\r\n\r\n"],
    [
      "in chunks, with trailers, after a 103",
      "HTTP/1.1 103 Early Hints\r\nLink: <x>\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n0\r\nX-Sum: 1\r\n\r\n",
    ],
  ];
  const cases = ANSWERS.flatMap(([name, bytes]) => [
    [name, "ends", bytes] as const,
    [name, "is reset", bytes] as const,
  ]);
  test.each(cases)("%s, when the connection %s after any of its bytes (RFC 9112 §8)", async (_name, how, bytes) => {
    for (let cut = 0; cut < bytes.length; cut++) {
      const client = await dial(front.port);
      client.send(GET.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n"));
      const machine = await origin.next();
      await machine.takeHead();
      if (how === "ends") machine.end(bytes.slice(0, cut));
      else {
        if (cut > 0) await new Promise<void>((resolve) => machine.socket.write(bytes.slice(0, cut), () => resolve()));
        machine.reset();
      }
      const answer = await client.rest();
      if (/^(?:HTTP\/1\.1 103 [^]*\r\n\r\n)?HTTP\/1\.1 502 /.test(answer)) expect(answer).toMatch(/P[CU]0\d: /);
      else {
        expect(isWhole(answer), `${cut}: ${JSON.stringify(answer)}`).toBe(false);
      }
      client.end();
      machine.end();
    }
    expect(front.reach.claims.size).toBe(0);
  });

  test("one that ends with its connection, when that is reset instead", async () => {
    // Bytes and reset come together: Node then tells of an end.
    for (let i = 0; i < 20; i++) {
      const client = await dial(front.port);
      client.send(GET);
      const machine = await origin.next();
      await machine.takeHead();
      await new Promise<void>((resolve) =>
        machine.socket.write("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhalf of", () => resolve()),
      );
      machine.reset();
      await client.rest();
      client.end();
    }
    const codes = front.settlements.slice(-20).map(({ code }) => code);
    expect(codes).toEqual(codes.map(() => "PU02"));
  });
});

describe("bytes beyond an answer reach nobody", () => {
  const TOO_MUCH: readonly (readonly [string, string, string, RegExp])[] = [
    ["more than the length", GET, OK, /ok$/],
    [
      "after the last chunk",
      GET,
      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
      /0\r\n\r\n$/,
    ],
    ["a body for HEAD", GET.replace("GET", "HEAD"), "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n", /\r\n\r\n$/],
    ["a body with 204", GET, "HTTP/1.1 204 No Content\r\n\r\n", /\r\n\r\n$/],
    ["a body with 304", GET, "HTTP/1.1 304 Not Modified\r\nContent-Length: 2\r\n\r\n", /\r\n\r\n$/],
  ];
  test.each(TOO_MUCH)("%s (RFC 9112 §6.3)", async (_name, request, answer, end) => {
    for (const together of [true, false]) {
      const client = await dial(pooled.port);
      client.send(request);
      const machine = await origin.next();
      await machine.takeHead();
      const split = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged";
      machine.send(together ? answer + split : answer);
      await client.until((peer) => end.test(peer.received));
      if (!together) {
        machine.send(split);
        await machine.until((peer) => peer.ended || peer.closed);
      }
      expect(client.received).not.toContain("forged");
      client.received = "";
      // The next one is answered by another connection.
      client.send(GET);
      const next = await origin.next();
      await next.takeHead();
      next.send(OK);
      await client.take("\r\n\r\nok");
      expect(client.received).toBe("");
      client.end();
      next.end();
      machine.end();
    }
  });
});

test("a flood of 1xx ends, and the client learns that there is no answer (RFC 9110 §15.2)", async () => {
  const client = await dial(front.port);
  client.send(GET);
  const machine = await origin.next();
  await machine.takeHead();
  machine.send("HTTP/1.1 102 Processing\r\n\r\n".repeat(1000));
  const answer = await client.rest();
  expect(answer.match(/HTTP\/1\.1 102/g)).toHaveLength(100);
  expect(answer).toMatch(/HTTP\/1\.1 502 [^]*PU02: /);
  client.end();
  machine.end();
});

describe("an Upgrade that the Machine does not take (RFC 9110 §7.8)", () => {
  const ASK = "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";

  test.each([
    ["200", OK, /^HTTP\/1\.1 200 [^]*\r\n\r\nok$/],
    [
      "426 with what it would take",
      "HTTP/1.1 426 Upgrade Required\r\nUpgrade: other\r\nConnection: Upgrade\r\nContent-Length: 2\r\n\r\nno",
      /^HTTP\/1\.1 426 [^]*\r\nUpgrade: other\r\nConnection: upgrade\r\n[^]*no$/,
    ],
  ])("%s is an answer like any other, and the connection goes on", async (_name, answer, expected) => {
    const client = await dial(pooled.port);
    client.send(ASK);
    const machine = await origin.next();
    expect(await machine.takeHead()).toContain("\r\nUpgrade: websocket\r\n");
    machine.send(answer);
    await client.until((peer) => expected.test(peer.received));
    client.received = "";
    client.send(GET);
    const next = await origin.next();
    await next.takeHead();
    next.send(OK);
    await client.take("\r\n\r\nok");
    for (const peer of [client, machine, next]) peer.end();
  });

  test("one that it takes and then resets does not end as if all had been said", async () => {
    const client = await dial(front.port);
    client.send(ASK);
    const machine = await origin.next();
    await machine.takeHead();
    const answer = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n";
    machine.send(answer);
    await client.takeHead();
    await new Promise<void>((resolve) => machine.socket.write("half of", () => resolve()));
    machine.reset();
    await client.rest();
    expect(front.settlements.at(-1)?.code).toBe("PU02");
    client.end();
  });

  test("what follows the request is the next request, not bytes of the new protocol", async () => {
    const client = await dial(pooled.port);
    client.send(ASK + GET.replace("/ ", "/next "));
    const machine = await origin.next();
    await machine.takeHead();
    machine.send(OK);
    const next = await origin.next();
    expect(await next.takeHead()).toMatch(/^GET \/next /);
    expect(machine.received).toBe("");
    next.send(OK);
    await client.take("ok");
    await client.take("ok");
    for (const peer of [client, machine, next]) peer.end();
  });
});
