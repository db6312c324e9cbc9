import { describe, expect, test } from "vitest";
import { dig, digArguments, type DigAnswer } from "../../src/dns/dig.ts";
import { digFailure, formatDig, formatDigShort } from "../../src/dns/dig-text.ts";
import { a, fakeUpstream } from "./fake-upstream.ts";
import { HOME, Landscape, machineId } from "./landscape.ts";
import { bindPair, serve } from "./support.ts";

const landscape = new Landscape().app("web").app("big");
const web = landscape.machine("web", machineId(1));
landscape.flycast("web", HOME, 3);
for (let i = 0; i < 200; i++) landscape.machine("big", machineId(100 + i));

const at = (port: number): { server: { host: string; port: number } } => ({ server: { host: "127.0.0.1", port } });
/** Without what differs from run to run. */
const steady = (answer: DigAnswer, port: number): string =>
  formatDig({ ...answer, id: 1, took: 0 }).replaceAll(`${port}`, "53");

describe("the arguments", () => {
  test.each([
    [["web.internal"], { name: "web.internal", type: undefined, server: undefined }],
    [["web.internal", "TXT"], { name: "web.internal", type: "TXT", server: undefined }],
    [["txt", "web.internal"], { name: "web.internal", type: "txt", server: undefined }],
    [["@[fdaa::3]:53", "TYPE65", "x.flycast"], { name: "x.flycast", type: "TYPE65", server: "[fdaa::3]:53" }],
    [["aaaa"], { name: "aaaa", type: undefined, server: undefined }],
    [[], { name: undefined, type: undefined, server: undefined }],
  ])("%j", (args, expected) => {
    expect(digArguments(args)).toEqual(expected);
  });
});

test("the long form shows the whole answer", async () => {
  const { port } = await serve(landscape);
  expect(steady(await dig({ ...at(port), name: "web.internal" }), port)).toBe(
    `;; opcode: QUERY, status: NOERROR, id: 1
;; flags: qr aa ra; QUERY: 1, ANSWER: 1, AUTHORITY: 0, ADDITIONAL: 1

;; OPT PSEUDOSECTION:
; EDNS: version: 0, flags:; udp: 1232

;; QUESTION SECTION:
;web.internal.\tIN\t AAAA

;; ANSWER SECTION:
web.internal.\t5\tIN\tAAAA\t${web}

;; Query time: 0 msec
;; SERVER: 127.0.0.1#53 (UDP)
;; MSG SIZE  rcvd: 69`,
  );
});

test("a name that does not exist comes with its rcode and the SOA", async () => {
  const { port } = await serve(landscape);
  const answer = await dig({ ...at(port), name: "nope.flycast.", type: "aaaa" });
  expect(steady(answer, port)).toContain("flycast.\t1\tIN\tSOA\t_api.internal. hostmaster.flycast. 1 3600 600 86400 1");
  expect(answer.flags).toContain("rd");
  expect(digFailure(answer)).toBe("lookup failed: NXDOMAIN");
  expect(formatDigShort(answer)).toBe("");
});

test("the short form is the data alone, texts joined", async () => {
  const { port } = await serve(landscape);
  expect(formatDigShort(await dig({ ...at(port), name: "web.internal" }))).toBe(web);
  const text = formatDigShort(await dig({ ...at(port), name: "vms.big.internal", type: "TXT" }));
  expect(text.split(",")).toHaveLength(200);
  expect(text).not.toContain('"');
});

test("an answer that does not fit is fetched over TCP", async () => {
  const { port } = await serve(landscape);
  const cut = await dig({ ...at(port), name: "big.internal" });
  expect(cut).toMatchObject({ transport: "tcp", rcode: "NOERROR" });
  expect(cut.answers).toHaveLength(200);
  expect(await dig({ ...at(port), name: "web.internal", tcp: true })).toMatchObject({ transport: "tcp" });
});

test("the server's own reason is shown", async () => {
  const { port } = await serve(landscape);
  const answer = await dig({ ...at(port), name: "example.com", type: "A" });
  expect(digFailure(answer)).toBe("lookup failed: SERVFAIL (flycast: no upstream resolver answered)");
  expect(steady(answer, port)).toContain("; EDE: 22: (flycast: no upstream resolver answered)");
});

test("records of other people's zones are shown in the form of zone files", async () => {
  const { port } = await fakeUpstream((q) =>
    q.answer([
      a(q.name, "192.0.2.1"),
      { name: q.name, type: "CNAME", class: "IN", ttl: 1, data: "www.example.com" },
      { name: q.name, type: "MX", class: "IN", ttl: 1, data: { preference: 10, exchange: "mail.example.com" } },
      {
        name: q.name,
        type: "SRV",
        class: "IN",
        ttl: 1,
        data: { priority: 1, weight: 2, port: 3, target: "s.example.com" },
      },
      { name: q.name, type: "TXT", class: "IN", ttl: 1, data: ['say "\\hi"', Buffer.from([7, 0xff])] },
      { name: q.name, type: "CAA", class: "IN", ttl: 1, data: { flags: 0, tag: "issue", value: "x" } },
    ]),
  );
  const answer = await dig({ ...at(port), name: "e.com", type: "A" });
  expect(answer.answers.map((record) => `${record.type} ${record.data}`)).toEqual([
    "A 192.0.2.1",
    "CNAME www.example.com.",
    "MX 10 mail.example.com.",
    "SRV 1 2 3 s.example.com.",
    'TXT "say \\"\\\\hi\\"" "\\007\\255"',
    "CAA \\# 8 0005697373756578",
  ]);
});

test("what cannot be asked is refused before anything is sent", async () => {
  for (const options of [
    { name: "web.internal", type: "NONSENSE" },
    { name: "web.internal", type: "TYPE70000" },
    { name: "web..internal" },
    { name: "x".repeat(64) },
    { name: "" },
  ]) {
    await expect(dig({ ...at(9), ...options })).rejects.toMatchObject({ code: "invalid" });
  }
});

test("a closed port, silence, and a server that speaks something else each say so", async () => {
  const gone = await bindPair();
  await new Promise<void>((resolve) => gone.tcp.close(() => resolve()));
  await expect(dig({ ...at(gone.port), name: "a.internal", tcp: true })).rejects.toMatchObject({
    code: "node_unreachable",
  });

  const silent = await fakeUpstream();
  await expect(dig({ ...at(silent.port), name: "a.internal", timeout: 50 })).rejects.toMatchObject({ code: "timeout" });

  const odd = await fakeUpstream((q) => q.send(Buffer.from("HTTP/1.1 400 Bad Request")));
  await expect(dig({ ...at(odd.port), name: "a.internal", tcp: true })).rejects.toMatchObject({ code: "invalid" });
});
