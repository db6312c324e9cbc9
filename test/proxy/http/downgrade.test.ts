/** HTTP/2 that becomes HTTP/1.1: what a stream may say must not become another message, or more than one. */
import { once } from "node:events";
import { connect } from "node:net";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import {
  DATA,
  END_HEADERS,
  END_STREAM,
  frame,
  frames,
  GOAWAY,
  HEADERS,
  PREFACE,
  RST_STREAM,
  SETTINGS,
} from "./h2-frames.ts";
import { pick, type Random, seeded } from "./odd-streams.ts";
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

const STREAMS = Number(process.env["FLYCAST_STREAMS"] ?? 3000);
const SEED = Number(process.env["FLYCAST_SEED"] ?? Date.now() % 1_000_000);
const CI = process.env["CI"] === "true";
const present = hasProgram("haproxy") && hasProgram("nginx");

type Field = readonly [string, string];

const INJECTED = "a\r\nX-Injected: 1";
const SECOND = "a\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";
const PATHS = [
  "",
  "*",
  "a",
  "/a b",
  "/a\tb",
  "/a#b",
  "/\0",
  "/\xe9",
  "http://a/x",
  "//x",
  "/a?b",
  `/${INJECTED}`,
  `/ HTTP/1.1\r\nHost: ${SECOND}`,
];
const METHODS = [
  "GET",
  "POST",
  "PUT",
  "DELETE",
  "HEAD",
  "GE T",
  "get",
  "",
  "CONNECT",
  "GET / HTTP/1.1\r\nX: y",
  "G\0T",
  "OPTIONS",
];
const AUTHORITIES = ["a:80", "a@b", "a/b", "a b", "", "A", "[::1]", "a:b", INJECTED, "a\0"];
const ODD: readonly Field[] = [
  ["content-length", "5"],
  ["content-length", "4"],
  ["content-length", "6"],
  ["content-length", "0"],
  ["content-length", "05"],
  ["content-length", "+5"],
  ["content-length", "5, 5"],
  ["content-length", ""],
  ["Content-Length", "5"],
  ["content_length", "5"],
  ["content-length ", "5"],
  ["transfer-encoding", "chunked"],
  ["Transfer-Encoding", "chunked"],
  ["transfer_encoding", "chunked"],
  ["transfer-encoding\0", "chunked"],
  ["x\r\ntransfer-encoding", "chunked"],
  ["connection", "close"],
  ["connection", "content-length"],
  ["upgrade", "websocket"],
  ["keep-alive", "5"],
  ["proxy-connection", "x"],
  ["te", "trailers"],
  ["te", "gzip"],
  ["host", "a"],
  ["host", "b"],
  ["host", "a/b"],
  ["expect", "x"],
  ["cookie", "a=1"],
  ["cookie", INJECTED],
  ["x", INJECTED],
  ["x", SECOND],
  ["x", "a\nb"],
  ["x", "a\rb"],
  ["x", "\0"],
  ["x", " a "],
  ["x", "\xe9"],
  ["", "a"],
  ["x y", "a"],
  ["x:", "a"],
  ["X-Upper", "a"],
  [`x: y\r\nX-Injected`, "1"],
  [":path", "/second"],
  [":unknown", "a"],
  [":status", "200"],
];

function oddFields(random: Random): Field[] {
  const mostly = (usual: string, odd: readonly string[]): string => (random() < 0.75 ? usual : pick(random, odd));
  const fields: Field[] = [
    [":method", mostly(random() < 0.5 ? "POST" : "GET", METHODS)],
    [":scheme", mostly("http", ["https", "ftp", "", "http\r\n"])],
    [":path", mostly("/a?b=c", PATHS)],
  ];
  if (random() < 0.9) fields.push([":authority", mostly("a", AUTHORITIES)]);
  for (let count = Math.floor(random() * 3); count > 0; count--) fields.push(pick(random, ODD));
  if (random() < 0.1) fields.splice(Math.floor(random() * fields.length), 1);
  if (random() < 0.1) fields.reverse();
  return fields;
}

/** Literal fields that are not indexed (RFC 7541 §6.2.2), lengths included. */
function block(fields: readonly Field[]): string {
  const text = (value: string): string => {
    if (value.length < 127) return String.fromCharCode(value.length) + value;
    return `\x7f${String.fromCharCode(value.length - 127)}${value}`; // below 255: one more byte is enough
  };
  return fields.map(([name, value]) => `\0${text(name)}${text(value)}`).join("");
}

/**
 * nghttp2, and with it Node, leaves out fields that are malformed and goes on without them, where HAProxy and nginx refuse the
 * stream. Nothing of them reaches a Machine, so they are judged by the stream without such fields.
 */
const isKeptByNghttp2 = ([name, value]: Field): boolean =>
  name.startsWith(":") ||
  (/^[!#$%&'*+\-.^_`|~0-9a-z]+$/.test(name) &&
    !/[\0\r\n]|^[ \t]|[ \t]$/.test(value) &&
    !(name === "host" && /[^\w.:[\]-]/.test(value)) &&
    !(name === "te" && value !== "trailers"));

interface OddStream {
  readonly ours: string;
  readonly haproxys: string;
  /** Undefined: nginx takes no trailers of requests, and no `*`. */
  readonly nginxs: string | undefined;
  /**
   * A length that is not that of the data, or trailers after a body that a length has ended already: what of it is passed on until
   * that shows, depends on when it comes.
   */
  readonly dependsOnTime: boolean;
}

function oddStream(random: Random): OddStream {
  const fields = oddFields(random);
  const how = random();
  const first = how >= 0.4 && how < 0.9 ? pick(random, BODIES) : "";
  const last = how >= 0.4 && random() < 0.5 ? "lo" : "";
  const trailers: readonly Field[] | undefined = random() < 0.3 ? [pick(random, ODD), ["x-sum", "1"]] : undefined;
  const make = (keep: (field: Field) => boolean): string => {
    const head = block(fields.filter(keep));
    if (how < 0.4) return frame(HEADERS, END_STREAM | END_HEADERS, 1, head);
    const data = first === "" ? "" : frame(DATA, 0, 1, first);
    const end =
      trailers === undefined
        ? frame(DATA, END_STREAM, 1, last)
        : frame(HEADERS, END_STREAM | END_HEADERS, 1, block(trailers.filter((t) => keep(t) && t[0] !== "te")));
    return frame(HEADERS, END_HEADERS, 1, head) + data + end;
  };
  const size = first.length + (trailers === undefined ? last.length : 0);
  const hasAuthority = fields.some(([name]) => name === ":authority");
  return {
    ours: make(() => true),
    haproxys: make(isKeptByNghttp2),
    // It refuses a Host beside `:authority`, even the same one.
    nginxs:
      (how >= 0.4 && trailers !== undefined) || fields.some(([name, value]) => name === ":path" && value === "*")
        ? undefined
        : make((field) => isKeptByNghttp2(field) && !(hasAuthority && field[0] === "host")),
    dependsOnTime: fields.some(
      ([name, value]) => name === "content-length" && (Number(value) !== size || trailers !== undefined),
    ),
  };
}

const BODIES = ["hello", "hello", "hel", "0\r\n\r\n", "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"];

/** Sends one stream on a connection of its own; resolves when it was answered or refused. */
async function send(port: number, stream: string): Promise<string> {
  const socket = connect({ port, host: "127.0.0.1", noDelay: true });
  await once(socket, "connect");
  const lane = String(socket.localPort);
  let received = "";
  const over = new Promise<void>((resolve) => {
    socket.on("error", () => undefined);
    socket.once("close", () => resolve());
    socket.setEncoding("latin1").on("data", (text: string) => {
      received += text;
      const done = frames(received).some(
        ({ type, flags }) =>
          type === RST_STREAM || type === GOAWAY || ((type === HEADERS || type === DATA) && (flags & END_STREAM) !== 0),
      );
      if (done) socket.destroy();
    });
  });
  socket.write(PREFACE + frame(SETTINGS, 1, 0) + stream, "latin1");
  await over;
  return lane;
}

describe.skipIf(!present && !CI)("HTTP/2 that goes on as HTTP/1.1, against HAProxy and nginx", () => {
  const ours = new RecordingOrigin("fly-client-ip");
  const haproxys = new RecordingOrigin("x-lane");
  const nginxs = new RecordingOrigin("x-lane");
  let haproxy: Peer;
  let nginx: Peer;
  let front: LanedFront;

  beforeAll(async () => {
    await Promise.all([ours.start(), haproxys.start(), nginxs.start()]);
    [haproxy, nginx] = await Promise.all([startHaproxy(haproxys.port, true), startNginx(nginxs.port, true)]);
    front = await startLanedFront(ours.port);
  });

  afterAll(async () => {
    await Promise.all([haproxy?.close(), nginx?.close(), front?.close()]);
    for (const origin of [ours, haproxys, nginxs]) origin.close();
  });

  const take = (origin: RecordingOrigin, lane: string): Reading => {
    const reading = origin.readings.get(lane) ?? [];
    origin.readings.delete(lane);
    return reading;
  };

  async function judge(stream: OddStream): Promise<{ passed: boolean; finding: string | undefined }> {
    const ask = async (origin: RecordingOrigin, port: number, bytes: string): Promise<Reading> =>
      take(origin, await send(port, bytes));
    const [mine, theirs, others] = await Promise.all([
      ask(ours, front.port, stream.ours),
      ask(haproxys, haproxy.port, stream.haproxys),
      stream.nginxs === undefined ? undefined : ask(nginxs, nginx.port, stream.nginxs),
    ]);
    const [request] = mine;
    if (request === undefined || request === UNKNOWN_METHOD) return { passed: false, finding: undefined };
    let finding: string | undefined;
    if (mine.length > 1) finding = `became ${mine.length} requests`;
    else if (stream.dependsOnTime) finding = undefined;
    else if (theirs[0] !== request) finding = `HAProxy: ${theirs[0] ?? "refused"}; ours: ${request}`;
    else if (others !== undefined && others[0] !== request)
      finding = `nginx: ${others[0] ?? "refused"}; ours: ${request}`;
    return { passed: true, finding };
  }

  test(`${STREAMS} odd streams become one request or none, as both of them read it (seed ${SEED})`, async () => {
    const suspects: OddStream[] = [];
    let passed = 0;
    await inLanes(STREAMS, 64, async (index) => {
      const stream = oddStream(seeded(SEED * 3_000_017 + index));
      const judged = await judge(stream);
      if (judged.passed) passed++;
      if (judged.finding !== undefined) suspects.push(stream);
    });
    const findings = await foundAgain(suspects, async (stream) => {
      const { finding } = await judge(stream);
      return finding === undefined ? undefined : `${JSON.stringify(stream.ours)}\n    ${finding}`;
    });
    console.log(`downgrade: seed ${SEED}, ${STREAMS} streams, ${passed} passed on`);
    expect(findings.join("\n")).toBe("");
    expect(ours.orphans).toEqual([]);
    expect(ours.refused.filter((error) => !error.includes("ECONNRESET") && !error.includes("aborted"))).toEqual([]);
    expect(passed).toBeGreaterThan(STREAMS / 12);
  }, 300_000);
});
