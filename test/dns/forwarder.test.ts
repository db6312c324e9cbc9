import { randomBytes } from "node:crypto";
import { createSocket } from "node:dgram";
import dnsPacket from "dns-packet";
import { describe, expect, test } from "vitest";
import { AppError } from "../../src/core/errors.ts";
import { systemClock } from "../../src/core/clock.ts";
import { createForwarder } from "../../src/dns/forwarder.ts";
import { directOutside } from "../../src/network/outside-direct.ts";
import type { Outside } from "../../src/network/outside.ts";
import { FakeClock, settle } from "../support/fake-clock.ts";
import { askTcp, askUdp, ednsQuery, framed, query, show } from "./ask.ts";
import { a, fakeUpstream, type Received } from "./fake-upstream.ts";
import { Landscape } from "./landscape.ts";
import { cleanUp, serve, type Running } from "./support.ts";

const nothing = new Landscape();
const ask = async (server: Running, message: Uint8Array): Promise<ReturnType<typeof show>> =>
  show(await askUdp(server.port, message));

/** Moves the clock on until `done`, so that no test depends on how fast packets travel. */
async function untilDone<T>(clock: FakeClock, done: Promise<T>, step = 100): Promise<T> {
  let finished = false;
  const ended = done.finally(() => (finished = true));
  ended.catch(() => {});
  while (!finished) {
    await clock.advance(step);
    await new Promise<void>((resolve) => setImmediate(resolve));
  }
  return ended;
}

describe("a question about somebody else's name", () => {
  test("goes upstream with a fresh id and without our asker's options, and its answer comes back under the asker's id", async () => {
    const upstream = await fakeUpstream((q) => q.answer([a("Example.com", "192.0.2.1", 77)]));
    const server = await serve(nothing, { forward: { upstreams: [upstream.address] } });
    const answer = await ask(server, query("Example.com", "A", { id: 7 }));
    expect(answer).toMatchObject({ id: 7, rcode: "NOERROR", answers: ["192.0.2.1"] });
    expect(answer.packet).toMatchObject({ flag_rd: true, flag_ra: true, answers: [{ ttl: 77 }] });
    expect(upstream.received[0]).toMatchObject({ name: "Example.com", type: "A", packet: { flag_rd: true } });
    expect(upstream.received[0]?.packet.additionals).toEqual([]);

    const withOptions = Buffer.concat([
      ednsQuery("other.example", "A"),
      Buffer.from([0, 10, 0, 8, 1, 2, 3, 4, 5, 6, 7, 8]),
    ]);
    withOptions.writeUInt16BE(12, withOptions.length - 14);
    await ask(server, withOptions);
    expect(upstream.received[1]?.packet.additionals).toMatchObject([
      { type: "OPT", udpPayloadSize: 1232, options: [] },
    ]);
  });

  test("never has the same id and port twice in a row for long: both are drawn", async () => {
    const upstream = await fakeUpstream((q) => q.answer([], { rcode: 0 }));
    const server = await serve(nothing, { forward: { upstreams: [upstream.address] } });
    for (let i = 0; i < 40; i++) await ask(server, query(`n${i}.example`, "A"));
    expect(new Set(upstream.received.map((q) => q.packet.id)).size).toBeGreaterThan(35);
    expect(new Set(upstream.received.map((q) => q.from)).size).toBeGreaterThan(1);
  });

  test("ports are given up after a while", async () => {
    const clock = new FakeClock();
    const upstream = await fakeUpstream((q) => q.answer([]));
    const server = await serve(nothing, { clock, forward: { upstreams: [upstream.address], clock } });
    await ask(server, query("first.example", "A"));
    const before = new Set(upstream.received.map((q) => q.from));
    await clock.advance(61_000);
    for (let i = 0; i < 10; i++) await ask(server, query(`n${i}.example`, "A"));
    for (const question of upstream.received.slice(1)) expect(before).not.toContain(question.from);
  });

  test("private names are never asked for outside, whatever they are", async () => {
    const upstream = await fakeUpstream((q) => q.answer([]));
    const server = await serve(nothing, { forward: { upstreams: [upstream.address] } });
    for (const name of ["x.internal", "internal", "x.flycast", "1.a.a.d.f.ip6.arpa", "_apps.internal", "X.INTERNAL"]) {
      for (const type of ["AAAA", "A", "TXT", "SOA", "ANY", "PTR"]) await ask(server, query(name, type));
    }
    expect(upstream.received).toEqual([]);
  });

  test("exceptions go where [dns] forward says, the longest domain first", async () => {
    const [general, google, deep] = [await fakeUpstream(), await fakeUpstream(), await fakeUpstream()];
    for (const [index, upstream] of [general, google, deep].entries()) {
      upstream.on = (q) => q.answer([a(q.name, `192.0.2.${index}`)]);
    }
    const forward = new Map([
      ["google.internal", google.address],
      ["Deep.google.internal.", deep.address],
    ]);
    const landscape = new Landscape().app("google");
    const server = await serve(landscape, { forward: { upstreams: [general.address], forward } });
    expect((await ask(server, query("metadata.google.internal", "A"))).answers).toEqual(["192.0.2.1"]);
    expect((await ask(server, query("GOOGLE.internal", "A"))).answers).toEqual(["192.0.2.1"]);
    expect((await ask(server, query("a.deep.google.internal", "A"))).answers).toEqual(["192.0.2.2"]);
    expect((await ask(server, query("example.com", "A"))).answers).toEqual(["192.0.2.0"]);
    expect((await ask(server, query("notgoogle.internal", "A"))).rcode).toBe("NXDOMAIN");
  });

  test.each([
    ["an upstream that is a name", ["dns.example"], []],
    ["a port that is none", ["127.0.0.1:0"], []],
    ["a whole zone of ours", [], [["internal", "127.0.0.1"]]],
    ["more than a zone of ours", [], [["arpa", "127.0.0.1"]]],
    ["a domain that is none", [], [["a..b", "127.0.0.1"]]],
  ] as const)("%s is refused at the start", (_, upstreams, forward) => {
    const options = { outside: directOutside, clock: systemClock, random: randomBytes };
    expect(() => createForwarder({ ...options, upstreams, forward: new Map(forward) })).toThrow(AppError);
  });

  test("with no upstream it is SERVFAIL at once, and says why to who understands it", async () => {
    const server = await serve(nothing);
    const bytes = await askUdp(server.port, ednsQuery("example.com", "A"));
    expect(show(bytes)).toMatchObject({ rcode: "SERVFAIL", answers: [] });
    expect(bytes.toString("latin1")).toContain("no upstream resolver answered");
    expect((await ask(server, query("example.com", "A"))).packet.additionals).toEqual([]);
  });
});

describe("an answer is taken only when it matches", () => {
  const genuine = a("example.com", "192.0.2.1");
  const forged = a("example.com", "203.0.113.66");

  test.each<[string, (q: Received) => void]>([
    ["the id", (q) => q.answer([forged], { id: ((q.packet.id ?? 0) + 1) & 0xffff })],
    ["the name", (q) => q.answer([forged], { questions: [{ name: "example.org", type: "A", class: "IN" }] })],
    ["the type", (q) => q.answer([forged], { questions: [{ name: "example.com", type: "AAAA", class: "IN" }] })],
    ["the question at all", (q) => q.answer([forged], { questions: [] })],
    ["being a response", (q) => q.answer([forged], { type: "query" })],
    ["a whole message", (q) => q.send(Buffer.from([...Buffer.alloc(11)]))],
    [
      "records that fit in",
      (q) => {
        const message = dnsPacket.encode({
          type: "response",
          id: q.packet.id ?? 0,
          questions: q.packet.questions ?? [],
          answers: [forged],
        });
        q.send(message.subarray(0, -2));
      },
    ],
  ])("%s", async (_, forge) => {
    const upstream = await fakeUpstream((q) => {
      forge(q);
      q.answer([genuine]);
    });
    const server = await serve(nothing, { forward: { upstreams: [upstream.address] } });
    expect((await ask(server, query("example.com", "A"))).answers).toEqual(["192.0.2.1"]);
  });

  test("the address and port that were asked", async () => {
    const upstream = await fakeUpstream((q) => {
      const stranger = createSocket("udp4");
      cleanUp(() => stranger.close());
      const message = dnsPacket.encode({
        type: "response",
        id: q.packet.id ?? 0,
        questions: q.packet.questions ?? [],
        answers: [forged],
      });
      stranger.send(message, q.from, "127.0.0.1", () => q.answer([genuine]));
    });
    const server = await serve(nothing, { forward: { upstreams: [upstream.address] } });
    expect((await ask(server, query("example.com", "A"))).answers).toEqual(["192.0.2.1"]);
  });
});

describe("when an upstream fails", () => {
  test.each([
    ["SERVFAIL", 2],
    ["REFUSED", 5],
    ["NOTIMP", 4],
    ["FORMERR", 1],
  ])("%s sends the question to the next one at once", async (_, rcode) => {
    const clock = new FakeClock();
    const bad = await fakeUpstream((q) => q.answer([], { rcode }));
    const good = await fakeUpstream((q) => q.answer([a(q.name, "192.0.2.2")]));
    const server = await serve(nothing, { clock, forward: { clock, upstreams: [bad.address, good.address] } });
    expect((await ask(server, query("example.com", "A"))).answers).toEqual(["192.0.2.2"]);
    // And whoever failed is asked last for a while.
    await ask(server, query("example.org", "A"));
    expect(bad.received).toHaveLength(1);
    await clock.advance(31_000);
    await ask(server, query("example.net", "A"));
    expect(bad.received).toHaveLength(2);
  });

  test("NXDOMAIN is an answer, not a failure", async () => {
    const first = await fakeUpstream((q) => q.answer([], { rcode: 3 }));
    const second = await fakeUpstream();
    const server = await serve(nothing, { forward: { upstreams: [first.address, second.address] } });
    expect((await ask(server, query("nope.example", "A"))).rcode).toBe("NXDOMAIN");
    expect(second.received).toEqual([]);
  });

  test("when all fail, what the first one said is passed on", async () => {
    const bad = await fakeUpstream((q) => q.answer([], { rcode: 5 }));
    const worse = await fakeUpstream((q) => q.answer([], { rcode: 2 }));
    const server = await serve(nothing, { forward: { upstreams: [bad.address, worse.address] } });
    expect((await ask(server, query("example.com", "A"))).rcode).toBe("REFUSED");
  });

  test("silence is asked again, and then elsewhere", async () => {
    const clock = new FakeClock();
    const silent = await fakeUpstream();
    const good = await fakeUpstream((q) => q.answer([a(q.name, "192.0.2.2")]));
    const server = await serve(nothing, { clock, forward: { clock, upstreams: [silent.address, good.address] } });
    const answer = await untilDone(clock, ask(server, query("example.com", "A")));
    expect(answer.answers).toEqual(["192.0.2.2"]);
    // Whoever was silent is not waited for again.
    expect((await ask(server, query("example.org", "A"))).answers).toEqual(["192.0.2.2"]);
  });

  test("a lost packet is sent again to the only upstream", async () => {
    const clock = new FakeClock();
    const upstream = await fakeUpstream();
    upstream.on = (q) => {
      if (upstream.received.length > 2) q.answer([a(q.name, "192.0.2.2")]);
    };
    const server = await serve(nothing, { clock, forward: { clock, upstreams: [upstream.address] } });
    expect((await untilDone(clock, ask(server, query("example.com", "A")))).answers).toEqual(["192.0.2.2"]);
  });

  test("silence everywhere is SERVFAIL before stub resolvers give up", async () => {
    const clock = new FakeClock();
    const silent = await fakeUpstream();
    const server = await serve(nothing, { clock, forward: { clock, upstreams: [silent.address] } });
    const begun = clock.now();
    expect((await untilDone(clock, ask(server, query("example.com", "A")))).rcode).toBe("SERVFAIL");
    expect(clock.now() - begun).toBeLessThan(8000);
    expect(silent.received.length).toBeGreaterThan(1);
    expect(clock.pending).toBe(0);
  });

  test("no socket to be had is SERVFAIL, not a hang", async () => {
    const broken: Outside = {
      ...directOutside,
      bindUdp: () => Promise.reject(new AppError("no_privilege")),
    };
    const server = await serve(nothing, { forward: { upstreams: ["127.0.0.1:9"], outside: broken } });
    expect((await ask(server, query("example.com", "A"))).rcode).toBe("SERVFAIL");
  });

  test("closing answers whoever waits", async () => {
    const silent = await fakeUpstream();
    const server = await serve(nothing, { forward: { upstreams: [silent.address] } });
    const waiting = ask(server, query("example.com", "A"));
    await silent.count(1);
    await server.forwarder.close();
    expect((await waiting).rcode).toBe("SERVFAIL");
    expect((await ask(server, query("example.org", "A"))).rcode).toBe("SERVFAIL");
  });
});

test("other upstreams take over at once, and nothing of the old ones is kept", async () => {
  const home = await fakeUpstream((q) => q.answer([a(q.name, "192.0.2.1")]));
  const cafe = await fakeUpstream((q) => q.answer([a(q.name, "192.0.2.2")]));
  const server = await serve(nothing, { forward: { upstreams: [home.address] } });
  expect((await ask(server, query("example.com", "A"))).answers).toEqual(["192.0.2.1"]);
  server.forwarder.replaceUpstreams(["no address", cafe.address]);
  expect((await ask(server, query("example.com", "A"))).answers).toEqual(["192.0.2.2"]);
  server.forwarder.replaceUpstreams([]);
  expect((await ask(server, query("example.com", "A"))).rcode).toBe("SERVFAIL");
  expect(home.received).toHaveLength(1);
});

describe("long answers", () => {
  const many = (name: string): ReturnType<typeof a>[] => Array.from({ length: 100 }, (_, i) => a(name, `192.0.2.${i}`));

  test("what is cut over UDP is fetched over TCP, and cut for the asker only where it must be", async () => {
    const upstream = await fakeUpstream((q) => {
      if (q.transport === "tcp") q.answer(many(q.name));
      else q.answer(many(q.name).slice(0, 3), { flags: dnsPacket.TRUNCATED_RESPONSE });
    });
    const server = await serve(nothing, { forward: { upstreams: [upstream.address] } });
    const overUdp = await ask(server, ednsQuery("big.example", "A"));
    expect(overUdp.tc).toBe(true);
    expect(overUdp.answers.length).toBeGreaterThan(40);
    expect(overUdp.packet.additionals).toMatchObject([{ type: "OPT" }]);
    const [overTcp] = await askTcp(server.port, [framed(ednsQuery("big.example", "A"))], 1);
    expect(show(overTcp!)).toMatchObject({ tc: false });
    expect(show(overTcp!).answers).toHaveLength(100);
    // The second asker was served from what the first one's question brought.
    expect(upstream.received.map((q) => q.transport)).toEqual(["udp", "tcp"]);
  });

  test("when TCP fails, the part that came over UDP is passed on, marked as a part", async () => {
    const upstream = await fakeUpstream((q) => {
      if (q.transport === "tcp") q.send(Buffer.alloc(0));
      else q.answer(many(q.name).slice(0, 3), { flags: dnsPacket.TRUNCATED_RESPONSE });
    });
    const server = await serve(nothing, { forward: { upstreams: [upstream.address] } });
    expect(await ask(server, query("big.example", "A"))).toMatchObject({ tc: true, rcode: "NOERROR" });
  });

  test("an asker without EDNS gets no OPT, even where the upstream sends one", async () => {
    const upstream = await fakeUpstream((q) =>
      q.answer([a(q.name, "192.0.2.1")], {
        additionals: [
          {
            name: ".",
            type: "OPT",
            udpPayloadSize: 4096,
            extendedRcode: 0,
            ednsVersion: 0,
            flags: 0,
            flag_do: false,
            options: [],
          },
        ],
      }),
    );
    const server = await serve(nothing, { forward: { upstreams: [upstream.address] } });
    expect((await ask(server, query("a.example", "A"))).packet.additionals).toEqual([]);
    expect((await ask(server, ednsQuery("b.example", "A"))).packet.additionals).toMatchObject([
      { udpPayloadSize: 1232 },
    ]);
  });
});

describe("the cache", () => {
  test("answers until the TTL is over, with what is left of it", async () => {
    const clock = new FakeClock();
    const upstream = await fakeUpstream((q) => q.answer([a(q.name, "192.0.2.1", 300), a(q.name, "192.0.2.2", 10)]));
    const server = await serve(nothing, { clock, forward: { clock, upstreams: [upstream.address] } });
    await ask(server, query("example.com", "A"));
    await clock.advance(4000);
    const later = await ask(server, query("EXAMPLE.com", "A", { id: 9 }));
    expect(later.id).toBe(9);
    expect(later.packet.questions).toMatchObject([{ name: "EXAMPLE.com" }]);
    expect(later.packet.answers?.map((r) => ("ttl" in r ? r.ttl : undefined))).toEqual([296, 6]);
    expect(upstream.received).toHaveLength(1);
    await clock.advance(6000);
    await ask(server, query("example.com", "A"));
    expect(upstream.received).toHaveLength(2);
  });

  test("keeps a negative answer as long as its SOA says, and none that has no SOA", async () => {
    const clock = new FakeClock();
    const soa = { mname: "a.example", rname: "b.example", serial: 1, refresh: 1, retry: 1, expire: 1, minimum: 7 };
    const upstream = await fakeUpstream((q) =>
      q.name.startsWith("soa")
        ? q.answer([], { rcode: 3, authorities: [{ name: "example", type: "SOA", class: "IN", ttl: 60, data: soa }] })
        : q.answer([], { rcode: 3 }),
    );
    const server = await serve(nothing, { clock, forward: { clock, upstreams: [upstream.address] } });
    const names = (): string[] => upstream.received.map((q) => q.name);
    await ask(server, query("soa.example", "A"));
    await clock.advance(6000);
    expect((await ask(server, query("soa.example", "A"))).rcode).toBe("NXDOMAIN");
    expect(names()).toEqual(["soa.example"]);
    await clock.advance(1000);
    await ask(server, query("soa.example", "A"));
    await ask(server, query("bare.example", "A"));
    await ask(server, query("bare.example", "A"));
    expect(names()).toEqual(["soa.example", "soa.example", "bare.example", "bare.example"]);
  });

  test.each([
    ["a TTL of 0", 0, 0],
    ["a failure", 300, 2],
  ])("does not keep %s", async (_, ttl, rcode) => {
    const upstream = await fakeUpstream((q) => q.answer([a(q.name, "192.0.2.1", ttl)], { rcode }));
    const server = await serve(nothing, { forward: { upstreams: [upstream.address] } });
    await ask(server, query("example.com", "A"));
    await ask(server, query("example.com", "A"));
    expect(upstream.received).toHaveLength(2);
  });

  test("keeps apart what was asked differently", async () => {
    const upstream = await fakeUpstream((q) => q.answer([a(q.name, "192.0.2.1")]));
    const server = await serve(nothing, { forward: { upstreams: [upstream.address] } });
    const forms = [
      query("e.com", "A"),
      query("e.com", "AAAA"),
      ednsQuery("e.com", "A"),
      query("e.com", "A", { flags: 0 }),
    ];
    for (const message of [...forms, ...forms]) await ask(server, message);
    expect(upstream.received).toHaveLength(forms.length);
  });

  test("one question upstream serves everybody who asks it at that moment", async () => {
    const upstream = await fakeUpstream();
    const server = await serve(nothing, { forward: { upstreams: [upstream.address] } });
    const askers = Array.from({ length: 20 }, (_, id) => ask(server, query("example.com", "A", { id })));
    await upstream.count(1);
    // All twenty have reached the server before the first answer goes out: they travel through one socket, in order.
    await ask(server, query("own.internal", "A"));
    upstream.received[0]?.answer([a("example.com", "192.0.2.1")]);
    const answers = await Promise.all(askers);
    expect(answers.map((one) => one.id)).toEqual(Array.from({ length: 20 }, (_, id) => id));
    expect(upstream.received).toHaveLength(1);
  });

  test("is bounded in bytes", async () => {
    const upstream = await fakeUpstream((q) => q.answer([a(q.name, "192.0.2.1")]));
    const server = await serve(nothing, { forward: { upstreams: [upstream.address], cacheBytes: 8000 } });
    for (let i = 0; i < 50; i++) await ask(server, query(`n${i}.example`, "A"));
    await ask(server, query("n0.example", "A"));
    expect(upstream.received).toHaveLength(51);
    await ask(server, query("n49.example", "A"));
    expect(upstream.received).toHaveLength(51);
  });
});

describe("limits", () => {
  test("too many forwarded questions of one source are SERVFAIL; our own names and known answers are still served", async () => {
    const upstream = await fakeUpstream((q) => {
      if (q.name === "known.example") q.answer([a(q.name, "192.0.2.1")]);
    });
    const landscape = new Landscape().app("web");
    const server = await serve(landscape, {
      forward: { upstreams: [upstream.address] },
      limits: { total: 100, perNetwork: 100, perSource: 3 },
    });
    await ask(server, query("known.example", "A"));
    const waiting = Array.from({ length: 3 }, (_, i) => ask(server, query(`slow${i}.example`, "A")));
    await upstream.count(4);
    expect((await ask(server, query("slow9.example", "A"))).rcode).toBe("SERVFAIL");
    expect((await ask(server, query("web.internal", "AAAA"))).rcode).toBe("NOERROR");
    expect((await ask(server, query("known.example", "A"))).answers).toEqual(["192.0.2.1"]);
    for (const question of upstream.received.slice(1)) question.answer([a(question.name, "192.0.2.2")]);
    for (const answer of await Promise.all(waiting)) expect(answer.answers).toEqual(["192.0.2.2"]);
    // Slots come back.
    upstream.on = (q) => q.answer([a(q.name, "192.0.2.3")]);
    expect((await ask(server, query("slow9.example", "A"))).answers).toEqual(["192.0.2.3"]);
  });

  test("a question that waits upstream does not hold up others on the same TCP connection", async () => {
    const upstream = await fakeUpstream();
    const server = await serve(new Landscape().app("web"), { forward: { upstreams: [upstream.address] } });
    const both = Buffer.concat([
      framed(query("slow.example", "A", { id: 1 })),
      framed(query("web.internal", "AAAA", { id: 2 })),
    ]);
    const [first] = await askTcp(server.port, [both], 1);
    expect(show(first!).id).toBe(2);
    await settle();
  });
});
