import { execFileSync, spawnSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { readdirSync, readFileSync, rmSync } from "node:fs";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { startLab, until, type Lab } from "../support/lab.ts";
import { NO_LAB, NO_ROOT } from "../support/possible.ts";
import { COMPUTER, INTERNET, METADATA, World } from "./egress-world.ts";

const NET_A = 0x18;
const NET_B = 0x19;
const ROOT = 0;
const USER = 65534;
/** What curl says: an answer, a refusal at once. */
const ANSWERED = 0;
const REFUSED = 7;

const missing = (program: string) =>
  process.env["CI"] !== "true" && spawnSync(program, ["--version"]).error !== undefined;

const WAYS = [
  { by: "veth", uid: ROOT, without: [], skip: false },
  { by: "pasta", uid: USER, without: [], skip: missing("pasta") },
  { by: "slirp4netns", uid: USER, without: ["pasta"], skip: missing("slirp4netns") || missing("pasta") },
] as const;

const IMPOSSIBLE = NO_LAB || NO_ROOT;

const curl = (lab: Lab, machine: string, host: string, ...more: readonly string[]) =>
  lab.run(machine, "curl", "-sg", "-m", "3", ...more, `http://${host}/`);

describe.skipIf(IMPOSSIBLE).each(WAYS.filter(({ skip }) => !skip))("the way out by $by", ({ by, uid, without }) => {
  let world: World;
  let lab: Lab;
  let a: { readonly address: string; readonly link: string };
  let b: { readonly address: string; readonly link: string };

  beforeAll(async () => {
    world = await World.make();
    const on = without.length === 0 ? world.enter : world.without(...without);
    lab = await startLab({ uid, egress: "auto", on });
    [a, b] = await Promise.all([lab.place("a", NET_A, 1), lab.place("b", NET_B, 2)]);
    await lab.tell({ do: "listen-private", port: 80 });
    await lab.tell({ do: "doors" });
  });
  afterAll(async () => {
    await lab?.end();
    await world?.end();
  });

  test("Machines reach the Internet under the computer's address", async () => {
    expect(lab.facts.exit).toMatchObject({ open: true, by });
    expect(await curl(lab, "a", INTERNET)).toEqual({ code: ANSWERED, out: "internet saw 192.0.2.2" });
    expect((await curl(lab, "b", INTERNET)).out).toBe("internet saw 192.0.2.2");
  });

  test("neighbours of the computer are reached, the computer itself and clouds' own services are not", async () => {
    expect((await curl(lab, "a", "192.0.2.1")).code).toBe(ANSWERED);
    const { exit } = lab.facts;
    const gateway = exit.open ? [exit.address, exit.gateway] : [];
    for (const host of [...COMPUTER, ...gateway, METADATA]) {
      expect((await curl(lab, "a", host)).code, host).toBe(REFUSED);
    }
  });

  test("Machines of another network are not reached that way", async () => {
    const core = (link: string) => link.replace(/\d+$/, (last) => `${Number(last) - 1}`);
    await lab.tell({
      do: "start",
      machine: "b",
      command: [process.execPath, "-e", "require('net').createServer(s=>s.end('x')).listen(80)"],
    });
    await expect.poll(() => lab.tell({ do: "dial", machine: "b", port: 80, host: b.link })).toBe(true);
    for (const host of [b.link, core(b.link), core(a.link), `[${b.address}]`, "[fdaa:0:19:0:1::1]"]) {
      expect((await curl(lab, "a", host)).code, host).toBe(REFUSED);
    }
    // The network still works as ever.
    expect((await curl(lab, "a", "[fdaa:0:18:0:1::1]", "--http0.9")).out).toContain(a.address);
  });

  test("a forged source goes nowhere and is counted", async () => {
    await lab.admin("a", "ip", "addr", "add", "198.51.100.7/32", "dev", "eth0");
    const before = (await lab.tell<{ forged: number }>({ do: "refused" })).forged;
    expect((await curl(lab, "a", INTERNET, "-m", "1", "--interface", "198.51.100.7")).code).not.toBe(ANSWERED);
    expect((await lab.tell<{ forged: number }>({ do: "refused" })).forged).toBeGreaterThan(before);
  });

  test("a Machine that begins thousands of connections at once is slowed down, and no other one is", async () => {
    const before = (await lab.tell<{ throttled: number }>({ do: "refused" })).throttled;
    const flood = `const socket = require("dgram").createSocket("udp4"); let left = 20000;
      const next = () => { for (let n = 0; n < 200 && left > 0; n++, left--) socket.send("x", 10000 + left, "${INTERNET}");
        if (left > 0) setImmediate(next); else setTimeout(() => socket.close(), 100); };
      next();`;
    const flooding = lab.run("a", process.execPath, "-e", flood);
    expect((await curl(lab, "b", INTERNET)).code).toBe(ANSWERED);
    expect((await flooding).code).toBe(0);
    expect((await curl(lab, "b", INTERNET)).code).toBe(ANSWERED);
    expect((await lab.tell<{ throttled: number }>({ do: "refused" })).throttled).toBeGreaterThan(before);
  });

  test("IPv6 ends in the lab, at once", async () => {
    expect((await curl(lab, "a", "[2001:db8::9]")).code).toBe(REFUSED);
    expect(world.onComputer("sh", "-c", "ip -6 addr show | grep fdaa || true")).toBe("");
  });

  test("what Machines and the proxy say to each other is not tracked", async () => {
    expect(await lab.tell({ do: "dial", machine: "b", port: 80, host: b.link })).toBe(true);
    expect((await curl(lab, "b", INTERNET)).code).toBe(ANSWERED);
    const tracked = inCore(lab, "cat", "/proc/net/nf_conntrack");
    expect(tracked).toContain(` src=${b.link} dst=${INTERNET} `);
    expect(tracked).not.toContain(` dst=${b.link} `);
  });

  test("from outside nobody gets in, and the computer is no router for its neighbours", () => {
    const seen =
      "add table ip seen; add chain ip seen c { type filter hook forward priority 100; }; add rule ip seen c oifname other0 counter";
    world.onComputer("nft", seen);
    const dial = (host: string) => `curl -s -m 1 http://${host}/ > /dev/null && echo ${host} answered`;
    expect(world.onInternet("sh", "-c", `${dial(b.link)} & ${dial("10.9.9.77")} & wait`)).toBe("");
    expect(world.onComputer("nft", "list", "table", "ip", "seen")).toContain("counter packets 0");
  });
});

describe.skipIf(IMPOSSIBLE)("after the end nothing is left", () => {
  const ends: (() => Promise<unknown>)[] = [];
  afterEach(async () => {
    for (const end of ends.splice(0).toReversed()) await end();
  });
  const newWorld = async (): Promise<World> => {
    const world = await World.make();
    ends.push(() => world.end());
    return world;
  };
  const newLab = async (world: World, uid: number, on = world.enter): Promise<Lab> => {
    const lab = await startLab({ uid, egress: "auto", on });
    ends.push(() => lab.end());
    return lab;
  };
  const endCore = async (lab: Lab): Promise<void> => {
    process.kill(lab.facts.initPid, "SIGKILL");
    await lab.exited;
  };
  const NOTHING = { tables: [], links: [], forwarding: "0" };

  test("of a node that ends, or whose core is killed; the last one switches forwarding off again", async () => {
    const world = await newWorld();
    const [first, second] = [await newLab(world, ROOT), await newLab(world, ROOT)];
    expect(world.traces()).toMatchObject({ forwarding: "1", tables: [expect.anything(), expect.anything()] });
    await endCore(first);
    expect(world.traces()).toMatchObject({ forwarding: "1", tables: [expect.anything()] });
    await second.place("a", NET_A, 1);
    expect((await curl(second, "a", INTERNET)).code).toBe(ANSWERED);
    await endCore(second);
    expect(world.traces()).toEqual(NOTHING);
  });

  test.each(["auto", "none"] as const)(
    "of a node that was killed, once the next one starts (egress = %s)",
    async (egress) => {
      const world = await newWorld();
      await (await newLab(world, ROOT)).end();
      await until(() => world.traces().links.length === 0);
      expect(world.traces()).toMatchObject({ tables: [expect.anything()], forwarding: "1" });
      const next = await startLab({ uid: ROOT, egress, on: world.enter });
      ends.push(() => next.end());
      if (egress === "auto") await endCore(next);
      expect(world.traces()).toEqual(NOTHING);
    },
  );

  test.each([ROOT, USER])(
    "egress = none leaves the computer as it is, and Machines know at once (uid %i)",
    async (uid) => {
      const world = await newWorld();
      const lab = await startLab({ uid, egress: "none", on: world.enter });
      ends.push(() => lab.end());
      await lab.place("a", NET_A, 1);
      expect(lab.facts.exit).toEqual({ open: false, because: undefined });
      expect((await curl(lab, "a", INTERNET)).code).toBe(REFUSED);
      expect(world.traces()).toEqual(NOTHING);
    },
  );

  test("host mode: the way out stays while the node is away, is found again, and goes when nobody wants it", async () => {
    const world = await newWorld();
    const name = `fctest-${randomBytes(3).toString("hex")}`;
    const live = async (egress: "auto" | "none"): Promise<Lab> => {
      const lab = await startLab({ uid: ROOT, persistent: name, egress, on: world.enter });
      ends.push(() => lab.end());
      return lab;
    };
    ends.push(async () => {
      execFileSync("ip", ["netns", "del", name]);
      rmSync(`/run/flycast/${name}`, { recursive: true, force: true });
    });
    const first = await live("auto");
    await first.place("0000000000000a", NET_A, 1);
    await first.tell({ do: "start", machine: "0000000000000a", command: ["sleep", "1000"] });
    const members = () => first.tell<number[]>({ do: "members", machine: "0000000000000a" });
    await expect.poll(async () => (await members()).length).toBe(1);
    const [sleeper = 0] = await members();
    ends.push(async () => void process.kill(sleeper, "SIGKILL"));
    const traces = world.traces();
    expect(traces).toMatchObject({ tables: [expect.anything()], links: [expect.anything()] });

    await first.end();
    const net = `--net=/proc/${sleeper}/ns/net`;
    const asked = execFileSync("nsenter", [net, "curl", "-sg", "-m", "3", `http://${INTERNET}/`], { encoding: "utf8" });
    expect(asked).toBe("internet saw 192.0.2.2");

    const second = await live("auto");
    expect(second.facts.exit).toEqual(first.facts.exit);
    expect(world.traces()).toEqual(traces);
    expect((await second.place("0000000000000a", NET_A, 1)).link).toBeDefined();
    expect((await curl(second, "0000000000000a", INTERNET)).code).toBe(ANSWERED);
    await second.end();

    await live("none");
    expect(world.traces()).toEqual(NOTHING);
  });

  test("addresses that the computer gets later are its own too, whatever it does with their ports", async () => {
    const world = await newWorld();
    const lab = await newLab(world, ROOT);
    await lab.place("a", NET_A, 1);
    world.onComputer("ip", "addr", "add", "10.9.9.2/24", "dev", "other0");
    const nat = "add chain ip docker pre { type nat hook prerouting priority -100; }";
    world.onComputer("nft", `add table ip docker; ${nat}; add rule ip docker pre tcp dport 8099 dnat to 192.0.2.1:80`);
    const later = await Promise.all(["10.9.9.2", "10.9.9.2:8099"].map((host) => curl(lab, "a", host, "-m", "1")));
    for (const { code } of later) expect(code).not.toBe(ANSWERED);
    expect((await curl(lab, "a", `${INTERNET}:8099`)).out).toBe("internet saw 192.0.2.2");
  });

  test("forwarding that was on before stays on", async () => {
    const world = await newWorld();
    world.onComputer("sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward");
    await endCore(await newLab(world, ROOT));
    expect(world.traces()).toEqual({ ...NOTHING, forwarding: "1" });
  });

  test.skipIf(missing("slirp4netns"))(
    "where the computer's firewall forwards nothing, a program sends on instead",
    async () => {
      const world = await newWorld();
      world.onComputer(
        "nft",
        "add table ip wall; add chain ip wall c { type filter hook forward priority 0; policy drop; }",
      );
      const lab = await newLab(world, ROOT);
      expect(lab.facts.exit).toMatchObject({ open: true, by: "slirp4netns" });
      await lab.place("a", NET_A, 1);
      expect((await curl(lab, "a", INTERNET)).code).toBe(ANSWERED);
      expect(world.traces()).toEqual(NOTHING);
    },
  );

  test("where there is no way, what was tried is said", async () => {
    const world = await newWorld();
    const lab = await newLab(world, USER, world.without("pasta", "slirp4netns"));
    expect(lab.facts.exit).toMatchObject({ open: false, because: expect.stringContaining("pasta") });
  });

  const helpers = WAYS.filter(({ uid, skip }) => uid === USER && !skip);
  test.each(helpers)("$by ends with its node, however that ends", async ({ by, without }) => {
    const world = await newWorld();
    const on = without.length === 0 ? world.enter : world.without(...without);
    const running = (of: Lab): number => programsFor(by, of.facts.initPid);
    const killed = await newLab(world, USER, on);
    expect(running(killed)).toBeGreaterThan(0);
    await killed.end();
    await until(() => running(killed) === 0);
    const ended = await newLab(world, USER, on);
    await endCore(ended);
    expect(running(ended)).toBe(0);
  });
});

/** In the core's network namespace, as this computer's root. */
function inCore(lab: Lab, ...argv: readonly string[]): string {
  return execFileSync("nsenter", [`--net=/proc/${lab.facts.initPid}/ns/net`, ...argv], { encoding: "utf8" });
}

/** How many processes of this program serve the namespace of this process. */
function programsFor(program: string, pid: number): number {
  return readdirSync("/proc").filter((name) => {
    if (!/^\d+$/.test(name)) return false;
    try {
      const argv = readFileSync(`/proc/${name}/cmdline`, "utf8").split("\0");
      return argv[0]?.endsWith(program) && argv.includes(`${pid}`);
    } catch {
      return false; // ended meanwhile
    }
  }).length;
}
