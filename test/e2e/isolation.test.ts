import { spawn } from "node:child_process";
import { once } from "node:events";
import { connect } from "node:net";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { asWho, cannotPlay, clean, FLYCAST, run, Up, workspaceOf, type Ran, type Who } from "./support.ts";

/** Two organisations, a third one that looks for what it should not find, and a service of one for the other. */
const SERVER = `
import { createServer } from "node:http";
import { createServer as tcp } from "node:net";
createServer((request, response) => response.end(process.env.FLY_APP_NAME + " heard you\\n")).listen(8080, "::");
tcp((socket) => socket.on("error", () => undefined).pipe(socket)).listen(7777, "::");
`;
const flyToml = (app: string): string => `app = "${app}"
[[services]]
internal_port = 8080
[[services.ports]]
port = 80
handlers = ["http"]
[[services]]
internal_port = 7777
[[services.ports]]
port = 7
`;
/** A port that one organisation alone uses. */
const TRAPS = 1023;
const app = (name: string, org: string, more = ""): string =>
  `[apps.${name}]\norg = "${org}"\ncommand = "${process.execPath} server.mjs"\n${more}`;
const FILES = {
  "flycast.toml": [
    '[node]\nregion = "iad"\nnetwork_mode = "lab"\n',
    app("ledger", "acme"),
    app("shared", "acme", 'flycast = ["globex"]\n'),
    app("shop", "globex"),
    app("trap", "eve"),
  ].join(""),
  ...Object.fromEntries(
    ["ledger", "shared", "shop", "trap"].flatMap((name) => [
      [`${name}/fly.toml`, flyToml(name) + (name === "trap" ? `[[services.ports]]\nport = ${TRAPS}\n` : "")],
      [`${name}/server.mjs`, SERVER],
    ]),
  ),
};

/** Every well-known port, and those that anything of ours might listen on. */
const PORTS = [
  ...Array.from({ length: 1024 }, (_, i) => i + 1),
  1337,
  4280,
  5432,
  6379,
  7777,
  8080,
  8081,
  51820,
  51821,
];
/** The rules are the same for both: the long list is walked once. */
const portsFor = (who: Who): readonly number[] => (who === "root" ? PORTS : FEW);
const FEW = [7, 22, 53, 80, 443, TRAPS, 4280, 7777, 8080];

/**
 * Opens every pair of address and port, and prints those that answer: `tcp ADDRESS PORT` or `udp ADDRESS PORT`; `reset …` where
 * a connection was taken and reset without a byte.
 */
const SWEEP = `
const { connect } = require("net");
const { createSocket } = require("dgram");
const { hosts, ports } = JSON.parse(process.argv[1]);
const todo = hosts.flatMap((host) => ports.map((port) => [host, port]));
const open = [];
const tcp = (host, port) => new Promise((done) => {
  const socket = connect({ host, port });
  let met = "", over = false;
  const end = (how) => {
    if (over) return;
    over = true;
    socket.destroy();
    if (met) open.push((how ?? met) + " " + host + " " + port);
    done();
  };
  socket.setTimeout(1500, () => end());
  // The proxy has one listener a port for all addresses of a network: what it does not serve at this one, it resets at once.
  socket.once("connect", () => { met = "tcp"; setTimeout(() => end(), 1000); });
  socket.once("error", () => end("reset"));
});
const udp = (host, port) => new Promise((done) => {
  const socket = createSocket(host.includes(":") ? "udp6" : "udp4");
  const timer = setTimeout(() => { socket.close(); done(); }, 700);
  const end = () => { clearTimeout(timer); socket.close(); done(); };
  socket.once("message", () => { open.push("udp " + host + " " + port); end(); });
  socket.once("error", end);
  // A question for web.flycast: whoever speaks DNS answers it.
  socket.send(Buffer.from("12340100000100000000000003776562" + "07666c79636173740000" + "1c0001", "hex"), port, host, (e) => e && end());
});
const worker = async () => { for (let next; (next = todo.pop()); ) await tcp(...next); };
(async () => {
  await Promise.all(Array.from({ length: 250 }, worker));
  await Promise.all(hosts.flatMap((host) => [53, 4280, 51820].map((port) => udp(host, port))));
  console.log(JSON.stringify(open.sort()));
})();
`;

for (const who of ["root", "user"] as const satisfies readonly Who[]) {
  const unable = cannotPlay(who);
  describe.skipIf(unable !== undefined && process.env["CI"] !== "true")(`organisations in the lab of ${who}`, () => {
    let node: Up;
    /** Flycast addresses by app. */
    const address: Record<string, string> = {};
    /** Machines' own addresses by app. */
    const machine: Record<string, string> = {};
    /** `<prefix>::3` by organisation. */
    const door: Record<string, string> = {};

    const as = (org: string, ...command: string[]): Promise<Ran> => node.cli("exec", "-o", org, "--", ...command);
    const sweep = async (
      org: string,
      hosts: readonly string[],
      ports: readonly number[],
    ): Promise<readonly string[]> => {
      const swept = await as(org, process.execPath, "-e", SWEEP, JSON.stringify({ hosts, ports }));
      expect(swept.err).toBe("");
      return JSON.parse(swept.out) as string[];
    };

    beforeAll(async () => {
      const folder = workspaceOf(FILES, who);
      node = new Up(folder, who, ["--network-mode", "lab"], ["env", "-C", folder]);
      for (const service of (await node.ready()).services) address[service.app] = service.address;
      const orgs = JSON.parse((await node.cli("orgs", "list", "--json")).out) as {
        slug: string;
        networks: { prefix: string }[];
      }[];
      for (const org of orgs) door[org.slug] = org.networks[0]!.prefix.replace("::/48", "::3");
      const homes = { ledger: "acme", shared: "acme", shop: "globex", trap: "eve" };
      await Promise.all(
        Object.entries(homes).map(async ([name, org]) => {
          const caller = name === "shared" ? "globex" : org;
          expect((await as(caller, "curl", "-sS", `http://${name}.flycast`)).out).toBe(`${name} heard you\n`);
          machine[name] = (await node.cli("dig", "--short", "-o", org, `${name}.internal`)).out.trim();
        }),
      );
    }, 60_000);
    afterAll(async () => {
      await node?.stop("SIGKILL");
      if (node !== undefined) clean(node.folder);
    });

    test("a sweep of one's own network finds what is there, and no more", async () => {
      const hosts = [address["ledger"]!, machine["ledger"]!, door["acme"]!, "fdaa::3"];
      // Nothing is accepted and reset either: which ports other organisations use does not show.
      expect(await sweep("acme", hosts, portsFor(who))).toEqual(
        [
          ...[7, 80].map((port) => `tcp ${address["ledger"]} ${port}`),
          ...[7777, 8080].map((port) => `tcp ${machine["ledger"]} ${port}`),
          ...[door["acme"], "fdaa::3"].flatMap((host) => [`tcp ${host} 4280`, `tcp ${host} 53`, `udp ${host} 53`]),
        ].toSorted(),
      );
    });

    test("a sweep from a foreign network finds nothing", async () => {
      const hosts = ["ledger", "shared", "shop"].flatMap((name) => [address[name]!, machine[name]!]);
      expect(await sweep("eve", [...hosts, door["acme"]!, door["globex"]!], portsFor(who))).toEqual([]);
    });

    test("the links that carry the proxy's connections to Machines lead nowhere from a Machine", async () => {
      const links = Array.from({ length: 48 }, (_, i) => `172.19.0.${i + 1}`);
      expect(await Promise.all([sweep("eve", links, FEW), sweep("acme", links, FEW)])).toEqual([[], []]);
    });

    test("nothing of the computer itself is reached from inside", async () => {
      const { api } = await node.ready();
      const { hostname, port } = new URL(api);
      expect(await sweep("eve", [hostname, "::1", "fe80::1%eth0"], [...FEW, Number(port)])).toEqual([]);
    });

    test("names of one organisation mean nothing in another", async () => {
      const names = ["ledger.internal", "ledger.flycast", "shared.internal", "shop.flycast", "all.vms.ledger.internal"];
      const asked = names.flatMap((name) => [name.includes("vms") ? "TXT" : "AAAA", name]);
      expect((await as("eve", "dig", "+short", ...asked)).out.trim()).toBe("");
      expect((await as("eve", "dig", "+short", "TXT", "_apps.internal")).out.trim()).toBe('"trap"');
      expect((await as("eve", "dig", "+short", "TXT", "_instances.internal")).out).not.toMatch(/ledger|shared|shop/);
    });

    test("a service of one organisation is reached by the one it was given to, and by no other", async () => {
      const shared = address["shared"]!;
      expect((await as("globex", "dig", "+short", "AAAA", "shared.flycast")).out.trim()).toBe(shared);
      expect(await sweep("globex", [shared, machine["shared"]!], portsFor(who))).toEqual([
        `tcp ${shared} 7`,
        `tcp ${shared} 80`,
      ]);
      // By that address it is not even its own network's: it lives where its clients are.
      const others = await Promise.all(
        ["acme", "eve"].flatMap((org) => [
          as(org, "dig", "+short", "AAAA", "shared.flycast"),
          as(org, "curl", "-sS", "-m", "3", `http://[${shared}]`),
        ]),
      );
      expect(others.map(({ out }) => out.trim())).toEqual(["", "", "", ""]);
      expect(others.map(({ code }) => code)).toEqual([0, 7, 0, 7]);
    });

    test("flycast proxy brings a private port outside as a client of the network that was named, and wakes what it touches", async () => {
      const { machine: id = "" } = await node.until(({ event, app }) => event === "started" && app === "shop");
      expect((await node.cli("machines", "stop", id, "-a", "shop")).code).toBe(0);
      const shop = await localPort(node, "0:7", "shop.flycast", "-o", "globex");
      const socket = connect(shop.port, "127.0.0.1", () => socket.write("hello"));
      expect(String((await once(socket, "data"))[0])).toBe("hello");
      socket.destroy();
      expect(node.count(({ event, app }) => event === "wake" && app === "shop")).toBeGreaterThan(1);
      await shop.end();

      const foreign = await localPort(node, "0:7", "shop.flycast", "-o", "eve");
      const refused = connect(foreign.port, "127.0.0.1");
      expect(((await once(refused, "error")) as NodeJS.ErrnoException[])[0]?.code).toBe("ECONNRESET");
      expect(await foreign.end()).toContain("note: shop.flycast has no address on this network now\n");
    });

    test("an address that is allocated serves at once, and one that is released does not", async () => {
      const made = await node.cli("ips", "allocate-v6", "--private", "-a", "ledger", "-o", "globex", "--json");
      const { ip } = JSON.parse(made.out) as { ip: string };
      expect(ip.startsWith(door["globex"]!.replace("::3", ":"))).toBe(true);
      expect((await as("globex", "curl", "-sS", "-m", "10", "http://ledger.flycast")).out).toBe("ledger heard you\n");
      expect((await as("eve", "curl", "-sS", "-m", "3", `http://[${ip}]`)).code).toBe(7);
      expect((await node.cli("ips", "release", "-a", "ledger", ip)).code).toBe(0);
      // Its network's other addresses have that port, so it is the proxy that resets what comes for this one.
      const late = await as("globex", "curl", "-sS", "-m", "3", `http://[${ip}]`);
      expect(late.out).toBe("");
      expect([7, 56]).toContain(late.code);
      expect((await as("globex", "dig", "+short", "AAAA", "ledger.flycast")).out.trim()).toBe("");
    });

    // Who is not root cannot forge at all; Machines that try are in test/network/linux/isolation.test.ts.
    if (who !== "root") return;
    test("packets with a forged source are seen nowhere", async () => {
      const attacker = await administratorOn(node, "eve");
      const victim = machineProcess("ledger", node.folder);
      const forged = [
        machine["shared"]!,
        machine["shop"]!,
        address["ledger"]!,
        machine["ledger"]!.replace(/:2$/, ":9"),
      ];
      const seen = await capture(victim, async () => {
        for (const source of forged) {
          await run([...attacker, "ip", "addr", "add", `${source}/128`, "dev", "eth0", "nodad"]);
          const targets = [machine["ledger"]!, address["ledger"]!, door["acme"]!].filter((target) => target !== source);
          const ran = await Promise.all(
            targets.flatMap((target) => [
              run([...attacker, "ping", "-c2", "-i0.2", "-W1", "-I", source, target]),
              run([...attacker, "curl", "-sS", "-m", "1", "--interface", source, `http://[${target}]:8080`]),
              run([...attacker, "dig", "+time=1", "+tries=1", "-b", source, `@${target}`, "ledger.internal"]),
            ]),
          );
          for (const { out } of ran) expect(out).not.toMatch(/heard you|[1-9] received|status: NOERROR/);
          await run([...attacker, "ip", "addr", "del", `${source}/128`, "dev", "eth0"]);
        }
        // Last, so that all that came before has been seen: a packet that may pass.
        const allowed = await as("acme", "ping", "-c1", "-W3", machine["ledger"]!);
        expect(allowed.code, allowed.out).toBe(0);
      });
      expect(seen).toMatch(/ICMP6, echo request/);
      expect(seen.split("\n").filter((line) => forged.some((source) => line.includes(` ${source} > `)))).toEqual([]);
      expect(seen.match(/echo request/g)).toHaveLength(1);
    });
  });
}

/** `flycast proxy`, as the node's user. `end` gives what it said on standard error. */
async function localPort(
  node: Up,
  ...args: readonly string[]
): Promise<{ readonly port: number; end(): Promise<string> }> {
  const [file = "", ...rest] = [...node.on, ...asWho(node.who), process.execPath, FLYCAST, "proxy", ...args];
  const child = spawn(file, rest, { cwd: node.folder, stdio: ["ignore", "pipe", "pipe"] });
  keepers.push(() => child.kill("SIGKILL"));
  let said = "";
  child.stderr.setEncoding("utf8").on("data", (text: string) => (said += text));
  const [line] = (await once(child.stdout.setEncoding("utf8"), "data")) as [string];
  return {
    port: Number(/^Proxying localhost:(\d+) to remote/.exec(line)?.[1]),
    async end() {
      const closed = once(child, "close");
      child.kill("SIGINT");
      expect(await closed).toEqual([0, null]);
      return said;
    },
  };
}

/** argv that enters a client's namespaces on a network with all rights of root: what no Machine ever has. */
async function administratorOn(node: Up, org: string): Promise<readonly string[]> {
  const token = readFileSync(join(node.folder, ".flycast", "token"), "utf8").trim();
  const { api } = await node.ready();
  const response = await fetch(`${api}/flycast/v1/clients`, {
    method: "POST",
    headers: { authorization: `Bearer ${token}`, "content-type": "application/json" },
    body: JSON.stringify({ org }),
  });
  const { enter } = (await response.json()) as { enter: string[] };
  const argv = enter.slice(0, enter.indexOf("setpriv"));
  // The node lets go of the namespace soon: a process of ours keeps it.
  const keeper = spawn("env", [...argv, "sleep", "120"], { stdio: "ignore" });
  keepers.push(() => keeper.kill("SIGKILL"));
  return argv;
}

const keepers: (() => void)[] = [];
afterAll(() => {
  for (const end of keepers) end();
});

/** The main process of an app's Machine. */
function machineProcess(name: string, folder: string): number {
  const found = readdirSync("/proc").find((pid) => {
    try {
      const environment = readFileSync(`/proc/${pid}/environ`, "utf8").split("\0");
      const isMain = readFileSync(`/proc/${pid}/cmdline`, "utf8").endsWith("server.mjs\0");
      return (
        isMain && environment.includes(`FLY_APP_NAME=${name}`) && readFileSync(`/proc/${pid}/mountinfo`, "utf8") !== ""
      );
    } catch {
      return false;
    }
  });
  if (found === undefined) throw new Error(`no Machine of ${name} runs in ${folder}`);
  return Number(found);
}

/** What tcpdump sees in the network of a process while something happens. */
async function capture(pid: number, what: () => Promise<void>): Promise<string> {
  const argv = ["--target", `${pid}`, "--net", "tcpdump", "-n", "-l", "--immediate-mode", "-i", "any", "ip or ip6"];
  const tcpdump = spawn("nsenter", argv, { stdio: ["ignore", "pipe", "pipe"] });
  let said = "";
  let seen = "";
  tcpdump.stdout.setEncoding("utf8").on("data", (text: string) => (seen += text));
  const listening = new Promise<void>((resolve, reject) => {
    tcpdump.once("exit", () => reject(new Error(`tcpdump ended: ${said}`)));
    tcpdump.stderr.setEncoding("utf8").on("data", (text: string) => {
      said += text;
      if (said.includes("listening on")) resolve();
    });
  });
  await listening;
  await what();
  const ended = new Promise((resolve) => tcpdump.once("close", resolve));
  tcpdump.kill("SIGINT");
  await ended;
  return seen;
}
