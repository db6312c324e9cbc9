import { execFile } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import { once } from "node:events";
import { createServer, type Server } from "node:http";
import { promisify } from "node:util";
import { Agent, request } from "undici";
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

  async function curl(
    ...args: string[]
  ): Promise<{ out: string; json: { size: number; hash: string; method: string; headers: Record<string, string> } }> {
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
