import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { startLab, USERS, type Lab } from "../support/lab.ts";
import { NO_LAB } from "../support/possible.ts";

const NET_A = 0x18;
const NET_B = 0x19;
const FLYCAST_A = "fdaa:0:18:0:1::3";
const FLYCAST_B = "fdaa:0:19:0:1::1";
const RAW_PACKETS = fileURLToPath(new URL("../support/raw-packets.py", import.meta.url));
/** What curl says: an answer, a reset, nothing at all. */
const ANSWERED = 0;
const REFUSED = 7;

const WORLDS = [
  ...USERS.map((uid) => ({ name: `nftables, uid ${uid}`, uid, rules: "nft" as const })),
  ...USERS.slice(-1).map((uid) => ({ name: `routing rules, uid ${uid}`, uid, rules: "routing-rules" as const })),
];

describe.skipIf(NO_LAB).each(WORLDS)("a lab isolates networks ($name)", ({ uid, rules }) => {
  let lab: Lab;
  let a1: { readonly address: string; readonly link: string };
  let a2: { readonly address: string; readonly link: string };
  let b1: { readonly address: string; readonly link: string };

  beforeAll(async () => {
    lab = await startLab({ uid, rules, spare: 2 });
    [a1, a2, b1] = await Promise.all([lab.place("a1", NET_A, 1), lab.place("a2", NET_A, 2), lab.place("b1", NET_B, 3)]);
    await lab.tell({ do: "listen-private", port: 80 });
    await lab.tell({ do: "doors" });
  });
  afterAll(() => lab.end());

  const curl = (machine: string, address: string, ...more: readonly string[]) =>
    lab.run(machine, "curl", "-sg", "--http0.9", "-m", "1", ...more, `http://${address}/`);
  const ping = async (machine: string, address: string, ...more: readonly string[]) =>
    (await lab.run(machine, "ping", "-6", "-c1", "-W1", ...more, address)).code;
  const refusals = () => lab.tell<Record<string, number>>({ do: "refused" });
  const expectNoAnswer = async (machine: string, addresses: readonly string[]) => {
    const codes = await Promise.all(addresses.map(async (address) => (await curl(machine, address)).code));
    // Without nftables a refusal may be silence: the kernel limits how often it says "unreachable".
    for (const code of codes) {
      if (rules === "nft") expect(code).toBe(REFUSED);
      else expect(code).not.toBe(ANSWERED);
    }
  };
  test("a Machine reaches every Flycast address of its network and is seen by its own address", async () => {
    for (const address of [FLYCAST_A, "fdaa:0:18:0:1:0:ffff:ffff"]) {
      expect(await curl("a1", `[${address}]`)).toEqual({ code: ANSWERED, out: `${a1.address} ${address} 80` });
      expect(await ping("a1", address)).toBe(0);
    }
    expect((await curl("a2", `[${FLYCAST_A}]`)).out).toBe(`${a2.address} ${FLYCAST_A} 80`);
    expect((await curl("b1", `[${FLYCAST_B}]`)).out).toBe(`${b1.address} ${FLYCAST_B} 80`);
  });

  test("a Machine of another network is refused at once, on every port", async () => {
    await expectNoAnswer(
      "b1",
      [80, 53, 4280, 9999].map((port) => `[${FLYCAST_A}]:${port}`),
    );
    expect(await ping("b1", FLYCAST_A)).not.toBe(0);
  });

  test("Machines reach Machines of their own network only, and foreign ones that run look like ones that do not exist", async () => {
    await lab.tell({
      do: "start",
      machine: "a2",
      command: [process.execPath, "-e", 'net.createServer((s) => s.end("a2\\n")).listen(8080, "::")'],
    });
    const fromA1 = async () => (await curl("a1", `[${a2.address}]:8080`)).out;
    await expect.poll(fromA1).toBe("a2");
    expect(await ping("a1", a2.address)).toBe(0);
    const nobody = "fdaa:0:18:0:7:0:77:2";
    await expectNoAnswer("b1", [`[${a2.address}]:8080`, `[${a2.address}]:1`, `[${nobody}]:8080`]);
    const said = async (address: string) => {
      const { code, out } = await lab.run("b1", "ping", "-6", "-c1", "-W1", address);
      return { code, out: out.replaceAll(address, "X").replace(/time \d+ms/, "") };
    };
    expect(await said(a2.address)).toEqual(await said(nobody));
  });

  test("DNS and API answer at fdaa::3 and at the network's own ::3, and at no other network's", async () => {
    for (const host of ["fdaa::3", "fdaa:0:18::3"]) {
      expect((await curl("a1", `[${host}]:4280`)).out).toBe(`${a1.address} ${host} 4280`);
      expect((await curl("a1", `[${host}]:53`)).out).toBe(`${a1.address} ${host} 53`);
      expect(await askUdp(lab, "a1", host)).toBe(`${host} hello`);
      expect(await ping("a1", host)).toBe(0);
    }
    await expectNoAnswer(
      "a1",
      [53, 4280, 80].map((port) => `[fdaa:0:19::3]:${port}`),
    );
    expect(await askUdp(lab, "a1", "fdaa:0:19::3")).not.toContain("hello");
  });

  test("a forged source gets nothing through, neither IPv6 nor IPv4", async () => {
    const forged = "fdaa:0:18:bad::2";
    await lab.admin("b1", "ip", "addr", "replace", `${forged}/128`, "dev", "eth0", "nodad");
    await lab.admin("b1", "ip", "addr", "replace", "172.19.200.1/32", "dev", "eth0");
    const before = await refusals();
    const attempts = await Promise.all([
      curl("b1", `[${FLYCAST_A}]`, "--interface", forged),
      curl("b1", `[${a2.address}]:8080`, "--interface", forged),
      curl("b1", `[${a2.address}]:8080`, "--interface", a1.address),
      curl("b1", ourEnd(b1.link), "--interface", "172.19.200.1"),
      lab.run("b1", "ping", "-6", "-c1", "-W1", "-I", forged, a2.address),
    ]);
    for (const { code } of attempts) expect(code).not.toBe(0);
    if (rules === "nft") expect((await refusals())["forged"]).toBeGreaterThan(before["forged"]!);
  });

  test("whatever a hostile Machine puts on its link, a Machine of another network hears nothing of it", async () => {
    // So that the attacker's system has asked for its gateway's hardware address.
    expect(await ping("b1", FLYCAST_B)).toBe(0);
    const { out } = await lab.admin("b1", "ip", "neigh", "show", "fe80::1", "dev", "eth0");
    const settings = {
      gateway: /lladdr (\S+)/.exec(out)?.[1],
      me: b1.address,
      victims: [a2.address, FLYCAST_A, "fdaa:0:18::3"],
      forged: [a1.address, FLYCAST_A, a2.address, "fdaa::3", "fe80::1", "::1", "::", "::ffff:172.19.0.1"],
      links: [a2.link, ourEnd(a2.link), ourEnd(b1.link)],
      link: b1.link,
    };
    // Ends with the first packet that the gateway itself did not send.
    const others = "not arp and not src host fe80::1 and not (src host fdaa::3 and icmp6 and ip6[40] == 135)";
    const heard = lab.admin(
      "a2",
      "tcpdump",
      "-n",
      "-l",
      "--immediate-mode",
      "-Q",
      "in",
      "-i",
      "eth0",
      "-c",
      "1",
      others,
    );
    const listening = async () => (await lab.admin("a2", "cat", "/proc/net/packet")).out.split("\n").length;
    await expect.poll(listening).toBe(2);
    const sent = await lab.admin("b1", "python3", RAW_PACKETS, JSON.stringify(settings));
    expect(sent.code, sent.out).toBe(0);
    expect(Number(sent.out)).toBeGreaterThan(500);
    expect(await ping("a1", a2.address)).toBe(0);
    expect((await heard).out).toContain(`${a1.address} > ${a2.address}: ICMP6, echo request`);
    if (rules === "nft") expect((await refusals())["forged"]).toBeGreaterThan(300);
  });

  test("nobody fills the table of neighbours, which is the whole computer's, with names that are not its own", async () => {
    const gateway = ourEnd(b1.link);
    const forged = ["fe80::66:1/64", "fdaa:0:19:66::1/128", "10.66.0.1/32", "172.19.66.2/32"];
    for (const address of forged) {
      await lab.admin("b1", "ip", "addr", "replace", address, "dev", "eth0", "nodad");
      const source = address.replace(/\/.*/, "");
      // Each asks for its gateway's hardware address, in its own name.
      await lab.admin("b1", "ip", "neigh", "flush", "dev", "eth0");
      const target = source.includes(":") ? ["-6", "-I", source, "fe80::1%eth0"] : ["-I", source, gateway];
      await lab.admin("b1", "ping", "-c1", "-W1", ...target);
      await lab.admin("b1", "ip", "addr", "del", address, "dev", "eth0");
    }
    expect(await ping("b1", FLYCAST_B)).toBe(0);
    const neighbours = await lab.tell<string>({ do: "neighbours" });
    expect(neighbours).toContain(b1.address);
    // Addresses, at the beginning of each line: hardware addresses are random.
    expect(neighbours).not.toMatch(/^(?:\S*:66:|10\.66\.|172\.19\.66\.)/m);
  });

  test("the IPv4 link carries connections of the proxy and none of the Machine", async () => {
    await lab.tell({
      do: "start",
      machine: "a1",
      command: [process.execPath, "-e", 'net.createServer((s) => s.end()).listen(8081, "0.0.0.0")'],
    });
    await expect.poll(() => lab.tell({ do: "dial", machine: "a1", port: 8081 })).toBe(true);
    const attempts = await Promise.all([
      ...[ourEnd(a1.link), ourEnd(b1.link)].flatMap((host) =>
        [80, 53, 4280].map((port) => curl("a1", `${host}:${port}`)),
      ),
      curl("a2", `${a1.link}:8081`),
    ]);
    for (const { code } of attempts) expect(code).not.toBe(ANSWERED);
  });

  // Without nftables nothing filters ports: there the core opens only those that are for Machines.
  if (rules === "nft")
    test("nothing else of the core answers: other ports of fdaa::3, its link-local address", async () => {
      const before = await refusals();
      for (const address of ["[fdaa::3]:9999", "[fdaa::3]:80", "[fdaa:0:18::3]:80", "[fe80::1%25eth0]:80"]) {
        expect((await curl("a1", address)).code).toBe(REFUSED);
      }
      expect((await refusals())["denied_input"]).toBeGreaterThan(before["denied_input"]!);
    });

  test("a network that was removed answers nobody, and comes back", async () => {
    const a3 = await lab.place("a3", 0x20, 9);
    expect((await curl("a3", "[fdaa:0:20:0:1::1]")).out).toBe(`${a3.address} fdaa:0:20:0:1::1 80`);
    await lab.tell({ do: "remove-network", network: 0x20 });
    await expectNoAnswer("a3", ["[fdaa:0:20:0:1::1]", "[fdaa:0:20::3]:53"]);
    await lab.tell({ do: "network", network: 0x20 });
    expect((await curl("a3", "[fdaa:0:20:0:1::1]")).code).toBe(ANSWERED);
    expect((await curl("a3", "[fdaa:0:20::3]:53")).code).toBe(ANSWERED);
  });

  test("a Machine that is gone leaves no link, no rule, no descriptor and no file", async () => {
    const held = () => lab.tell<Record<string, unknown>>({ do: "holdings" });
    // What is kept ready is built in the background: until it is there, the numbers move.
    const steady = async () => {
      await expect.poll(async () => ((await held())["links"] as string[]).length, { timeout: 20_000 }).toBe(6);
      const { descriptors, files, rules } = await held();
      return { descriptors, files: (files as string[]).length, rules: new Set(rules as string[]) };
    };
    const before = await steady();
    for (let round = 0; round < 3; round++) {
      const names = [1, 2, 3, 4].map((n) => `gone${n}`);
      await Promise.all(names.map((name, n) => lab.place(name, NET_A, 100 + n)));
      await Promise.all(names.map((name) => lab.tell({ do: "unplace", machine: name })));
    }
    expect(await steady()).toEqual(before);
  });
});

/** The proxy's end of a Machine's IPv4 link. */
function ourEnd(link: string): string {
  return link.replace(/\d+$/, (last) => String(Number(last) - 1));
}

/** One datagram to port 53 and its answer, or "" when none comes. */
async function askUdp(lab: Lab, machine: string, host: string): Promise<string> {
  const script = `
    const socket = require("dgram").createSocket("udp6");
    const end = (text) => { process.stdout.write(text); process.exit(); };
    socket.on("message", (message) => end(message.toString()));
    socket.on("error", (error) => end(error.code));
    socket.connect(53, process.argv[1], () => socket.send("hello"));
    setTimeout(() => end(""), 1000);`;
  return (await lab.run(machine, process.execPath, "-e", script, host)).out;
}
