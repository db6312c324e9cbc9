import type { ChildProcess } from "node:child_process";
import { execFileSync } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { ANY_DNS, dnsAddress } from "../../src/network/address.ts";
import { HOME, OTHER, machineId } from "./landscape.ts";
import { Namespace, joinClient, startPrivateServer, whyNoNamespaces } from "./namespaces.ts";
import { clientLandscape } from "./private-landscape.ts";

const missing = whyNoNamespaces(["dig", "kdig", "dnsmasq", "unbound", "musl-gcc", "python3"]);
const { home, other, web, flycast, secret, crowd } = clientLandscape();

describe.skipIf(missing !== undefined && process.env["CI"] !== "true")(`real resolvers (${missing ?? "here"})`, () => {
  let server: Namespace;
  let client: Namespace;
  let stranger: Namespace;
  let program: ChildProcess;
  let folder: string;

  beforeAll(async () => {
    if (missing !== undefined) throw new Error(missing);
    folder = mkdtempSync(join(tmpdir(), "flycast-dns-clients-"));
    server = await Namespace.open();
    program = await startPrivateServer(server, [ANY_DNS, dnsAddress(HOME), dnsAddress(OTHER)]);
    client = await joinClient(server, "vhome", home);
    stranger = await joinClient(server, "vother", other);
  });
  afterAll(async () => {
    program?.stdin?.end();
    await stranger?.close();
    await client?.close();
    await server?.close();
    if (folder !== undefined) rmSync(folder, { recursive: true, force: true });
  });

  const lines = (text: string): string[] => text.trim().split("\n").filter(Boolean).toSorted();
  const dig = (...args: string[]): Promise<string> => client.run("dig", "+time=5", "+tries=1", ...args);
  const kdig = (...args: string[]): Promise<string> => client.run("kdig", "+time=5", "+retry=0", ...args);

  describe("dig", () => {
    test("gets addresses and text by the resolver of the Machine", async () => {
      expect(lines(await dig("+short", "AAAA", "web.internal"))).toEqual([web]);
      expect(lines(await dig("+short", "AAAA", "wEb.FlyCast"))).toEqual([flycast]);
      expect(await dig("+short", "TXT", "vms.web.internal")).toBe(`"${machineId(3)} iad"\n`);
      expect(await dig("+short", "A", "www.example.com")).toBe("192.0.2.1\n");
    });

    test("sees only its own network, and gets nothing from another network's server", async () => {
      expect(await dig("AAAA", "secret.internal")).toContain("status: NXDOMAIN");
      expect(lines(await stranger.run("dig", "+short", "AAAA", "secret.internal"))).toEqual([secret]);
      expect(lines(await dig("+short", `@${dnsAddress(HOME)}`, "AAAA", "web.internal"))).toEqual([web]);
      const refused = await dig(`@${dnsAddress(OTHER)}`, "AAAA", "secret.internal");
      expect(refused).toContain("status: REFUSED");
      expect(refused).toContain("EDE: 18 (Prohibited)");
    });

    test("asks again over TCP when two hundred Machines do not fit, and takes a part when told to ignore that", async () => {
      expect(lines(await dig("+short", "AAAA", "big.internal"))).toEqual(crowd);
      expect(lines(await dig("+short", "+tcp", "AAAA", "big.internal"))).toEqual(crowd);
      const part = await dig("+ignore", "AAAA", "big.internal");
      expect(part).toMatch(/flags: qr aa tc rd ra;.*ANSWER: 4[0-9]/);
    });

    test("does not complain about anything", async () => {
      for (const args of [
        ["AAAA", "web.internal", "+nsid", "+cookie", "+dnssec"],
        ["ANY", "web.internal"],
        ["SOA", "internal"],
        ["AAAA", "nope.internal", "+noedns"],
        ["AAAA", "web.internal", "+edns=1"],
        ["CH", "TXT", "version.bind"],
        ["AAAA", "web.internal", "+subnet=192.0.2.0/24", "+tcp", "+keepalive"],
      ]) {
        const said = await dig(...args);
        expect(said, args.join(" ")).toContain("Got answer");
        expect(said.replace(/.*recursion requested but not available.*/g, ""), args.join(" ")).not.toMatch(
          /WARN|malformed|extra/i,
        );
      }
    });
  });

  describe("kdig", () => {
    test.each([
      [["AAAA", "web.internal"], "status: NOERROR"],
      [["+tcp", "AAAA", "web.internal"], "status: NOERROR"],
      [["+edns=1", "AAAA", "web.internal"], "status: BADVERS"],
      [["+nsid", "AAAA", "web.internal"], "status: NOERROR"],
      [["+cookie", "AAAA", "web.internal"], "status: NOERROR"],
      [["+ignore", "+bufsize=1232", "AAAA", "big.internal"], "status: NOERROR"],
      [["ANY", "web.internal"], "RFC8482"],
      [["-c", "CH", "-t", "TXT", "version.bind"], "status: REFUSED"],
      [["AAAA", "WeB.InTeRnAl"], "status: NOERROR"],
      [["+notcp", "AXFR", "internal"], "REFUSED"],
    ])("%j", async (args, expected) => {
      // kdig says on one of its outputs what it does not like.
      const said = await kdig(...args).catch(
        (error: { stdout?: string; stderr?: string }) => `${error.stdout}${error.stderr}`,
      );
      expect(said).toContain(expected);
      expect(said).not.toMatch(/WARNING: (?!response timeout)|malformed|garbage/i);
    });
  });

  test("glibc's getaddrinfo, which asks for A and AAAA at once, finds what there is", async () => {
    expect(await client.run("getent", "ahostsv6", "web.internal")).toContain(web);
    expect(await client.run("getent", "ahosts", "web.flycast")).toContain(flycast);
    expect(await client.run("getent", "ahosts", "www.example.com")).toContain("192.0.2.1");
    expect(new Set((await client.run("getent", "ahosts", "big.internal")).match(/^\S+/gm))).toEqual(new Set(crowd));
    await expect(client.run("getent", "ahosts", "nope.internal")).rejects.toMatchObject({ code: 2 });
  });

  test("Node's lookup (the C library) and resolver (c-ares) agree", async () => {
    const script = `
      const { promises: dns } = require("node:dns");
      (async () => console.log(JSON.stringify({
        lookup: (await dns.lookup("web.internal")).address,
        aaaa: await dns.resolve6("web.flycast", { ttl: true }),
        a: await dns.resolve4("web.internal").catch((e) => e.code),
        none: await dns.resolve6("nope.internal").catch((e) => e.code),
        txt: await dns.resolveTxt("_apps.internal"),
        crowd: (await dns.resolve6("big.internal")).length,
        soa: (await dns.resolveSoa("internal")).nsname,
      })))()`;
    expect(JSON.parse(await client.run(process.execPath, "-e", script))).toEqual({
      lookup: web,
      aaaa: [{ address: flycast, ttl: 5 }],
      a: "ENODATA",
      none: "ENOTFOUND",
      txt: [["big,client,web"]],
      crowd: 200,
      soa: "_api.internal",
    });
  });

  test("Python", async () => {
    const script = `import socket; print(sorted({x[4][0] for x in socket.getaddrinfo("web.internal", 80)}))`;
    expect((await client.run("python3", "-c", script)).trim()).toBe(`['${web}']`);
  });

  test("musl, which asks both types at once and takes what fits over UDP", async () => {
    const source = join(folder, "resolve.c");
    writeFileSync(
      source,
      `#include <stdio.h>
       #include <sys/socket.h>
       #include <netdb.h>
       int main(int argc, char **argv) {
         struct addrinfo hints = { .ai_socktype = SOCK_STREAM }, *found;
         int rc = getaddrinfo(argv[1], "80", &hints, &found);
         if (rc) { printf("error %d\\n", rc); return 0; }
         for (; found; found = found->ai_next) {
           char host[100];
           getnameinfo(found->ai_addr, found->ai_addrlen, host, sizeof host, 0, 0, NI_NUMERICHOST);
           puts(host);
         }
       }`,
    );
    const resolve = join(folder, "resolve");
    execFileSync("musl-gcc", ["-static", "-o", resolve, source]);
    expect(lines(await client.run(resolve, "web.internal"))).toEqual([web]);
    expect(lines(await client.run(resolve, "web.flycast"))).toEqual([flycast]);
    expect(lines(await client.run(resolve, "www.example.com"))).toEqual(["192.0.2.1"]);
    const part = lines(await client.run(resolve, "big.internal"));
    expect(part.length).toBeGreaterThan(10);
    for (const address of part) expect(crowd).toContain(address);
    expect(await client.run(resolve, "nope.internal")).toBe("error -2\n");
  });

  describe("as the server behind another resolver", () => {
    async function stop(program: ChildProcess): Promise<void> {
      if (program.exitCode !== null || program.signalCode !== null) return;
      const ended = once(program, "exit");
      program.kill();
      await ended;
    }

    async function waitForResolver(port: number, program: ChildProcess): Promise<void> {
      while (program.exitCode === null && program.signalCode === null) {
        const said = await client
          .run("dig", `@127.0.0.1`, "-p", `${port}`, "+time=1", "+tries=1", "+short", "SOA", "internal")
          .catch(() => "");
        if (said.includes("_api.internal")) return;
      }
      throw new Error("the resolver ended by itself");
    }

    test("dnsmasq", async () => {
      const dnsmasq = client.spawn(
        "dnsmasq",
        // Stays in front and as who it is: in a user namespace there is nobody else to become.
        "--no-daemon",
        "--conf-file=/dev/null",
        "--port=5301",
        "--listen-address=127.0.0.1",
        "--bind-interfaces",
        "--no-resolv",
        "--no-hosts",
        "--pid-file=",
        "--server=fdaa::3",
      );
      try {
        await waitForResolver(5301, dnsmasq);
        const ask = async (...args: string[]): Promise<string[]> =>
          lines(await dig("@127.0.0.1", "-p", "5301", "+short", ...args));
        expect(await ask("AAAA", "web.internal")).toEqual([web]);
        expect(await ask("AAAA", "Web.Flycast")).toEqual([flycast]);
        expect(await ask("AAAA", "big.internal")).toEqual(crowd);
        expect(await ask("A", "web.internal")).toEqual([]);
        expect(await ask("A", "www.example.com")).toEqual(["192.0.2.1"]);
        expect(await dig("@127.0.0.1", "-p", "5301", "AAAA", "nope.internal")).toContain("status: NXDOMAIN");
      } finally {
        await stop(dnsmasq);
      }
    });

    test("unbound, with random case and a smallest possible question at each step", async () => {
      const conf = join(folder, "unbound.conf");
      writeFileSync(
        conf,
        `server:
           interface: 127.0.0.1
           port: 5302
           do-daemonize: no
           chroot: ""
           username: ""
           directory: "${folder}"
           pidfile: ""
           use-syslog: no
           logfile: ""
           module-config: "iterator"
           use-caps-for-id: yes
           qname-minimisation: yes
         remote-control:
           control-enable: no
         forward-zone:
           name: "."
           forward-addr: fdaa::3
         stub-zone:
           name: "internal"
           stub-addr: ${dnsAddress(HOME)}
         stub-zone:
           name: "flycast"
           stub-addr: ${dnsAddress(HOME)}
        `,
      );
      const unbound = client.spawn("unbound", "-d", "-c", conf);
      try {
        await waitForResolver(5302, unbound);
        const ask = async (...args: string[]): Promise<string[]> =>
          lines(await dig("@127.0.0.1", "-p", "5302", "+short", ...args));
        expect(await ask("AAAA", "web.internal")).toEqual([web]);
        expect(await ask("AAAA", "top1.nearest.of.web.internal")).toEqual([web]);
        expect(await ask("AAAA", `${machineId(3)}.vm.web.internal`)).toEqual([web]);
        expect(await ask("AAAA", "web.flycast")).toEqual([flycast]);
        expect(await ask("AAAA", "big.internal")).toEqual(crowd);
        expect(await ask("A", "www.example.com")).toEqual(["192.0.2.1"]);
        expect(await dig("@127.0.0.1", "-p", "5302", "AAAA", "nope.internal")).toContain("status: NXDOMAIN");
      } finally {
        await stop(unbound);
      }
    });
  });
});
