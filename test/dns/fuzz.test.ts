import { randomBytes } from "node:crypto";
import dnsPacket from "dns-packet";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { systemClock } from "../../src/core/clock.ts";
import { decodeQuery, readQuestion, type Query } from "../../src/dns/codec.ts";
import { readMessage } from "../../src/dns/message-text.ts";
import { createResolver, type Resolve } from "../../src/dns/resolver.ts";
import { fitAnswer, parseAnswer, upstreamQuery } from "../../src/dns/upstream-answer.ts";
import { ednsQuery, query, show } from "./ask.ts";
import { HOME, IAD, Landscape, machineId } from "./landscape.ts";

const landscape = new Landscape().app("web").app("big");
landscape.machine("web", machineId(1), { metadata: { role: "x" } });
for (let i = 0; i < 100; i++) landscape.machine("big", machineId(100 + i));
landscape.flycast("web", HOME, 3);
landscape.peer("laptop");

const resolve: Resolve = createResolver({
  view: landscape.view,
  closeness: () => 1,
  forwarder: {
    excepts: () => false,
    known: () => undefined,
    ask: () => undefined,
    replaceUpstreams: () => {},
    close: () => Promise.resolve(),
  },
  clock: systemClock,
  random: randomBytes,
  onQuery: undefined,
  limits: { total: 10, perNetwork: 10, perSource: 10 },
});
const asker = { network: HOME, region: IAD };

const NAMES = [
  "web.internal",
  "wEb.FLYCAST",
  "vms.big.internal",
  "big.internal",
  "top3.nearest.of.big.internal",
  "x.role.kv._metadata.web.internal",
  "_instances.internal",
  "laptop._peer.internal",
  "nope.internal",
  "example.com",
  "a.a.d.f.ip6.arpa",
];
const seeds = NAMES.flatMap((name) => [
  query(name, "AAAA"),
  query(name, "TXT"),
  ednsQuery(name, "AAAA"),
  ednsQuery(name, "ANY", { size: 600 }),
]);

/** A good message with a few bytes changed, cut out or put in: most of it still parses, which is where mistakes hide. */
const mutated = fc
  .record({
    seed: fc.constantFrom(...seeds),
    edits: fc.array(
      fc.record({
        at: fc.nat(120),
        how: fc.constantFrom("set", "flip", "cut", "insert", "count", "end"),
        byte: fc.oneof(fc.nat(255), fc.constantFrom(0, 1, 0x3f, 0x40, 0x80, 0xc0, 0xff)),
      }),
      { minLength: 1, maxLength: 6 },
    ),
  })
  .map(({ seed, edits }) => {
    let bytes: Buffer = Buffer.from(seed);
    for (const { at, how, byte } of edits) {
      const offset = at % Math.max(1, bytes.length);
      if (how === "set") bytes[offset] = byte;
      else if (how === "flip") bytes[offset] = (bytes[offset] ?? 0) ^ (1 << (byte & 7));
      else if (how === "cut") bytes = Buffer.concat([bytes.subarray(0, offset), bytes.subarray(offset + 1)]);
      else if (how === "insert")
        bytes = Buffer.concat([bytes.subarray(0, offset), Buffer.from([byte]), bytes.subarray(offset)]);
      else if (how === "count") bytes[4 + (offset & 7)] = byte;
      else bytes = bytes.subarray(0, offset);
    }
    return bytes;
  });

const anything = fc.uint8Array({ maxLength: 1500 }).map((bytes) => Buffer.from(bytes));

function check(message: Buffer, transport: "udp" | "tcp"): void {
  const before = Buffer.from(message);
  const answer = resolve(message, asker, "::1", transport);
  expect(message.equals(before), "the question is not written to").toBe(true);
  if (answer === undefined) {
    // Silence is only for what is no query.
    expect(message.length < 12 || (message[2] ?? 0) >= 0x80).toBe(true);
    return;
  }
  if (!Buffer.isBuffer(answer)) throw new Error("an answer that waits for nobody");
  expect(answer.length).toBeGreaterThanOrEqual(12);
  expect(answer.length).toBeLessThanOrEqual(transport === "udp" ? 1232 : 65_535);
  expect(answer.readUInt16BE(0)).toBe(message.readUInt16BE(0));
  expect((answer[2] ?? 0) & 0x80).toBe(0x80);
  expect(() => dnsPacket.decode(answer)).not.toThrow();
  expect(readMessage(answer)).toBeDefined();
}

describe("whatever bytes come in", () => {
  test("random ones get a well-formed response or none", () => {
    fc.assert(
      fc.property(anything, fc.constantFrom("udp", "tcp"), (message, transport) => check(message, transport)),
      { numRuns: 5000 },
    );
  });

  test("changed questions get a well-formed response or none", () => {
    fc.assert(
      fc.property(mutated, fc.constantFrom("udp", "tcp"), (message, transport) => check(message, transport)),
      { numRuns: 20_000 },
    );
  });

  test("what the oracle encodes, our codec reads the same", () => {
    const label = fc.stringMatching(/^[A-Za-z0-9_-]{1,63}$/);
    const name = fc.array(label, { minLength: 1, maxLength: 6 }).map((labels) => labels.join("."));
    fc.assert(
      fc.property(name, fc.constantFrom("A", "AAAA", "TXT", "MX", "ANY"), fc.nat(65_535), (text, type, id) => {
        fc.pre(text.length <= 253);
        const message = query(text, type, { id });
        const decoded = decodeQuery(message);
        if (decoded.kind !== "query") throw new Error(`refused: ${JSON.stringify(decoded)}`);
        expect(decoded.query.id).toBe(id);
        expect(`${decoded.query.key}\0`).toBe(message.subarray(12, -4).toString("latin1").toLowerCase());
        expect(decoded.query.questionEnd).toBe(message.length);
      }),
    );
  });
});

describe("whatever an upstream answers", () => {
  const asked = ednsQuery("example.com", "A");
  const decoded = decodeQuery(asked);
  if (decoded.kind !== "query") throw new Error("the question is good");
  const wanted: Query = decoded.query;
  const good = dnsPacket.encode({
    type: "response",
    id: 7,
    flags: dnsPacket.RECURSION_AVAILABLE,
    questions: [{ name: "example.com", type: "A", class: "IN" }],
    answers: [
      { name: "example.com", type: "CNAME", class: "IN", ttl: 60, data: "www.example.com" },
      { name: "www.example.com", type: "A", class: "IN", ttl: 30, data: "192.0.2.1" },
      { name: "www.example.com", type: "A", class: "IN", ttl: 30, data: "192.0.2.2" },
    ],
    authorities: [{ name: "example.com", type: "NS", class: "IN", ttl: 60, data: "ns.example.com" }],
  });

  test("it is refused, or fits every asker", () => {
    const edits = fc.array(fc.tuple(fc.nat(good.length - 1), fc.nat(255)), { minLength: 1, maxLength: 8 });
    const cut = fc.option(fc.nat(good.length));
    fc.assert(
      fc.property(edits, cut, fc.nat(400), fc.nat(4000), (changes, end, limit, age) => {
        const message = Buffer.from(good.subarray(0, end ?? undefined));
        for (const [at, byte] of changes) if (at >= 30 && at < message.length) message[at] = byte;
        const answer = parseAnswer(message, 7, wanted);
        if (answer === undefined) return;
        expect(answer.lifetime).toBeGreaterThanOrEqual(0);
        expect(answer.lifetime).toBeLessThanOrEqual(3600);
        const size = Math.max(limit, wanted.questionEnd + 11);
        const fitted = fitAnswer(answer, asked, wanted, age, size);
        expect(fitted.length).toBeLessThanOrEqual(Math.max(size, 0));
        expect(fitted.readUInt16BE(0)).toBe(4242);
        expect(readQuestion(fitted)?.key).toBe(wanted.key);
        expect(readMessage(fitted)).toBeDefined();
      }),
      { numRuns: 20_000 },
    );
  });

  test("cut anywhere, it is still whole records", () => {
    const answer = parseAnswer(good, 7, wanted);
    for (let limit = wanted.questionEnd + 11; limit <= good.length + 20; limit++) {
      const fitted = fitAnswer(answer!, asked, wanted, 0, limit);
      expect(fitted.length).toBeLessThanOrEqual(limit);
      const shown = show(fitted);
      expect(shown.tc).toBe(limit < good.length);
    }
  });

  test("our question upstream is the asker's, and nothing else of it", () => {
    const sent = dnsPacket.decode(upstreamQuery(asked, wanted, 99));
    expect(sent).toMatchObject({
      id: 99,
      type: "query",
      flag_rd: true,
      questions: [{ name: "example.com", type: "A" }],
    });
    expect(sent.additionals).toMatchObject([{ type: "OPT", udpPayloadSize: 1232, options: [] }]);
  });
});

test("text of any bytes is printable, whatever the message", () => {
  fc.assert(
    fc.property(fc.oneof(anything, mutated), (message) => {
      const text = readMessage(message);
      if (text === undefined) return;
      const shown = [
        text.question?.name,
        text.why?.text,
        ...[...text.answers, ...text.authority].flatMap(Object.values),
      ];
      expect(shown.join("")).toMatch(/^[\x20-\x7e]*$/);
    }),
    { numRuns: 5000 },
  );
});
