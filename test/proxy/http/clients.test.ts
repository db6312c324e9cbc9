import { execFile } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import { once } from "node:events";
import { createServer, type Server } from "node:http";
import { promisify } from "node:util";
import { gzipSync } from "node:zlib";
import { Agent, EventSource, request } from "undici";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { WebSocket, WebSocketServer } from "ws";
import { eventually, type Front, listen, startFront } from "./harness.ts";
import { hasProgram } from "./peers.ts";

const run = promisify(execFile);
const CI = process.env["CI"] === "true";

/** Answers with what it was sent; `/big` with 5 MB, `/range` with ranges of 100 bytes, `/drip` with events. */
function startEcho(): Server {
  const big = Buffer.alloc(5 * 1024 * 1024, "x");
  return createServer((incoming, response) => {
    const url = incoming.url ?? "";
    if (url === "/big") return void response.end(big);
    if (url === "/moved") return void response.writeHead(307, { location: "/x" }).end();
    if (url === "/gzip") return void response.setHeader("content-encoding", "gzip").end(gzipSync("squeezed"));
    if (url === "/resume") {
      response.writeHead(206, { "content-range": "bytes 90-99/100" });
      return void response.end("0123456789");
    }
    if (url === "/told") {
      // What a browser does with an EventSource that breaks off: it comes back, and says what it saw last.
      const last = Number(incoming.headers["last-event-id"] ?? 0);
      response.writeHead(200, { "content-type": "text/event-stream" });
      return void response.end(`retry: 1\nid: ${last + 1}\ndata: ${last + 1}\n\n`);
    }
    if (url === "/range") {
      const match = /bytes=(\d+)-(\d+)/.exec(incoming.headers.range ?? "");
      response.writeHead(206, { "content-range": `bytes ${match?.[1]}-${match?.[2]}/100` });
      return void response.end("0123456789".repeat(10).slice(Number(match?.[1]), Number(match?.[2]) + 1));
    }
    if (url === "/drip") {
      response.writeHead(200, { "content-type": "text/event-stream" });
      const timer = setInterval(() => response.write("data: 1\n\n"), 20);
      response.on("close", () => clearInterval(timer));
      return;
    }
    const hash = createHash("sha256");
    let size = 0;
    incoming.on("data", (chunk: Buffer) => {
      hash.update(chunk);
      size += chunk.length;
    });
    incoming.on("end", () => {
      response.setHeader("content-type", "application/json");
      response.end(
        JSON.stringify({ method: incoming.method, url, size, hash: hash.digest("hex"), headers: incoming.headers }),
      );
    });
  });
}

let origin: Server;
let sockets: WebSocketServer;
let front: Front;

beforeAll(async () => {
  origin = startEcho();
  sockets = new WebSocketServer({ server: origin, maxPayload: 64 * 1024 * 1024 });
  sockets.on("connection", (socket) => {
    socket.on("message", (data, isBinary) => socket.send(data, { binary: isBinary }));
  });
  front = await startFront(await listen(origin), { type: "requests" });
});

afterAll(async () => {
  await front.close();
  sockets.close();
  origin.closeAllConnections();
  origin.close();
});

describe.skipIf(!hasProgram("curl", "--version") && !CI)("curl", () => {
  const body = randomBytes(300_000);
  const hash = createHash("sha256").update(body).digest("hex");

  async function curl(...args: string[]): Promise<{
    out: string;
    json: { size: number; hash: string; method: string; url: string; headers: Record<string, string> };
  }> {
    const child = run(
      "curl",
      ["-sS", "--max-time", "30", ...args.slice(0, -1), `http://127.0.0.1:${front.port}${args.at(-1)}`],
      {
        maxBuffer: 64 * 1024 * 1024,
      },
    );
    child.child.stdin?.on("error", () => undefined); // not every call reads it
    child.child.stdin?.end(body);
    const { stdout } = await child;
    return { out: stdout, json: stdout.startsWith("{") ? (JSON.parse(stdout) as never) : (undefined as never) };
  }

  for (const version of ["--http1.1", "--http1.0", "--http2-prior-knowledge"]) {
    test(`${version}: GET, HEAD, a large download`, async () => {
      expect((await curl(version, "/x")).json.method).toBe("GET");
      expect((await curl(version, "-I", "/x")).out).toMatch(/^HTTP\/[0-9.]+ 200/);
      expect((await curl(version, "/big")).out).toHaveLength(5 * 1024 * 1024);
    });

    test(`${version}: uploads by PUT and POST`, async () => {
      expect((await curl(version, "-X", "POST", "--data-binary", "@-", "/x")).json).toMatchObject({
        size: body.length,
        hash,
      });
      expect((await curl(version, "-F", "file=@-", "/x")).json.size).toBeGreaterThan(body.length);
      // Without a length, which HTTP/1.0 cannot say.
      if (version !== "--http1.0")
        expect((await curl(version, "-T", "-", "/x")).json).toMatchObject({ method: "PUT", size: body.length, hash });
    });
  }

  test("Expect: 100-continue", async () => {
    const { json } = await curl("-X", "POST", "-H", "Expect: 100-continue", "--data-binary", "@-", "/x");
    expect(json).toMatchObject({ size: body.length, hash });
  });

  test("ranges", async () => {
    expect((await curl("-r", "10-19", "/range")).out).toBe("0123456789");
  });

  test("an upload in chunks by POST, one at a limited rate, and one that is sent again after a redirect", async () => {
    const chunked = ["-H", "Transfer-Encoding: chunked", "-X", "POST", "--data-binary", "@-"];
    expect((await curl(...chunked, "/x")).json).toMatchObject({ size: body.length, hash });
    expect((await curl("--limit-rate", "2M", "-T", "-", "/x")).json).toMatchObject({ size: body.length, hash });
    expect((await curl("-L", "--data-binary", "@-", "/moved")).json).toMatchObject({
      method: "POST",
      hash,
    });
  });

  test("a download that broke off is resumed", async () => {
    expect((await curl("-C", "90", "/resume")).out).toBe("0123456789");
  });

  test("paths and targets go on as they are", async () => {
    expect((await curl("--path-as-is", "/a/../b//c;d?e=%2f")).json).toMatchObject({ url: "/a/../b//c;d?e=%2f" });
    expect((await curl("-X", "OPTIONS", "--request-target", "*", "/")).json).toMatchObject({
      method: "OPTIONS",
      url: "*",
    });
  });

  test("an offer of h2c by Upgrade is not taken, and not passed on", async () => {
    const { json } = await curl("--http2", "/x");
    expect(json.headers).not.toHaveProperty("upgrade");
    expect(json.headers).not.toHaveProperty("http2-settings");
  });

  test("a compressed answer of the Machine's own is left as it is", async () => {
    expect((await curl("--compressed", "/gzip")).out).toBe("squeezed");
  });

  test("several transfers on one connection", async () => {
    const url = `http://127.0.0.1:${front.port}/big`;
    const { stdout } = await run("curl", ["-sS", url, url, url], { maxBuffer: 64 * 1024 * 1024 });
    expect(stdout).toHaveLength(15 * 1024 * 1024);
  });

  test("a transfer that is given up releases the claim", async () => {
    await expect(curl("--max-time", "0.3", "/drip")).rejects.toMatchObject({ code: 28 });
    await eventually(() => front.reach.claims.size === 0);
  });
});

describe("undici", () => {
  test("a hundred requests at once over ten connections, pipelined", async () => {
    const agent = new Agent({ connections: 10, pipelining: 5 });
    const answers = await Promise.all(
      Array.from({ length: 100 }, async (_, i) => {
        const answer = await request(`http://127.0.0.1:${front.port}/${i}`, {
          dispatcher: agent,
          method: "PUT",
          body: `body ${i}`,
        });
        return (await answer.body.json()) as { url: string; size: number };
      }),
    );
    expect(answers.map((answer) => answer.url)).toEqual(answers.map((_, i) => `/${i}`));
    await agent.close();
  });
});

test("an EventSource comes back after each answer, and says what it saw last", async () => {
  const source = new EventSource(`http://127.0.0.1:${front.port}/told`);
  const seen: string[] = [];
  await new Promise<void>((resolve) => {
    source.addEventListener("message", (event) => {
      seen.push(String(event.data));
      if (seen.length === 3) resolve();
    });
  });
  source.close();
  expect(seen).toEqual(["1", "2", "3"]);
});

describe("WebSocket", () => {
  test("messages of 0 bytes to 16 MiB come back as they were, and silence holds the claim", async () => {
    const socket = new WebSocket(`ws://127.0.0.1:${front.port}/ws`, {
      maxPayload: 64 * 1024 * 1024,
      perMessageDeflate: false,
    });
    await once(socket, "open");
    for (const size of [0, 1, 125, 126, 65_535, 65_536, 1_000_000, 16 * 1024 * 1024]) {
      const message = randomBytes(size);
      const answer = once(socket, "message");
      socket.send(message);
      const [echoed] = (await answer) as [Buffer];
      expect(echoed.equals(message), String(size)).toBe(true);
    }
    expect(front.reach.claims.size).toBe(1);
    socket.close();
    await once(socket, "close");
    await eventually(() => front.reach.claims.size === 0);
  });
});
