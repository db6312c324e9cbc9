import { connect, createServer } from "node:net";
import { once } from "node:events";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { listen, startFront } from "./harness.ts";
import { inPieces, oddRequests, oddResponse, seeded } from "./odd-streams.ts";
import { hasProgram, type Peer, startHaproxy, startNginx } from "./peers.ts";
import {
  foundAgain,
  inLanes,
  type LanedFront,
  type Reading,
  RecordingOrigin,
  startLanedFront,
  UNKNOWN_METHOD,
} from "./recording-origin.ts";

// `FLYCAST_SEED=N FLYCAST_STREAMS=N npx vitest run test/proxy/http/differential.test.ts` repeats a run, or makes it longer.
const STREAMS = Number(process.env["FLYCAST_STREAMS"] ?? 20_000);
const RESPONSES = Math.ceil(STREAMS / 4);
const SEED = Number(process.env["FLYCAST_SEED"] ?? Date.now() % 1_000_000);
// All origins, all clients and our proxy are this one process: more at once only means that each waits longer.
const LANES = 24;
const CI = process.env["CI"] === "true";
const present = hasProgram("haproxy") && hasProgram("nginx");

/**
 * Sends the pieces, waits until the proxy closes, and returns the client's own port. The client ends its side, so that nobody has
 * to wait for more; a `patient` one does not, and waits for the proxy's timeouts.
 */
async function send(port: number, pieces: readonly string[], patient: boolean): Promise<string> {
  const socket = connect({ port, host: "127.0.0.1", noDelay: true });
  await once(socket, "connect");
  const lane = String(socket.localPort);
  socket.on("error", () => undefined);
  socket.resume();
  const closed = new Promise<void>((resolve) => socket.once("close", () => resolve()));
  for (const piece of pieces) {
    socket.write(piece, "latin1");
    await new Promise<void>((resolve) => setImmediate(resolve));
  }
  if (!patient) socket.end();
  await closed;
  return lane;
}

/** nginx takes a tab before a value for a part of it, and so refuses it in Host. RFC 9110 §5.5 and HAProxy do not. */
const NGINX_ALONE = /Host:[ ]*\t|Host:[^\r\n]*\t[ \t]*\r/i;

/** HAProxy knows WebSocket and wants its key; that is the app's to refuse. */
const HAPROXY_ALONE = /Upgrade: websocket[\s\S]*Connection: Upgrade|Connection: Upgrade[\s\S]*Upgrade: websocket/;

describe.skipIf(!present && !CI)("against HAProxy and nginx", () => {
  const ours = new RecordingOrigin("fly-client-ip");
  const haproxys = new RecordingOrigin("x-lane");
  const nginxs = new RecordingOrigin("x-lane");
  let haproxy: Peer;
  let nginx: Peer;
  let front: LanedFront;

  beforeAll(async () => {
    await Promise.all([ours.start(), haproxys.start(), nginxs.start()]);
    [haproxy, nginx] = await Promise.all([startHaproxy(haproxys.port), startNginx(nginxs.port)]);
    front = await startLanedFront(ours.port);
  });

  afterAll(async () => {
    await Promise.all([haproxy?.close(), nginx?.close(), front?.close()]);
    for (const origin of [ours, haproxys, nginxs]) origin.close();
  });

  async function readings(
    pieces: readonly string[],
    patient: boolean,
  ): Promise<{ ours: Reading; haproxy: Reading; nginx: Reading }> {
    const [a, b, c] = await Promise.all([
      send(front.port, pieces, patient),
      send(haproxy.port, pieces, patient),
      send(nginx.port, pieces, patient),
    ]);
    const take = (origin: RecordingOrigin, lane: string): Reading => {
      const reading = origin.readings.get(lane) ?? [];
      origin.readings.delete(lane);
      return reading;
    };
    return { ours: take(ours, a), haproxy: take(haproxys, b), nginx: take(nginxs, c) };
  }

  /** Undefined when they agree on every request that we passed on. */
  function disagreement(read: Awaited<ReturnType<typeof readings>>): string | undefined {
    for (const [index, request] of read.ours.entries()) {
      if (request === UNKNOWN_METHOD) return undefined; // some proxies close after the origin did, some go on
      if (read.haproxy[index] !== request) return `HAProxy: ${read.haproxy[index] ?? "refused"}; ours: ${request}`;
      if (read.nginx[index] !== request) return `nginx: ${read.nginx[index] ?? "refused"}; ours: ${request}`;
    }
    return undefined;
  }

  test(`${STREAMS} odd streams of requests: what we pass on, both read as we do (seed ${SEED})`, async () => {
    const suspects: { readonly stream: string; readonly pieces: readonly string[] }[] = [];
    let passed = 0;
    await inLanes(STREAMS, LANES, async (index) => {
      const random = seeded(SEED * 1_000_003 + index);
      const stream = oddRequests(random);
      const pieces = inPieces(stream, random);
      if (NGINX_ALONE.test(stream) || HAPROXY_ALONE.test(stream)) return;
      const read = await readings(pieces, false);
      passed += read.ours.length;
      if (disagreement(read) !== undefined) suspects.push({ stream, pieces });
    });
    // A second look without a half-close.
    const again = suspects.splice(0);
    await inLanes(again.length, LANES, async (index) => {
      const suspect = again[index];
      if (suspect !== undefined && disagreement(await readings(suspect.pieces, true)) !== undefined)
        suspects.push(suspect);
    });
    const findings = await foundAgain(suspects, async ({ stream, pieces }) => {
      const finding = disagreement(await readings(pieces, true));
      return finding === undefined ? undefined : `${JSON.stringify(stream)}\n    ${finding}`;
    });
    console.log(`differential: seed ${SEED}, ${STREAMS} streams, ${passed} requests passed on`);
    expect(findings.join("\n")).toBe("");
    expect(ours.orphans).toEqual([]);
    expect(ours.refused.filter((error) => !error.includes("ECONNRESET") && !error.includes("aborted"))).toEqual([]);
    expect(passed).toBeGreaterThan(STREAMS / 8);
  }, 600_000);

  test(`${RESPONSES} odd answers: what we pass on as complete, both read as we do (seed ${SEED})`, async () => {
    const origin = createServer({ noDelay: true }, (socket) => {
      socket.on("error", () => undefined);
      socket.once("data", (chunk: Buffer) => {
        const index = Number(/^GET \/(\d+) /.exec(chunk.toString("latin1"))?.[1]);
        void (async () => {
          const random = seeded(SEED * 2_000_003 + index);
          for (const piece of inPieces(oddResponse(random), random)) {
            socket.write(piece, "latin1");
            await new Promise<void>((resolve) => setImmediate(resolve));
          }
          socket.end();
        })();
      });
    });
    const port = await listen(origin);
    const [theirHaproxy, theirNginx] = await Promise.all([startHaproxy(port), startNginx(port)]);
    const our = await startFront(port, { type: "connections" });
    const suspects: number[] = [];
    let passed = 0;
    const look = async (index: number): Promise<string | undefined> => {
      const [ours, haproxys, nginxs] = await Promise.all(
        [our.port, theirHaproxy.port, theirNginx.port].map((to) => ask(to, index)),
      );
      if (ours === undefined) return undefined;
      passed++;
      if (haproxys !== ours) return `${index}: HAProxy ${haproxys}; ours ${ours}; ${shown(index)}`;
      return nginxs === ours ? undefined : `${index}: nginx ${nginxs}; ours ${ours}; ${shown(index)}`;
    };
    await inLanes(RESPONSES, LANES, async (index) => {
      if ((await look(index)) !== undefined) suspects.push(index);
    });
    const findings = await foundAgain(suspects, look);
    await Promise.all([theirHaproxy.close(), theirNginx.close(), our.close()]);
    origin.close();
    console.log(`differential: seed ${SEED}, ${RESPONSES} answers, ${passed} passed on as complete`);
    expect(findings.join("\n")).toBe("");
    expect(passed).toBeGreaterThan(RESPONSES / 10);
  }, 600_000);
});

function shown(index: number): string {
  return JSON.stringify(oddResponse(seeded(SEED * 2_000_003 + index)));
}

/** The answer as `status body` when it is one of the Machine's and complete; undefined for an error or a part. */
async function ask(port: number, index: number): Promise<string | undefined> {
  const socket = connect({ port, host: "127.0.0.1" });
  let text = "";
  let broken = false;
  socket.setEncoding("latin1");
  socket.on("data", (chunk: string) => (text += chunk));
  socket.on("error", () => (broken = true));
  socket.write(`GET /${index} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n`);
  await new Promise<void>((resolve) => socket.once("close", () => resolve()));
  const end = text.indexOf("\r\n\r\n");
  if (broken || end === -1) return undefined;
  const head = text.slice(0, end);
  const status = /^HTTP\/1\.[01] (\d+)/.exec(head)?.[1];
  if (status === "502") return undefined;
  const body = text.slice(end + 4);
  const length = /^content-length: *(\d+)/im.exec(head)?.[1];
  if (status === "204" || status === "304") return `${status} ${body}`;
  if (/^transfer-encoding: *chunked/im.test(head)) {
    const decoded = decodeChunks(body);
    return decoded === undefined ? undefined : `${status} ${decoded}`;
  }
  if (length !== undefined && Number(length) !== body.length) return undefined;
  return `${status} ${body}`;
}

function decodeChunks(text: string): string | undefined {
  let rest = text;
  let data = "";
  for (;;) {
    const match = /^([0-9a-f]+)[^\r]*\r\n/i.exec(rest);
    if (match === null) return undefined;
    const size = Number.parseInt(match[1] ?? "", 16);
    rest = rest.slice(match[0].length);
    if (size === 0) return rest.endsWith("\r\n") ? data : undefined;
    if (rest.length < size + 2) return undefined;
    data += rest.slice(0, size);
    rest = rest.slice(size + 2);
  }
}
