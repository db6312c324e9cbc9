/** The head and chunk parsers against Node's own: whatever ours accepts, `node:http` reads as the same message. */
import { once } from "node:events";
import { createServer, type IncomingMessage, type Server } from "node:http";
import { connect } from "node:net";
import fc from "fast-check";
import { afterAll, beforeAll, expect, test } from "vitest";
import { ChunkedReader } from "../../../src/proxy/http/chunked.ts";
import { AMBIGUOUS, CHUNKED, requestFraming, UNKNOWN_CODING } from "../../../src/proxy/http/framing.ts";
import { HeadParser, INCOMPLETE } from "../../../src/proxy/http/head.ts";
import { listen } from "./harness.ts";

interface Read {
  readonly method: string;
  readonly target: string;
  readonly fields: readonly string[];
  readonly body: string;
  readonly trailers: readonly string[];
}

/** Undefined: refused, or incomplete. */
function readOurs(text: string): Read | undefined {
  const bytes = Buffer.from(text, "latin1");
  const parser = new HeadParser();
  const end = parser.parseRequest(bytes, 0, bytes.length);
  if (end <= INCOMPLETE) return undefined;
  const framing = requestFraming(parser);
  if (framing === AMBIGUOUS || framing === UNKNOWN_CODING) return undefined;
  const { method, target } = parser;
  const fields = fieldsOf(parser);
  if (framing !== CHUNKED) {
    if (end + framing > bytes.length) return undefined;
    return { method, target, fields, body: bytes.toString("latin1", end, end + framing), trailers: [] };
  }
  const reader = new ChunkedReader(true, parser);
  // In two pieces, so that every state is left and entered again somewhere.
  const middle = end + ((bytes.length - end) >> 1);
  let body = "";
  const after = reader.read(bytes.subarray(0, middle), end);
  if (reader.problem !== undefined) return undefined;
  body += reader.output.toString("latin1");
  if (!reader.done) {
    if (after !== middle) return undefined;
    reader.read(bytes.subarray(middle), 0);
    if (reader.problem !== undefined || !reader.done) return undefined;
    body += reader.output.toString("latin1");
  }
  const trailers = reader.trailers
    .split("\r\n")
    .filter((line) => line !== "")
    .flatMap((line) => [line.slice(0, line.indexOf(":")), line.slice(line.indexOf(":") + 2)]);
  return { method, target, fields, body, trailers };
}

function fieldsOf(parser: HeadParser): string[] {
  const fields: string[] = [];
  for (let i = 0; i < parser.count; i++) {
    fields.push(parser.text.slice(parser.nameStart[i], parser.nameEnd[i]), parser.value(i));
  }
  return fields;
}

let server: Server;
let port = 0;
const heard: Read[] = [];

beforeAll(async () => {
  const take = (request: IncomingMessage, respond: () => void): void => {
    let body = "";
    request.setEncoding("latin1");
    request.on("data", (part: string) => (body += part));
    request.on("error", () => undefined);
    request.on("end", () => {
      heard.push({
        method: request.method ?? "",
        target: request.url ?? "",
        fields: request.rawHeaders,
        body,
        trailers: request.rawTrailers,
      });
      respond();
    });
  };
  server = createServer({ insecureHTTPParser: false, requireHostHeader: false }, (request, response) =>
    take(request, () => response.end()),
  );
  server.on("checkContinue", (request, response) => take(request, () => response.end()));
  server.on("checkExpectation", (request, response) => take(request, () => response.end()));
  server.on("clientError", (_error, socket) => socket.destroy());
  server.on("upgrade", (_request, socket) => socket.destroy());
  server.on("connect", (_request, socket) => socket.destroy());
  port = await listen(server);
});

afterAll(() => {
  server.closeAllConnections();
  server.close();
});

/** The first request that Node read from these bytes; undefined when it refused them, or wanted more. */
async function readByNode(text: string): Promise<Read | undefined> {
  heard.length = 0;
  const socket = connect({ port, host: "127.0.0.1" });
  socket.on("error", () => undefined);
  socket.resume();
  socket.end(text, "latin1");
  await once(socket, "close");
  return heard[0];
}

const oddChar = fc.constantFrom("\0", "\t", " ", "\r", "\n", "\x0b", "\x7f", "\x80", "\xff", ":", ",", ";", '"', "_");
const method = fc.oneof(
  { weight: 8, arbitrary: fc.constantFrom("GET", "POST", "PUT", "DELETE", "OPTIONS", "PATCH") },
  { weight: 1, arbitrary: fc.constantFrom("get", "G T", "", "GET\0", "FOO", " GET") },
);
const target = fc.oneof(
  { weight: 6, arbitrary: fc.constantFrom("/", "/a?b=c", "*", "http://a/b", "/%00") },
  { weight: 1, arbitrary: fc.constantFrom("", "/a b", "/\t", "/\x7f", "/\x80", "//", "/#x") },
);
const version = fc.oneof(
  { weight: 9, arbitrary: fc.constantFrom("HTTP/1.1", "HTTP/1.0") },
  { weight: 1, arbitrary: fc.constantFrom("HTTP/1.2", "HTTP/2.0", "http/1.1", "HTTP/1.1 ", "HTTP/01.1", "") },
);
const end = fc.oneof(
  { weight: 40, arbitrary: fc.constant("\r\n") },
  { weight: 1, arbitrary: fc.constantFrom("\n", "\r", "\r\r\n") },
);
const plainField = fc
  .tuple(
    fc.constantFrom("Host", "Accept", "X-A", "x_b", "Cookie", "Trailer"),
    fc.constantFrom(":", ": ", ":\t", ":   "),
    fc.constantFrom("a", "", "a, b", "x y", "\x80\xff", "a "),
  )
  .map((parts) => parts.join(""));
const framingField = fc.constantFrom(
  "Content-Length: 5",
  "Content-Length: 05",
  "Content-Length: +5",
  "Content-Length: 5, 5",
  "Content-Length: -1",
  "Content-Length: 0x5",
  "Content-Length : 5",
  "Content_Length: 5",
  "Content-Length: 99999999999999999999",
  "Transfer-Encoding: chunked",
  "transfer-encoding:chunked",
  "Transfer-Encoding: Chunked",
  "Transfer-Encoding:\tchunked",
  "Transfer-Encoding: chunked, chunked",
  "Transfer-Encoding: gzip, chunked",
  "Transfer-Encoding: identity",
  "Transfer-Encoding: xchunked",
  "Transfer-Encoding : chunked",
  "Transfer_Encoding: chunked",
);
const oddField = fc.oneof(
  fc.constantFrom(
    " folded",
    "\tfolded",
    "nocolon",
    ": noname",
    "A B: c",
    "A\0: c",
    "A: b\0c",
    "A: b\rc",
    "Connection: close",
  ),
  fc.tuple(fc.constantFrom("X", "Host"), oddChar, fc.constantFrom(":", ": "), oddChar).map((parts) => parts.join("")),
);
const field = fc.oneof(
  { weight: 6, arbitrary: plainField },
  { weight: 3, arbitrary: framingField },
  { weight: 1, arbitrary: oddField },
);
const chunk = fc.oneof(
  {
    weight: 8,
    arbitrary: fc.constantFrom(
      "5\r\nhello\r\n",
      "a\r\n0123456789\r\n",
      "1\r\n\n\r\n",
      "05\r\nhello\r\n",
      "5;x=y\r\nhello\r\n",
    ),
  },
  {
    weight: 1,
    arbitrary: fc.constantFrom(
      "5 \r\nhello\r\n",
      " 5\r\nhello\r\n",
      "0x5\r\nhello\r\n",
      "-5\r\nhello\r\n",
      "5\nhello\r\n",
      "5\r\nhello\n",
      "4\r\nhello\r\n",
      "6\r\nhello\r\n",
      "5\r\nhelloX\r\n",
      "\r\n",
      "g\r\n",
      "ffffffffffffffff5\r\nhello\r\n",
      "5;\n\r\nhello\r\n",
      "5;a\rb\r\nhello\r\n",
      "5\t\r\nhello\r\n",
      "5\r\rhello\r\n",
    ),
  },
);
const lastChunk = fc.oneof(
  { weight: 6, arbitrary: fc.constantFrom("0\r\n\r\n", "00\r\n\r\n", "0\r\nX-T: 1\r\n\r\n", "0;x\r\n\r\n") },
  {
    weight: 1,
    arbitrary: fc.constantFrom(
      "0\r\n",
      "",
      "0\r\n\n",
      "0\r\nX\r\n\r\n",
      "0\r\n X: 1\r\n\r\n",
      "0\r\nX-T: 1\n\r\n",
      "0\n\n",
    ),
  },
);
const body = fc.oneof(
  fc.constantFrom("", "hello", "hello!"),
  fc.tuple(fc.array(chunk, { maxLength: 3 }), lastChunk).map(([chunks, last]) => chunks.join("") + last),
);
const anyRequest = fc
  .tuple(method, target, version, end, fc.array(fc.tuple(field, end), { maxLength: 5 }), end, body)
  .map(
    ([m, t, v, lineEnd, fields, headEnd, content]) =>
      `${m} ${t} ${v}${lineEnd}${fields.map((pair) => pair.join("")).join("")}${headEnd}${content}`,
  );

/** Nothing odd but, perhaps, the chunks. */
const chunkedRequest = fc
  .tuple(fc.constantFrom("POST", "PUT"), fc.array(chunk, { maxLength: 4 }), lastChunk)
  .map(
    ([m, chunks, last]) => `${m} / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n${chunks.join("")}${last}`,
  );
const request = fc.oneof({ weight: 2, arbitrary: anyRequest }, { weight: 1, arbitrary: chunkedRequest });

const seed = Number(process.env["FUZZ_SEED"] ?? Math.floor(Math.random() * 2 ** 31));
/** Each takes about a millisecond, nearly all of it Node's and the connection's. */
const RUNS = Number(process.env["FUZZ_RUNS"] ?? 2500);

test(`what our parsers accept, node:http reads as the same message (seed ${seed})`, { timeout: 120_000 }, async () => {
  let accepted = 0;
  let withBody = 0;
  await fc.assert(
    fc.asyncProperty(request, async (text) => {
      const ours = readOurs(text);
      if (ours === undefined) return; // stricter than Node is what we mean to be
      if (ours.method === "CONNECT" || !KNOWN_METHODS.has(ours.method)) return; // Node's parser knows a list only
      const nodes = await readByNode(text);
      accepted++;
      if (ours.body !== "") withBody++;
      // Node may refuse what we pass on; it may never read another message in it.
      if (nodes !== undefined) expect(nodes).toEqual(ours);
    }),
    { seed, numRuns: RUNS },
  );
  console.info(`oracle: seed ${seed}, ${RUNS} streams, ${accepted} accepted, ${withBody} of them with a body`);
  expect(accepted).toBeGreaterThan(RUNS / 50);
  expect(withBody).toBeGreaterThan(0);
});

const KNOWN_METHODS: ReadonlySet<string> = new Set(["GET", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"]);
