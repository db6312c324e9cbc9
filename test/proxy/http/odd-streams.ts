/** Byte streams as odd and hostile clients and Machines send them. The same seed gives the same streams. */

export type Random = () => number;

/** Mulberry32: small, and good enough to choose among oddities. */
export function seeded(seed: number): Random {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296;
  };
}

export function pick<T>(random: Random, list: readonly T[]): T {
  return list[Math.floor(random() * list.length)] as T;
}

const METHODS = ["GET", "POST", "PUT", "HEAD", "OPTIONS", "DELETE", "PATCH"];
const TARGETS = ["/", "/a", "/a/b?c=d", "/x.y", "/a;b", "//x", "/a?b=/c", "http://a/abs"];
const VERSIONS = [
  "HTTP/1.1",
  "HTTP/1.1",
  "HTTP/1.1",
  "HTTP/1.1",
  "HTTP/1.1",
  "HTTP/1.0",
  "HTTP/1.2",
  "HTTP/2.0",
  "http/1.1",
];
const PLAIN = [
  "User-Agent: odd",
  "Accept: */*",
  "X-Empty:",
  "Cookie: a=b; c=d",
  "X-Tab:\ta\tb\t",
  "Accept-Encoding: gzip",
  "Keep-Alive: timeout=5",
];
const ODD = [
  "Content-Length: 0",
  "Content-Length: 5",
  "Content-Length: 05",
  "Content-Length: +5",
  "Content-Length: 5 ",
  "Content-Length: 5, 5",
  "Content-Length: 5;",
  "Content-Length: 0x5",
  "Content-Length: -1",
  "Content-Length:",
  "Content-Length: 5\t",
  "Content-Length : 5",
  "Content-Length\t: 5",
  "content-length: 6",
  "Content_Length: 5",
  "Content-Length: 18446744073709551617",
  "Transfer-Encoding: chunked",
  "Transfer-Encoding: Chunked",
  "Transfer-Encoding:chunked",
  "Transfer-Encoding:\tchunked",
  "Transfer-Encoding: chunked ",
  "Transfer-Encoding: \x0bchunked",
  "Transfer-Encoding: chunked\x0b",
  "Transfer-Encoding: chunked, identity",
  "Transfer-Encoding: identity, chunked",
  "Transfer-Encoding: chunked, chunked",
  "Transfer-Encoding: gzip, chunked",
  "Transfer-Encoding: identity",
  "Transfer-Encoding: xchunked",
  "Transfer-Encoding: x",
  "Transfer-Encoding : chunked",
  "Transfer_Encoding: chunked",
  "Transfer-Encoding:",
  'Transfer-Encoding: "chunked"',
  "Transfer-Encoding: chunked;q=1",
  " Transfer-Encoding: chunked",
  "X: y\r\n Transfer-Encoding: chunked",
  "X: y\nTransfer-Encoding: chunked",
  "X: y\rTransfer-Encoding: chunked",
  "Connection: close",
  "Connection: keep-alive",
  "Connection: content-length",
  "Connection: transfer-encoding, close",
  "Connection: close, keep-alive",
  "Upgrade: h2c",
  "Upgrade: websocket",
  "Connection: Upgrade, HTTP2-Settings",
  "Expect: 100-continue",
  "Expect: x",
  "Host: b",
  "Host:",
  "Host: a:80",
  "Host: a@b",
  "Host: a/b",
  "Trailer: X-Sum",
  "\xff: x",
  ": x",
  "X",
  "X: \0",
  "X: \x7f",
];
const SIZES = [
  "5",
  "5",
  "5",
  "05",
  "5;a=b",
  '5;a="b"',
  "5 ",
  " 5",
  "0x5",
  "5;\n",
  "5\x0b",
  "+5",
  "FFFFFFFFFFFFFFFF5",
  "5;a\r",
  "a",
  "",
];
const MUTANTS = [
  "\r",
  "\n",
  "\r\n",
  "\0",
  " ",
  "\t",
  ":",
  ",",
  ";",
  "\x0b",
  "\x0c",
  "\x80",
  "\xff",
  "0",
  "5",
  "chunked",
  "\r\n\r\n",
];
const SMUGGLED = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";

/** One to three requests, most of them nearly right. */
export function oddRequests(random: Random): string {
  let stream = "";
  const count = 1 + Math.floor(random() * 3);
  for (let i = 0; i < count; i++) stream += oddRequest(random);
  return random() < 0.35 ? mutated(stream, random) : stream;
}

function oddRequest(random: Random): string {
  const lines = [`${pick(random, METHODS)} ${pick(random, TARGETS)} ${pick(random, VERSIONS)}`];
  if (random() < 0.95) lines.push("Host: a");
  if (random() < 0.5) lines.push(pick(random, PLAIN));
  const how = random();
  let body = "";
  if (how < 0.25) {
    body = "hello";
    lines.push("Content-Length: 5");
  } else if (how < 0.5) {
    body = oddChunks(random);
    lines.push("Transfer-Encoding: chunked");
  }
  if (random() < 0.6) lines.push(pick(random, ODD));
  if (random() < 0.2) lines.push(pick(random, ODD));
  if (random() < 0.15) body += SMUGGLED;
  if (random() < 0.2) lines.splice(1, lines.length - 1, ...lines.slice(1).reverse());
  const end = random() < 0.97 ? "\r\n" : "\n";
  return `${lines.join(end)}${end}${end}${body}`;
}

export function oddChunks(random: Random): string {
  let body = "";
  while (random() < 0.6)
    body += `${random() < 0.8 ? "5" : pick(random, SIZES)}\r\n${random() < 0.9 ? "hello" : "hell"}${random() < 0.95 ? "\r\n" : "\n"}`;
  if (random() < 0.9)
    body += pick(random, [
      "0\r\n\r\n",
      "0\r\n\r\n",
      "0\r\n\r\n",
      "00\r\n\r\n",
      "0;x\r\n\r\n",
      "0\r\nX-Sum: 1\r\n\r\n",
      "0\r\nContent-Length: 9\r\n\r\n",
      "0\n\n",
      "0\r\n\n",
      "0\r\n X: 1\r\n\r\n",
      "-0\r\n\r\n",
    ]);
  return body;
}

function mutated(stream: string, random: Random): string {
  const at = Math.floor(random() * stream.length);
  const kind = random();
  if (kind < 0.4) return stream.slice(0, at) + pick(random, MUTANTS) + stream.slice(at);
  if (kind < 0.7) return stream.slice(0, at) + stream.slice(at + 1);
  return stream.slice(0, at) + pick(random, MUTANTS) + stream.slice(at + 1);
}

/** An answer of a Machine, most of them nearly right. */
export function oddResponse(random: Random): string {
  const lines = [
    pick(random, [
      "HTTP/1.1 200 OK",
      "HTTP/1.1 200 OK",
      "HTTP/1.1 200 OK",
      "HTTP/1.1 404 Not Found",
      "HTTP/1.0 200 OK",
      "HTTP/1.1 200",
      "HTTP/1.1 204 No Content",
      "HTTP/1.1 304 Not Modified",
      "HTTP/1.1 20 OK",
      "HTTP/1.1  200 OK",
      "HTTP/2.0 200 OK",
      "HTTP/1.1 2000 OK",
      "HTTP/1.1 200 O\x00K",
    ]),
  ];
  const how = random();
  let body = "";
  if (how < 0.4) {
    body = pick(random, ["hello", "hello", "hell", "hello!"]);
    lines.push("Content-Length: 5");
  } else if (how < 0.8) {
    body = oddChunks(random);
    lines.push("Transfer-Encoding: chunked");
  } else body = "hello";
  if (random() < 0.5) lines.push(pick(random, ODD));
  const response = `${lines.join("\r\n")}\r\n\r\n${body}`;
  return random() < 0.3 ? mutated(response, random) : response;
}

/** The stream in one to five pieces, to be sent one after the other. */
export function inPieces(stream: string, random: Random): string[] {
  const pieces: string[] = [];
  let rest = stream;
  for (let i = Math.floor(random() * 5); i > 0 && rest.length > 1; i--) {
    const at = 1 + Math.floor(random() * (rest.length - 1));
    pieces.push(rest.slice(0, at));
    rest = rest.slice(at);
  }
  pieces.push(rest);
  return pieces;
}
