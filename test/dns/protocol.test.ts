import { beforeEach, describe, expect, test } from "vitest";
import { keyOf, labelsOf } from "../../src/dns/codec.ts";
import type { QuerySeen } from "../../src/dns/resolver.ts";
import { DO_BIT, askTcp, askUdp, ednsQuery, framed, query, show } from "./ask.ts";
import { HOME, Landscape, OTHER, machineId } from "./landscape.ts";
import { serve, type Running } from "./support.ts";

const landscape = new Landscape().app("web").app("big").app("idle").app("secret", OTHER);
const web = landscape.machine("web", machineId(1));
landscape.machine("secret", machineId(2));
const crowd = Array.from({ length: 200 }, (_, i) => landscape.machine("big", machineId(1000 + i))).toSorted();
const flycast = landscape.flycast("web", HOME, 3);

let server: Running;
let seen: QuerySeen[];
beforeEach(async () => {
  seen = [];
  server = await serve(landscape, { onQuery: (one) => seen.push(one) });
});
const udp = async (message: Uint8Array): Promise<ReturnType<typeof show>> => show(await askUdp(server.port, message));
const tcp = async (message: Uint8Array): Promise<ReturnType<typeof show>> =>
  show((await askTcp(server.port, [framed(message)], 1))[0]!);

describe("answers", () => {
  test("a name's addresses come with TTL 5, authoritative, under the id and the flags of the question", async () => {
    const answer = await udp(query("web.internal", "AAAA"));
    expect(answer).toMatchObject({ id: 4242, rcode: "NOERROR", aa: true, tc: false, answers: [web], soa: false });
    expect(answer.packet).toMatchObject({ flag_rd: true, flag_ra: true, flag_ad: false });
    expect(answer.packet.answers).toMatchObject([{ name: "web.internal", ttl: 5, class: "IN" }]);
    expect((await udp(query("web.internal", "AAAA", { flags: 0 }))).packet.flag_rd).toBe(false);
  });

  test("the name comes back in the case it was asked in", async () => {
    const answer = await udp(query("wEb.FlYcAsT", "AAAA"));
    expect(answer.packet.questions?.[0]?.name).toBe("wEb.FlYcAsT");
    expect(answer.packet.answers).toMatchObject([{ name: "wEb.FlYcAsT", data: flycast }]);
  });

  test("records repeat the name as a pointer", async () => {
    const bytes = await askUdp(server.port, ednsQuery("big.internal", "AAAA"));
    expect(bytes.length).toBeLessThanOrEqual(12 + 18 + 40 * 28 + 11 + 100);
    const [first] = await askTcp(server.port, [framed(query("big.internal", "AAAA"))], 1);
    expect(first).toHaveLength(12 + "big.internal".length + 2 + 4 + 200 * 28);
  });

  test("two hundred Machines are all there over TCP, in another order each time", async () => {
    const orders = new Set<string>();
    for (let i = 0; i < 3; i++) {
      const { answers } = await tcp(query("big.internal", "AAAA"));
      expect(answers.toSorted()).toEqual(crowd);
      orders.add(answers.join());
    }
    expect(orders.size).toBe(3);
  });

  test.each([
    ["without EDNS, 512 bytes", query("big.internal", "AAAA"), 512],
    ["with EDNS, 1,232 bytes however much the asker takes", ednsQuery("big.internal", "AAAA", { size: 4096 }), 1232],
    ["with EDNS, what the asker takes", ednsQuery("big.internal", "AAAA", { size: 700 }), 700],
    ["with EDNS, never less than 512 bytes", ednsQuery("big.internal", "AAAA", { size: 10 }), 512],
  ])("an answer that is too long for UDP is cut between records: %s", async (_, message, limit) => {
    const bytes = await askUdp(server.port, message);
    expect(bytes.length).toBeLessThanOrEqual(limit);
    expect(bytes.length).toBeGreaterThan(limit - 28);
    const answer = show(bytes);
    expect(answer.tc).toBe(true);
    expect(answer.answers.length).toBeGreaterThan(15);
    for (const address of answer.answers) expect(crowd).toContain(address);
  });

  test("a long text is one record of several strings, and is left out whole when it does not fit", async () => {
    const short = await udp(ednsQuery("vms.big.internal", "TXT"));
    expect(short).toMatchObject({ tc: true, answers: [], rcode: "NOERROR" });
    const { answers, packet } = await tcp(query("vms.big.internal", "TXT"));
    expect(packet.answers).toHaveLength(1);
    expect(answers[0]?.split(",")).toHaveLength(200);
    const strings = (packet.answers![0] as { data: Buffer[] }).data;
    expect(strings.slice(0, -1).every((part) => part.length === 255)).toBe(true);
  });

  test("what no message can hold is cut between items, and between records", async () => {
    const l = new Landscape().app("huge");
    for (let i = 0; i < 4000; i++) l.machine("huge", machineId(i));
    const own = await serve(l);
    const both = Buffer.concat([framed(query("vms.huge.internal", "TXT")), framed(query("huge.internal", "AAAA"))]);
    const [text, addresses] = (await askTcp(own.port, [both], 2)).map(show);
    const items = text?.answers[0]?.split(",") ?? [];
    expect(items.length).toBeGreaterThan(3000);
    for (const item of items) expect(item).toMatch(/^[0-9a-f]{14} iad$/);
    expect(addresses?.tc).toBe(true);
    expect(addresses?.answers.length).toBeGreaterThan(2300);
  });

  test.each([
    ["no such name", "nope.internal", "AAAA", "NXDOMAIN"],
    ["another network's name", "secret.internal", "AAAA", "NXDOMAIN"],
    ["an address of an app of another network", "secret.flycast", "AAAA", "NXDOMAIN"],
    ["a name without a running Machine", "idle.internal", "AAAA", "NOERROR"],
    ["another type of a name that exists", "web.internal", "A", "NOERROR"],
    ["text of a name with addresses", "web.internal", "TXT", "NOERROR"],
    ["addresses of a name with text", "vms.web.internal", "AAAA", "NOERROR"],
    ["a mail server", "web.flycast", "MX", "NOERROR"],
    ["HTTPS records, which browsers ask for", "web.flycast", "UNKNOWN_65", "NOERROR"],
    ["a reverse name of the private network", "3.0.0.0.a.a.d.f.ip6.arpa", "PTR", "NXDOMAIN"],
  ])("%s: no answer, and a SOA that says for how long", async (_, name, type, rcode) => {
    const answer = await udp(query(name, type));
    expect(answer).toMatchObject({ rcode, aa: true, answers: [], soa: true });
    expect(answer.packet.authorities).toMatchObject([{ type: "SOA", ttl: 1, data: { minimum: 1 } }]);
    const apex = name.endsWith("arpa") ? "a.a.d.f.ip6.arpa" : name.slice(name.lastIndexOf(".") + 1);
    expect(answer.packet.authorities?.[0]?.name).toBe(apex);
  });

  test("the apex has a SOA and a name server, which is this one", async () => {
    expect((await udp(query("internal", "SOA"))).packet.answers).toMatchObject([
      { type: "SOA", data: { mname: "_api.internal", rname: "hostmaster.internal", minimum: 1 } },
    ]);
    expect((await udp(query("flycast", "NS"))).answers).toEqual(["_api.internal"]);
    expect(await udp(query("internal", "AAAA"))).toMatchObject({ rcode: "NOERROR", answers: [], soa: true });
  });

  test("ANY gets one small record instead of everything", async () => {
    const answer = await udp(query("big.internal", "ANY"));
    expect(answer.tc).toBe(false);
    expect(answer.packet.answers).toMatchObject([{ type: "HINFO", data: { cpu: "RFC8482", os: "" } }]);
    expect(await udp(query("nope.internal", "ANY"))).toMatchObject({ rcode: "NXDOMAIN", answers: [] });
  });

  test("a Machine that stopped is gone from the very next answer", async () => {
    const l = new Landscape().app("db");
    const address = l.machine("db", machineId(1));
    const own = await serve(l);
    expect(show(await askUdp(own.port, query("db.internal", "AAAA"))).answers).toEqual([address]);
    l.state(machineId(1), "stopping");
    expect(show(await askUdp(own.port, query("db.internal", "AAAA"))).answers).toEqual([]);
  });
});

describe("EDNS", () => {
  test("who uses it gets it back, with our size, DO as it came and no options", async () => {
    const plain = await udp(query("web.internal", "AAAA"));
    expect(plain.packet.additionals).toEqual([]);
    const answer = await udp(ednsQuery("web.internal", "AAAA", { flags: DO_BIT }));
    expect(answer.packet.additionals).toMatchObject([
      { type: "OPT", udpPayloadSize: 1232, flag_do: true, options: [] },
    ]);
  });

  test("version 1 is BADVERS", async () => {
    const answer = await udp(ednsQuery("web.internal", "AAAA", { version: 1 }));
    expect(answer.packet.additionals).toMatchObject([{ type: "OPT", extendedRcode: 1, ednsVersion: 0 }]);
    expect(answer).toMatchObject({ rcode: "NOERROR", answers: [] });
  });

  test("options that nobody knows are ignored", async () => {
    const message = Buffer.concat([ednsQuery("web.internal", "AAAA"), Buffer.from([0xff, 0xf0, 0, 3, 1, 2, 3])]);
    message.writeUInt16BE(7, message.length - 9);
    expect(await udp(message)).toMatchObject({ rcode: "NOERROR", answers: [web] });
  });

  test("two OPT records, one with a name, or options that do not add up are FORMERR", async () => {
    const good = ednsQuery("web.internal", "AAAA");
    const opt = good.subarray(-11);
    const two = Buffer.concat([good, opt]);
    two.writeUInt16BE(2, 10);
    const named = Buffer.concat([good.subarray(0, -11), Buffer.from([1, 0x61]), opt]);
    const torn = Buffer.concat([good, Buffer.from([0, 3, 0, 9, 1])]);
    torn.writeUInt16BE(5, torn.length - 7);
    for (const message of [two, named, torn]) expect((await udp(message)).rcode).toBe("FORMERR");
  });
});

describe("what is not answered like a question", () => {
  const header = (flags: number, counts: readonly number[] = [1, 0, 0, 0]): Buffer => {
    const message = query("web.internal", "AAAA");
    message.writeUInt16BE(flags, 2);
    for (const [index, count] of counts.entries()) message.writeUInt16BE(count, 4 + index * 2);
    return message;
  };

  test.each([
    ["a transfer is REFUSED", query("internal", "AXFR"), "REFUSED"],
    ["an incremental transfer is REFUSED", query("web.internal", "IXFR"), "REFUSED"],
    ["a type that asks about nothing we keep is NOTIMP", query("web.internal", "UNKNOWN_253"), "NOTIMP"],
    ["STATUS is NOTIMP", header(0x1000), "NOTIMP"],
    ["NOTIFY is NOTIMP", header(0x2000), "NOTIMP"],
    ["UPDATE is NOTIMP", header(0x2800), "NOTIMP"],
    ["no question is FORMERR", header(0x0100, [0, 0, 0, 0]), "FORMERR"],
    ["two questions are FORMERR", header(0x0100, [2, 0, 0, 0]), "FORMERR"],
    ["records that are not there are FORMERR", header(0x0100, [1, 0, 0, 7]), "FORMERR"],
    ["a question with TC is FORMERR", header(0x0300), "FORMERR"],
    ["half a question is FORMERR", query("web.internal", "AAAA").subarray(0, 20), "FORMERR"],
    [
      "a pointer where the name should be is FORMERR",
      Buffer.concat([query("a", "A").subarray(0, 12), Buffer.from([0xc0, 12, 0, 28, 0, 1])]),
      "FORMERR",
    ],
    [
      "a class other than IN is REFUSED",
      query("version.bind", "TXT", { questions: [{ name: "version.bind", type: "TXT", class: "CH" }] }),
      "REFUSED",
    ],
    [
      "class ANY is REFUSED",
      query("web.internal", "AAAA", { questions: [{ name: "web.internal", type: "AAAA", class: "ANY" }] }),
      "REFUSED",
    ],
  ])("%s", async (_, message, rcode) => {
    const answer = await udp(message);
    expect(answer).toMatchObject({ rcode, id: 4242, answers: [] });
    expect(answer.packet.type).toBe("response");
  });

  test("a response, or too few bytes for a header, gets no answer at all", async () => {
    const response = query("web.internal", "AAAA");
    response.writeUInt16BE(0x8000, 2);
    // The last one is a question: its answer shows that the others got none, for answers keep their order.
    const socketAnswer = await answersTo([Buffer.alloc(0), Buffer.alloc(11), response, query("web.internal", "AAAA")]);
    expect(socketAnswer).toEqual([[web]]);
  });

  async function answersTo(messages: readonly Buffer[]): Promise<(readonly string[])[]> {
    const { createSocket } = await import("node:dgram");
    const socket = createSocket("udp4");
    const found: (readonly string[])[] = [];
    await new Promise<void>((resolve) => {
      socket.on("message", (message: Buffer) => {
        found.push(show(message).answers);
        resolve();
      });
      for (const message of messages) socket.send(message, server.port, "127.0.0.1");
    });
    socket.close();
    return found;
  }
});

describe("TCP", () => {
  test("questions may come split in any place", async () => {
    const message = framed(query("web.internal", "AAAA"));
    const [answer] = await askTcp(
      server.port,
      Array.from(message, (byte) => Buffer.from([byte])),
      1,
    );
    expect(show(answer!).answers).toEqual([web]);
    const halves = [message.subarray(0, 2), message.subarray(2)];
    expect(await askTcp(server.port, halves, 1)).toHaveLength(1);
  });

  test("and glued together: each gets its answer", async () => {
    const all = Array.from({ length: 100 }, (_, id) => framed(query("web.internal", "AAAA", { id })));
    const answers = await askTcp(server.port, [Buffer.concat(all)], 100);
    expect(answers.map((answer) => show(answer).id)).toEqual(Array.from({ length: 100 }, (_, id) => id));
  });

  test("bytes that are no question at all end the connection", async () => {
    await expect(askTcp(server.port, [framed(Buffer.from("GET /"))], 1)).rejects.toThrow("closed");
  });
});

describe("what is counted", () => {
  test("type, rcode, zone and transport, all from closed sets", async () => {
    await udp(query("web.internal", "AAAA"));
    await tcp(query("nope.flycast", "TXT"));
    await udp(query("example.com", "A"));
    await udp(query("web.internal", "UNKNOWN_999"));
    await udp(Buffer.concat([query("web.internal", "AAAA").subarray(0, 15)]));
    await udp(ednsQuery("web.internal", "AAAA", { version: 3 }));
    await udp(query("internal", "AXFR"));
    expect(seen).toEqual([
      { type: "AAAA", rcode: "NOERROR", view: "internal", transport: "udp", forwarded: false },
      { type: "TXT", rcode: "NXDOMAIN", view: "flycast", transport: "tcp", forwarded: false },
      { type: "A", rcode: "SERVFAIL", view: "outside", transport: "udp", forwarded: true },
      { type: "other", rcode: "NOERROR", view: "internal", transport: "udp", forwarded: false },
      { type: "other", rcode: "FORMERR", view: "none", transport: "udp", forwarded: false },
      { type: "other", rcode: "BADVERS", view: "none", transport: "udp", forwarded: false },
      { type: "AXFR", rcode: "REFUSED", view: "internal", transport: "udp", forwarded: false },
    ]);
  });
});

test("labels and keys are two forms of one thing", () => {
  const labels = ["iad", "web", "internal"];
  expect(labelsOf(keyOf(labels))).toEqual(labels);
  expect(query(labels.join("."), "A").subarray(12, -4).toString("latin1")).toBe(`${keyOf(labels)}\0`);
});
