import { once } from "node:events";
import { spawn, type ChildProcess } from "node:child_process";
import { readdirSync, readFileSync, readlinkSync, statSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { networkOf, parseIp6 } from "../../../src/network/address.ts";
import { cannotPlay, clean, eventually, leftovers, Up, workspaceOf, type Who } from "../../e2e/support.ts";
import { cannotMakeComputers, Computer, run, type Laptop } from "./computer.ts";

/** Says who it is and who asks; `/big` is four megabytes; on port 7 it echoes. */
const SERVER = `
import { createServer } from "node:http";
import { createServer as tcp } from "node:net";
createServer((request, response) => {
  if (request.url === "/big") return response.end(Buffer.alloc(4 << 20, "x"));
  response.end(process.env.FLY_APP_NAME + " called by " + (request.headers["fly-client-ip"] ?? request.socket.remoteAddress) + "\\n");
}).listen(8080, "::");
tcp((socket) => socket.on("error", () => undefined).pipe(socket)).listen(7777, "::");
`;
const flyToml = (app: string, autostop: string): string => `app = "${app}"
[[services]]
internal_port = 8080
auto_stop_machines = "${autostop}"
[[services.ports]]
port = 80
handlers = ["http"]
[[services]]
internal_port = 7777
auto_stop_machines = "${autostop}"
[[services.ports]]
port = 7
`;
const FILES = {
  "flycast.toml": `[node]
region = "iad"
network_mode = "lab"
wireguard = "0.0.0.0:51820"
wireguard_endpoint = "${Computer.address(1)}"
[autostop]
interval = "1s"
idle = "1s"
[apps.web]
command = "${process.execPath} server.mjs"
[apps.spy]
org = "globex"
command = "${process.execPath} server.mjs"
`,
  "web/fly.toml": flyToml("web", "stop"),
  "web/server.mjs": SERVER,
  "spy/fly.toml": flyToml("spy", "off"),
  "spy/server.mjs": SERVER,
};

const PLAYS: readonly { readonly who: Who; readonly withoutNft: boolean }[] = [
  { who: "root", withoutNft: false },
  { who: "user", withoutNft: false },
  { who: "user", withoutNft: true },
];
const UNABLE = cannotMakeComputers();

for (const { who, withoutNft } of PLAYS) {
  const unable = UNABLE ?? cannotPlay(who);
  const guard = withoutNft ? "without nftables" : "with nftables";
  describe.skipIf(unable !== undefined && process.env["CI"] !== "true")(
    `WireGuard into the lab of ${who}, ${guard}`,
    () => {
      let computer: Computer;
      let node: Up;
      let laptop: Laptop;
      let spyAddress = "";

      const boot = async (folder: string): Promise<Up> => {
        const up = new Up(folder, who, [], [...computer.enter, "env", "-C", folder]);
        await up.ready();
        return up;
      };
      /** What goes to a Machine directly keeps nobody awake: so a connection to its Flycast address does. */
      const whileAwake = async (what: () => Promise<void>): Promise<void> => {
        const held = spawnIn(laptop, process.execPath, "-e", HOLD, "web.flycast");
        await once(held.stdout!, "data");
        await what().finally(() => held.kill("SIGKILL"));
      };
      const create = async (name: string, ...more: string[]): Promise<string> => {
        const made = await node.cli("wireguard", "create", "personal", "iad", name, "stdout", ...more);
        expect(made.code, made.err).toBe(0);
        return made.out;
      };
      /** A client whose gateway began anew: it is served again. */
      const againThere = async (): Promise<void> => {
        const answer = await eventually(
          async () => {
            await laptop.rehandshake();
            return laptop.run("curl", "-sS", "-m", "2", "http://web.flycast");
          },
          ({ out }) => out !== "",
          30_000,
        );
        expect(answer.out).toContain("web called by");
      };
      /** Addresses of an app's Machines, by DNS as its own network sees it. */
      const machineOf = async (app: string, org: string): Promise<string> => {
        await node.cli("exec", "-o", org, "--", "curl", "-s", `http://${app}.flycast`);
        return (await node.cli("dig", "--short", "-o", org, `${app}.internal`)).out.trim();
      };

      beforeAll(async () => {
        computer = await Computer.boot({ withoutNft });
        node = await boot(workspaceOf(FILES, who));
        spyAddress = (await node.ready()).services.find(({ app }) => app === "spy")?.address ?? "";
        laptop = await computer.laptop();
        await laptop.join(await create("laptop"));
      }, 60_000);
      afterAll(async () => {
        await node?.stop("SIGKILL");
        await computer?.end();
        if (node !== undefined) clean(node.folder);
      }, 30_000);

      test("a laptop wakes an app by its name", async () => {
        const from = node.events.length;
        const answer = await laptop.run("curl", "-sS", "-m", "20", "http://web.flycast");
        expect(answer.err).toBe("");
        expect(answer.out).toMatch(/^web called by fdaa:.*:a7b::a:102\n$/);
        const wake = await node.until(({ event, app }) => event === "wake" && app === "web", Math.max(0, from - 5));
        expect(String(wake["by"])).toMatch(/:a7b::a:102\]/);
      });

      test("it asks <prefix>::3, finds itself there, and pings", async () => {
        expect((await laptop.run("dig", "+short", "AAAA", "laptop._peer.internal")).out).toMatch(/:a7b::a:102\n$/);
        expect((await laptop.run("dig", "+short", "+tcp", "TXT", "_peer.internal")).out).toBe('"laptop"\n');
        expect((await laptop.run("ping", "-c1", "-W3", "web.flycast")).code).toBe(0);
      });

      test("it reaches Machines directly, whatever the size of their packets", async () => {
        await whileAwake(async () => {
          const machine = await machineOf("web", "personal");
          for (const host of [`[${machine}]:8080`, "web.flycast"]) {
            const whole = await laptop.run("sh", "-c", `curl -sS -m 20 http://${host}/big | wc -c`);
            expect(whole).toMatchObject({ out: `${4 << 20}\n`, err: "" });
          }
        });
      });

      test("a Machine reaches the laptop", async () => {
        const ping = await node.cli("exec", "--", "ping", "-c1", "-W3", "laptop._peer.internal");
        expect(ping.code, ping.out + ping.err).toBe(0);
      });

      test("it reaches nothing of another organisation, whatever it sends through its tunnel", async () => {
        const spyMachine = await machineOf("spy", "globex");
        expect(spyMachine).toMatch(/^fdaa:/);
        const gateway = (await laptop.run("wg", "show", "wg0", "peers")).out.trim();
        await laptop.run("wg", "set", "wg0", "peer", gateway, "allowed-ips", "::/0,0.0.0.0/0");
        await laptop.run("ip", "-6", "route", "add", "fdaa::/16", "dev", "wg0");
        const other = parseIp6(spyAddress);
        const prefix = (other.ok ? networkOf(other.value) : 0) ?? 0;
        const dns = `fdaa:${(prefix >>> 16).toString(16)}:${(prefix & 0xffff).toString(16)}::3`;
        const tries = [
          ...[
            `http://[${spyAddress}]`,
            `http://[${spyAddress}]:7`,
            `http://[${spyMachine}]:8080`,
            `http://[${dns}]:4280`,
          ].map((url) => ["curl", "-sS", "-m", "2", url]),
          ["dig", "+short", "+time=1", "+tries=1", `@${dns}`, "AAAA", "spy.flycast"],
          ["ping", "-c1", "-W1", spyAddress],
          ["ping", "-c1", "-W1", spyMachine],
          ["dig", "+short", "+time=1", "+tries=1", "AAAA", "spy.flycast"],
          ["dig", "+short", "+time=1", "+tries=1", "AAAA", "spy.internal"],
        ];
        const ran = await Promise.all(tries.map((command) => laptop.run(...command)));
        for (const [index, { out }] of ran.entries())
          expect(out, tries[index]?.join(" ")).not.toMatch(/called by|^fdaa:|1 received/m);
        expect(ran.slice(0, 4).map(({ code }) => code === 7 || code === 28)).toEqual([true, true, true, true]);
      });

      test("a source that is not its own gets nothing through", async () => {
        await whileAwake(forgeSources);
        // The tunnel itself is none the worse.
        expect((await laptop.run("curl", "-sS", "-m", "20", "http://web.flycast")).out).toContain("web called by");
      });

      const forgeSources = async (): Promise<void> => {
        const machine = await machineOf("web", "personal");
        const spyMachine = await machineOf("spy", "globex");
        const stranger = machine.replace(/:[0-9a-f]+:2$/, ":beef:2");
        const peer = stranger.replace(/(^fdaa:[0-9a-f]+:[0-9a-f]+).*/, "$1:a7b::a:202");
        const tried = await Promise.all(
          [spyMachine, machine, stranger, peer].map(async (forged) => {
            await laptop.run("ip", "addr", "add", `${forged}/128`, "dev", "wg0", "nodad");
            const urls = [`http://[${machine}]:8080`, `http://[${spyAddress}]`, "http://web.flycast"];
            const answers = await Promise.all(
              urls.map((url) => laptop.run("curl", "-sS", "-m", "2", "--interface", forged, url)),
            );
            await laptop.run("ip", "addr", "del", `${forged}/128`, "dev", "wg0");
            return answers.map(({ out }) => out);
          }),
        );
        expect(tried.flat().filter((out) => out !== "")).toEqual([]);
      };

      test("any address of its /120 is its own, as flyctl's agent has it", async () => {
        const own = (await laptop.run("dig", "+short", "AAAA", "laptop._peer.internal")).out.trim();
        const masked = own.replace(/02$/, "00");
        await laptop.run("ip", "addr", "add", `${masked}/128`, "dev", "wg0", "nodad");
        const answer = await laptop.run("curl", "-sS", "-m", "10", "--interface", masked, "http://web.flycast");
        await laptop.run("ip", "addr", "del", `${masked}/128`, "dev", "wg0");
        expect(answer.out).toMatch(/:a7b::a:100\n$/);
      });

      test("a removed peer is cut at once: its connections end, and its Machine may sleep", async () => {
        const second = await computer.laptop();
        await second.join(await create("second"), Computer.address(2));
        const from = node.events.length;
        // As long as it stands, it holds the Machine.
        const held = spawnIn(second, process.execPath, "-e", HOLD, "web.flycast");
        await once(held.stdout!, "data");
        const removed = await node.cli("wireguard", "remove", "personal", "second");
        expect(removed.out).toBe('Removing WireGuard peer "second" for organization personal\nRemoved peer.\n');
        await node.until(({ event, app }) => event === "stopped" && app === "web", from);
        held.kill("SIGKILL");
        expect((await second.run("curl", "-sS", "-m", "1", `http://web.flycast`)).out).toBe("");
        expect((await laptop.run("curl", "-sS", "-m", "20", "http://web.flycast")).out).toContain("web called by");
        expect((await laptop.run("dig", "+short", "AAAA", "second._peer.internal")).out).toBe("");
      });

      // What follows has nothing to do with the way in which networks are kept apart.
      if (withoutNft) return;

      test("a hundred peers come and go, and a tunnel that stands notices nothing", async () => {
        // Every round trip of the echo is counted; a single one that fails ends it.
        const traffic = spawnIn(laptop, process.execPath, "-e", ECHO, "web.flycast");
        await once(traffic.stdout!, "data");
        const client = [...computer.enter, process.execPath, "--input-type=module", "-e", HUNDRED];
        const token = readFileSync(join(node.folder, ".flycast", "token"), "utf8").trim();
        const { api } = await node.ready();
        const ran = await run([...client, api, token]);
        expect(ran, ran.err).toMatchObject({ code: 0 });
        expect(JSON.parse(ran.out)).toEqual({ made: 100, listed: 101, gone: 100, left: 1 });
        traffic.stdin?.end();
        let said = "";
        traffic.stdout?.on("data", (text: Buffer) => (said += text.toString()));
        await once(traffic, "close");
        expect(said).toMatch(/^\d+ round trips, longest (?:\d{1,3}|1\d{3}) ms\n$/);
        expect(said).not.toMatch(/^0 /);
      });

      test("strangers cost nothing and get no answer", async () => {
        const flood = [...laptop.enter, process.execPath, "-e", FLOOD, Computer.address(1)];
        const ran = await run(flood);
        expect(ran).toMatchObject({ code: 0, out: "0 answers\n" });
        expect((await laptop.run("curl", "-sS", "-m", "20", "http://web.flycast")).out).toContain("web called by");
      });

      test("when the tunnels end, new ones take their place", async () => {
        const [pid] = gateways();
        process.kill(pid!, "SIGKILL");
        await node.until(({ event }) => event === "problem");
        await eventually(gateways, (all) => all.length === 1 && all[0] !== pid);
        await againThere();
      }, 60_000);

      test("after kill -9 nothing is left, and the next start knows its peers and its key", async () => {
        const { folder } = node;
        expect(statSync(join(folder, ".flycast", "keys", "wireguard.key")).mode & 0o777).toBe(0o600);
        await node.stop("SIGKILL");
        await eventually(
          () => [...gateways(), ...leftovers(folder)],
          (left) => left.length === 0,
        );
        const links = await run([...computer.enter, "ip", "-o", "link"]);
        expect(links.out).not.toContain("flycast");
        node = await boot(folder);
        await againThere();
        await node.stop();
        expect([...gateways(), ...leftovers(folder)]).toEqual([]);
      }, 60_000);

      /** wireguard-go of this computer's node. */
      const gateways = (): readonly number[] => gatewaysUnder(node.folder);
    },
  );
}

/** Ten bytes there and back, again and again until told to end. */
const ECHO = `
const socket = require("net").connect(7, process.argv[1]);
let count = 0, longest = 0, sent = 0, ending = false;
const send = () => { sent = performance.now(); socket.write("0123456789"); };
socket.on("connect", () => { console.log("connected"); send(); });
socket.on("data", () => {
  count++;
  longest = Math.max(longest, Math.round(performance.now() - sent));
  if (ending) { console.log(count + " round trips, longest " + longest + " ms"); process.exit(0); }
  setImmediate(send);
});
socket.on("error", (error) => { console.log("failed: " + error.message); process.exit(1); });
process.stdin.on("end", () => { ending = true; }).resume();
`;

/** One connection, kept for ever. */
const HOLD = `
const socket = require("net").connect(7, process.argv[1]).on("error", () => undefined);
socket.on("data", () => console.log("held"));
socket.write("x");
setInterval(() => undefined, 1000);
`;

/** Makes a hundred peers at once, lists them, and removes them at once. */
const HUNDRED = `
import { generateKeyPairSync } from "node:crypto";
const [api, token] = process.argv.slice(1);
const call = async (method, path, body) => {
  const response = await fetch(api + "/flycast/v1" + path, { method, headers: { authorization: "Bearer " + token, "content-type": "application/json" }, ...(body ? { body: JSON.stringify(body) } : {}) });
  if (!response.ok) throw new Error(method + path + " " + response.status + " " + await response.text());
  return response.status === 204 ? undefined : response.json();
};
const key = () => Buffer.from(generateKeyPairSync("x25519").publicKey.export({ format: "jwk" }).x, "base64url").toString("base64");
const names = Array.from({ length: 100 }, (_, i) => "peer-" + i);
const made = await Promise.all(names.map((name) => call("POST", "/peers", { name, public_key: key() })));
const listed = (await call("GET", "/peers")).peers.length;
const gone = await Promise.all(names.map((name) => call("DELETE", "/peers/" + name)));
const left = (await call("GET", "/peers")).peers.length;
console.log(JSON.stringify({ made: made.length, listed, gone: gone.length, left }));
`;

/** Datagrams of every kind from two thousand ports; says how many came back. */
const FLOOD = `
const { createSocket } = require("dgram");
const { randomBytes } = require("crypto");
const kinds = [[1, 148], [2, 92], [3, 64], [4, 32], [4, 1424], [9, 100], [0, 1]];
let answers = 0, open = 0;
for (let i = 0; i < 2000; i++) {
  const socket = createSocket("udp4").on("error", () => undefined).on("message", () => answers++);
  const [type, length] = kinds[i % kinds.length];
  const datagram = randomBytes(length);
  if (length >= 4) datagram.writeUInt32LE(type, 0);
  open++;
  socket.send(datagram, 51820, process.argv[1], () => setTimeout(() => { socket.close(); if (--open === 0) console.log(answers + " answers"); }, 500));
}
`;

const children: ChildProcess[] = [];
afterAll(() => {
  for (const child of children) child.kill("SIGKILL");
});

function spawnIn(laptop: Laptop, ...command: readonly string[]): ChildProcess {
  const [file = "", ...args] = [...laptop.enter, ...command];
  const child = spawn(file, args, { stdio: ["pipe", "pipe", "inherit"] });
  children.push(child);
  return child;
}

function gatewaysUnder(folder: string): readonly number[] {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .filter((pid) => {
      try {
        const isOne = readFileSync(`/proc/${pid}/cmdline`, "utf8").includes("flycast-wg");
        return isOne && readlinkSync(`/proc/${pid}/cwd`).includes(folder);
      } catch {
        return false;
      }
    })
    .map(Number);
}
