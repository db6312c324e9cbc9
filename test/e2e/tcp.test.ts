import { spawn, spawnSync } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { Client } from "pg";
import postgres from "postgres";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { postgresFolder } from "../proxy/postgres-server.ts";
import { cannotPlay, clean, eventually, leftovers, run, Up, workspaceOf, type UpEvent } from "./support.ts";

const RUN_POSTGRES = readFileSync(fileURLToPath(new URL("../../examples/postgres/db/run.sh", import.meta.url)), "utf8");
const CI = process.env["CI"] === "true";
const missing = (...programs: string[]): boolean =>
  !CI && programs.some((program) => spawnSync("sh", ["-c", `PATH=$PATH:/usr/sbin command -v ${program}`]).status !== 0);

const service = (app: string, port: number, more = ""): string =>
  `app = "${app}"\nkill_signal = "SIGINT"\n${more}[[services]]\nprotocol = "tcp"\ninternal_port = ${port}\n` +
  `auto_stop_machines = "stop"\n[services.concurrency]\ntype = "connections"\nsoft_limit = ${app === "pair" ? 1 : 100}\n` +
  `[[services.ports]]\nport = ${port}\n`;
const VOLUME = '[[mounts]]\nsource = "pg_data"\ndestination = "/data"\n';
const SINK = `
const { createServer } = require("net"), { createHash } = require("crypto");
createServer({ allowHalfOpen: true }, (socket) => {
  const hash = createHash("sha256");
  socket.on("error", () => {}).on("data", (bytes) => hash.update(bytes)).on("end", () => socket.end(hash.digest("hex")));
}).listen(process.env.PORT ?? 7000, process.env.HOST ?? "::");
`;
const SSHD = `
keys=$(mktemp -d)
trap 'rm -rf "$keys"' EXIT
ssh-keygen -q -t ed25519 -N "" -f "$keys/host"
/usr/sbin/sshd -D -e -f /dev/null -p "\${PORT:-2222}" -o "ListenAddress=\${HOST:-::}" -h "$keys/host" -o PidFile=none &
trap 'kill $!' INT TERM
wait
`;
const FILES = {
  "flycast.toml": `
[autostop]
interval = "100ms"
idle = "300ms"
[apps.db]
path = "db"
command = "sh run.sh"
idle_sessions = "end"
[apps.pair]
path = "pair"
command = "sh run.sh"
machines = { dev = 2 }
[apps.cache]
path = "cache"
command = "sh run.sh"
[apps.shell]
path = "shell"
command = "sh run.sh"
[apps.sink]
path = "sink"
command = "node sink.js"
[apps.perf]
path = "perf"
command = "sh run.sh"
`,
  "db/fly.toml": service("db", 5432, VOLUME),
  "db/run.sh": RUN_POSTGRES,
  "pair/fly.toml": service("pair", 5432, VOLUME),
  "pair/run.sh": RUN_POSTGRES,
  "cache/fly.toml": service("cache", 6379),
  "cache/run.sh":
    'exec redis-server --port "${PORT:-6379}" --bind "${HOST:-::}" --save "" --protected-mode no --logfile /dev/null\n',
  "shell/fly.toml": service("shell", 2222),
  "shell/run.sh": SSHD,
  "sink/fly.toml": service("sink", 7000),
  "sink/sink.js": SINK,
  "perf/fly.toml": service("perf", 5201),
  "perf/run.sh": 'exec iperf3 -s -p "${PORT:-5201}" -B "${HOST:-::}" >/dev/null\n',
};

for (const mode of ["lab", "loopback"]) {
  const unable = cannotPlay("user");
  describe.skipIf(unable !== undefined && !CI)(`TCP services that sleep, in ${mode} mode`, () => {
    let node: Up;
    beforeAll(async () => {
      node = new Up(workspaceOf(FILES, "user"), "user", ["--network-mode", mode]);
      await node.ready();
    });
    afterAll(async () => {
      await node.stop("SIGKILL");
      await eventually(
        () => leftovers(node.folder),
        (left) => left.length === 0,
      );
      clean(node.folder);
    });

    const of = (app: string, event: string) => (e: UpEvent) => e.app === app && e.event === event;
    const count = (app: string, event: string): number => node.count(of(app, event));
    // By its wakes: the first answer may be here before the word that it has started.
    const asleep = (app: string): Promise<number> =>
      eventually(
        () => count(app, "wake") - count(app, "stopped"),
        (up) => up === 0,
        30_000,
      );
    async function at(app: string, port: number): Promise<{ host: string; port: number }> {
      const [host = "", published = ""] = (await node.published(app, port)).split(":");
      return { host, port: Number(published) };
    }
    const database = async (app: string): Promise<{ host: string; port: number; user: string; database: string }> => ({
      ...(await at(app, 5432)),
      user: "postgres",
      database: "postgres",
    });

    describe.skipIf(postgresFolder() === undefined && !CI)("PostgreSQL", () => {
      // Each of the long ones in one mode: a second run would show nothing new.
      const isLab = mode === "lab";
      test("pg and postgres, as they are, reach a sleeping database; who listens keeps it up, and is told", async () => {
        const where = await database("db");
        const first = new Client(where);
        await first.connect();
        expect((await first.query("select 40 + 2 as sum")).rows).toEqual([{ sum: 42 }]);
        await first.end();

        await asleep("db");
        const sql = postgres({ ...where, max: 3, onnotice: () => {} });
        expect(await Promise.all([1, 2, 3].map(async (n) => (await sql`select ${n}::int as n`)[0]?.["n"]))).toEqual([
          1, 2, 3,
        ]);
        const heard: string[] = [];
        await sql.listen("news", (text) => heard.push(text));
        const stops = count("db", "stopping");
        // Many times `idle`: every session is silent, and one of them listens.
        await new Promise((resolve) => setTimeout(resolve, 1500));
        await sql.notify("news", "still here");
        await eventually(
          () => heard,
          (texts) => texts.length > 0,
        );
        expect(count("db", "stopping")).toBe(stops);
        await sql.end();

        // One that does nothing is ended, and the database sleeps although the client is still there.
        const idle = new Client(where);
        const ended = once(idle, "error");
        idle.on("error", () => {}); // the end of its connection comes behind the reason
        await idle.connect();
        await idle.query("select 1");
        expect((await ended)[0]).toMatchObject({ code: "57P01" });
        await asleep("db");
      });

      test.runIf(isLab && !missing("pgbench"))(
        "new connections all the time while autostop fires among them: no error",
        async () => {
          const { host, port } = await database("db");
          const to = ["-h", host, "-p", String(port), "-U", "postgres"];
          expect((await run(["pgbench", "-i", "-q", ...to, "postgres"])).code).toBe(0);
          await asleep("db");
          const stops = count("db", "stopped");
          const bench = await run(["pgbench", "-n", "-S", "-C", "-c2", "--rate=2", "-T8", ...to, "postgres"]);
          expect(bench.err).not.toMatch(/error|fatal/i);
          expect(bench.out).toContain("number of failed transactions: 0");
          expect(count("db", "stopped")).toBeGreaterThan(stops);
          const crowd = await run(["pgbench", "-n", "-S", "-c50", "-j2", "-t20", ...to, "postgres"]);
          expect(crowd.out).toContain("number of transactions actually processed: 1000/1000");
        },
      );

      test.runIf(!isLab)("a request to cancel reaches the one of two Machines that runs the query", async () => {
        const { host, port } = await database("pair");
        const psql = (sql: string) => {
          const child = spawn("psql", ["-X", "-h", host, "-p", String(port), "-U", "postgres", "-c", sql], {
            stdio: ["ignore", "ignore", "pipe"],
          });
          let said = "";
          child.stderr.on("data", (chunk: Buffer) => (said += chunk.toString()));
          return { child, ended: once(child, "close").then(() => said) };
        };
        const running = (machines: number): Promise<number> =>
          eventually(
            () => count("pair", "started") - count("pair", "stopped"),
            (up) => up === machines,
            30_000,
          );
        const one = psql("select pg_sleep(300)");
        await running(1);
        const two = psql("select pg_sleep(300)");
        await running(2);
        for (const session of [two, one]) {
          // Until its query runs there is nothing to cancel, and psql asks once a signal.
          const again = setInterval(() => session.child.kill("SIGINT"), 200);
          expect(await session.ended).toContain("canceling statement due to user request");
          clearInterval(again);
          if (session === two) expect(one.child.exitCode).toBeNull();
        }
      });
    });

    test.skipIf(missing("redis-server", "redis-benchmark"))("redis-cli and redis-benchmark wake Redis", async () => {
      const { host, port } = await at("cache", 6379);
      expect((await run(["redis-cli", "-h", host, "-p", String(port), "ping"])).out).toBe("PONG\n");
      await asleep("cache");
      const bench = ["redis-benchmark", "-h", host, "-p", String(port), "-n", "2000", "-c", "50", "-t", "set", "-q"];
      const { code, out } = await run(bench);
      expect(out).toMatch(/SET: .*requests per second/);
      expect(code).toBe(0);
      expect(count("cache", "wake")).toBe(2);
    });

    test.skipIf(missing("sshd", "ssh-keyscan"))("an SSH server, which speaks first, shows its key", async () => {
      const { host, port } = await at("shell", 2222);
      const { out } = await run(["ssh-keyscan", "-T", "30", "-t", "ed25519", "-p", String(port), host]);
      expect(out).toContain("ssh-ed25519 ");
      expect(count("shell", "wake")).toBe(1);
    });

    for (const program of ["socat", "ncat"]) {
      test.skipIf(missing(program))(`${program} sends 16 MB, half-closes, and reads the answer`, async () => {
        const { host, port } = await at("sink", 7000);
        const sent = randomBytes(16 * 1024 * 1024);
        const args = program === "socat" ? ["-t", "60", "-", `TCP:${host}:${port}`] : [host, String(port)];
        const child = spawn(program, args, { stdio: ["pipe", "pipe", "ignore"] });
        let answer = "";
        child.stdout.on("data", (chunk: Buffer) => (answer += chunk.toString()));
        child.stdin.on("error", () => {});
        child.stdin.end(sent);
        await once(child, "close");
        expect(answer).toBe(createHash("sha256").update(sent).digest("hex"));
      });
    }

    test.skipIf(missing("iperf3"))("iperf3 measures both directions, four streams each", async () => {
      const { host, port } = await at("perf", 5201);
      const { out, code } = await run(["iperf3", "-c", host, "-p", String(port), "-t1", "-P4", "--bidir", "-J"]);
      expect(JSON.parse(out)).not.toHaveProperty("error");
      expect(code).toBe(0);
    });
  });
}
