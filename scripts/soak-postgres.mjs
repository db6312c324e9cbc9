// Real Postgres clients through databases that sleep, with the clients' own default timeouts, for minutes: `npm run soak:postgres`.
// Everything once with a server of clear text and once with one whose TLS is on (sslmode=prefer). Ends with 1 if anything failed.
//   node scripts/soak-postgres.mjs [--minutes 5] [--gigabytes 1] [--mode lab|loopback] [--only NAME]
// Needs PostgreSQL's programs, openssl and socat; as root it runs the node as nobody, for PostgreSQL refuses root.
import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import pg from "pg";
import postgres from "postgres";

const { values } = parseArgs({
  options: {
    minutes: { type: "string", default: "5" },
    gigabytes: { type: "string", default: "1" },
    mode: { type: "string", default: "lab" },
    only: { type: "string" },
  },
});
const root = fileURLToPath(new URL("..", import.meta.url));
const folder = mkdtempSync(join(tmpdir(), "flycast-soak-"));
const NOBODY = 65_534;
const isRoot = process.getuid?.() === 0;

const service = (app, port, soft) =>
  `app = "${app}"\nkill_signal = "SIGINT"\n[[mounts]]\nsource = "pg_data"\ndestination = "/data"\n[[services]]\nprotocol = "tcp"\n` +
  `internal_port = ${port}\nauto_stop_machines = "stop"\n[services.concurrency]\ntype = "connections"\nsoft_limit = ${soft}\n` +
  `[[services.ports]]\nport = ${port}\n`;
const run = readFileSync(join(root, "examples/postgres/db/run.sh"), "utf8");
const FILES = {
  "flycast.toml": `[autostop]\ninterval = "500ms"\nidle = "1s"\n${["clear", "ssl", "pair"]
    .map(
      (app) =>
        `[apps.${app}]\npath = "${app}"\ncommand = "sh run.sh"\n${app === "pair" ? "machines = { dev = 2 }\n" : ""}`,
    )
    .join("")}[apps.sink]\npath = "sink"\ncommand = "node sink.mjs"\n`,
  "clear/fly.toml": service("clear", 5432, 200),
  "clear/run.sh": run,
  "ssl/fly.toml": service("ssl", 5432, 200),
  "ssl/run.sh": run
    .replace(
      "exec ",
      'if [ ! -s "$data/server.key" ]; then cp server.crt server.key "$data/"; chmod 600 "$data/server.key"; fi\nexec ',
    )
    .replace("-c unix_socket_directories=", "-c unix_socket_directories= -c ssl=on"),
  "pair/fly.toml": service("pair", 5432, 1),
  "pair/run.sh": run,
  "sink/fly.toml": service("sink", 7000, 200),
  "sink/sink.mjs":
    'import { createServer } from "node:net";\nimport { createHash } from "node:crypto";\n' +
    "createServer({ allowHalfOpen: true }, (socket) => {\n" +
    '  const hash = createHash("sha256");\n' +
    '  socket.on("error", () => {}).on("data", (bytes) => hash.update(bytes)).on("end", () => socket.end(hash.digest("hex")));\n' +
    '}).listen(process.env.PORT ?? 7000, process.env.HOST ?? "::");\n',
};
for (const [path, text] of Object.entries(FILES)) {
  mkdirSync(join(folder, path, ".."), { recursive: true });
  writeFileSync(join(folder, path), text);
}
execFileSync(
  "openssl",
  [
    ..."req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=ssl.flycast".split(" "),
    "-keyout",
    join(folder, "ssl/server.key"),
    "-out",
    join(folder, "ssl/server.crt"),
  ],
  { stdio: "ignore" },
);
chmodSync(folder, 0o755);
chmodSync(join(folder, "ssl/server.key"), 0o644);
if (isRoot) {
  for (const entry of ["", ...readdirSync(folder, { recursive: true })]) chownSync(join(folder, entry), NOBODY, NOBODY);
}
const bin = readdirSync("/usr/lib/postgresql")
  .map((v) => `/usr/lib/postgresql/${v}/bin`)
  .findLast((b) => existsSync(`${b}/pgbench`));

// ── The node ────────────────────────────────────────────────────────────────────────────────────────────────────────

const events = [];
let ready;
const node = spawn(
  isRoot ? "setpriv" : process.execPath,
  [
    ...(isRoot ? [`--reuid=${NOBODY}`, `--regid=${NOBODY}`, "--clear-groups", process.execPath] : []),
    process.env.FLYCAST ?? join(root, "dist/cli/flycast.js"),
    "up",
    folder,
    "--json",
    "--network-mode",
    values.mode,
    "--egress",
    "none",
  ],
  { cwd: folder, stdio: ["ignore", "pipe", "inherit"] },
);
const isReady = new Promise((resolve) => (ready = resolve));
let partial = "";
node.stdout.setEncoding("utf8").on("data", (chunk) => {
  const lines = (partial + chunk).split("\n");
  partial = lines.pop();
  for (const line of lines) {
    const event = JSON.parse(line);
    events.push(event);
    if (event.event === "ready") ready(event);
    if (event.event === "failed" || event.event === "problem") console.log("      ", line);
  }
});
const count = (app, name) => events.filter((e) => e.app === app && e.event === name).length;
const awake = (app) => count(app, "started") - count(app, "stopped");

async function until(what, good, seconds = 60) {
  for (let i = 0; i < seconds * 20; i++) {
    if (good()) return;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new Error(`not within ${seconds} s: ${what}`);
}
const asleep = (app) => until(`${app} sleeps`, () => count(app, "wake") === count(app, "stopped"));

// ── Clients ─────────────────────────────────────────────────────────────────────────────────────────────────────────

let services;
const at = (app, port) => {
  const [host, published] = services.find((s) => s.app === app && s.port === port).published.split(":");
  return { host, port: Number(published) };
};
const environment = (app) => {
  const { host, port } = at(app, 5432);
  const mode = app === "ssl" ? "prefer" : "disable";
  return {
    ...process.env,
    PGHOST: host,
    PGPORT: String(port),
    PGUSER: "postgres",
    PGDATABASE: "postgres",
    PGSSLMODE: mode,
  };
};

/** Runs a program to its end; fails with its words unless it ends well. */
async function client(app, command, more = {}) {
  const child = spawn("sh", ["-c", command], {
    cwd: folder,
    env: { ...environment(app), PATH: `${bin}:${process.env.PATH}`, ...more.env },
  });
  let out = "";
  let err = "";
  child.stdout.setEncoding("utf8").on("data", (text) => (out += text));
  child.stderr.setEncoding("utf8").on("data", (text) => (err += text));
  more.begun?.(child);
  const [code] = await once(child, "close");
  if (code !== 0 && more.mayFail !== true) throw new Error(`${command}: exit ${code}: ${err.slice(-500)}`);
  return { out: out.trim(), err };
}
const expect = (found, wanted) => {
  if (found !== wanted)
    throw new Error(`${JSON.stringify(String(found).slice(0, 300))}, not ${JSON.stringify(wanted)}`);
};

const TESTS = {
  async psql(app) {
    expect((await client(app, "psql -XAtc 'select 40 + 2'")).out, "42");
    await asleep(app);
    const line = (await client(app, "psql -Xc '\\conninfo'")).out;
    if (line.includes("SSL") !== (app === "ssl")) throw new Error(line);
    return app === "ssl" ? "by TLS" : "in clear text";
  },
  async crowd(app) {
    await client(app, "pgbench -i -q");
    await asleep(app);
    const wakes = count(app, "wake");
    const { out } = await client(app, "pgbench -n -S -c50 -j2 -t100");
    if (!out.includes("actually processed: 5000/5000")) throw new Error(out);
    expect(count(app, "wake") - wakes, 1);
    return "50 clients, 5,000 transactions, one wake";
  },
  async connecting(app) {
    await client(app, "pgbench -i -q");
    const stops = count(app, "stopped");
    // On average every 1.7 s somebody comes, often after more than the second in which it goes to sleep.
    const seconds = Math.round(Number(values.minutes) * 60);
    const { out, err } = await client(app, `pgbench -n -S -C -c2 --rate=0.6 -T${seconds}`);
    if (/error|fatal/i.test(err) || !out.includes("failed transactions: 0")) throw new Error(out + err);
    const stopped = count(app, "stopped") - stops;
    if (stopped === 0) throw new Error("autostop never fired");
    return `${/processed: (\d+)/.exec(out)[1]} connections in ${seconds} s, ${stopped} stops among them, no error`;
  },
  async copy(app) {
    const rows = Math.round(Number(values.gigabytes) * 1024 * 1024);
    const text = "select repeat('x', 1023) from generate_series(1, " + rows + ")";
    await asleep(app);
    const { out } = await client(app, `psql -XAtc "copy (${text}) to stdout" | wc -c`);
    expect(Number(out), rows * 1024);
    await client(app, "psql -Xc 'drop table if exists filled' -c 'create unlogged table filled (line text)'");
    const filled = `yes $(printf %1023s | tr ' ' y) | head -n ${rows} | psql -Xc 'copy filled from stdin'`;
    expect((await client(app, filled)).out, `COPY ${rows}`);
    await client(app, "psql -Xc 'drop table filled'");
    return `${rows * 1024} bytes each way`;
  },
  async packages(app) {
    const where = { ...at(app, 5432), user: "postgres", database: "postgres" };
    await asleep(app);
    const ssl = app === "ssl" ? { rejectUnauthorized: false } : false;
    const one = new pg.Client({ ...where, ssl });
    await one.connect();
    expect((await one.query("select 40 + $1::int as sum", [2])).rows[0].sum, 42);
    await one.end();
    await asleep(app);
    const sql = postgres({ ...where, ssl, max: 5, onnotice: () => {} });
    const answers = await Promise.all([1, 2, 3, 4, 5].map((n) => sql`select ${n}::int as n`));
    expect(answers.map(([row]) => row.n).join(), "1,2,3,4,5");
    await sql.end();
    return "pg and postgres";
  },
  async listen(app) {
    const ssl = app === "ssl" ? { rejectUnauthorized: false } : false;
    const sql = postgres({ ...at(app, 5432), user: "postgres", database: "postgres", ssl, max: 2, onnotice: () => {} });
    const heard = [];
    await sql.listen("news", (text) => heard.push(text));
    const stops = count(app, "stopped");
    await new Promise((resolve) => setTimeout(resolve, 6000));
    await client(app, "psql -Xc \"notify news, 'still here'\"");
    await until("the listener is told", () => heard.length > 0, 5);
    expect(count(app, "stopped"), stops);
    await sql.end();
    return "heard after six times the idle time";
  },
  async cancel(app) {
    const children = [];
    const begin = () =>
      client(app, "exec psql -Xc 'select pg_sleep(300)'", { mayFail: true, begun: (child) => children.push(child) });
    const first = begin();
    await until("one runs", () => awake(app) === 1);
    const second = begin();
    await until("both run", () => awake(app) === 2);
    for (const [index, session] of [second, first].entries()) {
      // Until its query runs there is nothing to cancel.
      const again = setInterval(() => children[1 - index].kill("SIGINT"), 300);
      const { err } = await session;
      clearInterval(again);
      if (!err.includes("canceling statement due to user request")) throw new Error(err);
      if (index === 0) expect(children[0].exitCode, null);
    }
    return "each its own of two Machines";
  },
};

async function halfClose() {
  const { host, port } = at("sink", 7000);
  const command =
    "head -c 104857600 /dev/urandom >big; sha256sum <big | cut -d' ' -f1; " +
    `socat -t 60 - TCP:${host}:${port} <big; rm big`;
  const child = spawn("sh", ["-c", command], { cwd: folder, stdio: ["ignore", "pipe", "inherit"] });
  let out = "";
  child.stdout.on("data", (text) => (out += text));
  await once(child, "close");
  const [sent, received] = out.split("\n");
  expect(received, sent);
  return "100 MB, their sum came back after the half-close";
}

/** A scan of the port wakes nobody. */
async function scan() {
  await asleep("clear");
  const wakes = count("clear", "wake");
  for (let i = 0; i < 20; i++) {
    const socket = connect(at("clear", 5432));
    await once(socket, "connect");
    socket.destroy();
  }
  expect(count("clear", "wake"), wakes);
  return "20 connections without a word, no wake";
}

let failures = 0;
async function step(name, work) {
  if (values.only !== undefined && !name.includes(values.only)) return;
  const begun = performance.now();
  const seconds = () => `${((performance.now() - begun) / 1000).toFixed(1)} s`.padStart(8);
  try {
    console.log(`ok   ${name.padEnd(20)} ${await work()}  ${seconds()}`);
  } catch (thrown) {
    failures++;
    console.log(`FAIL ${name.padEnd(20)} ${thrown.message}  ${seconds()}`);
  }
}

try {
  ({ services } = await isReady);
  for (const app of ["clear", "ssl"]) {
    for (const name of ["psql", "packages", "crowd", "listen", "copy", "connecting"])
      await step(`${name} ${app}`, () => TESTS[name](app));
  }
  await step("cancel", () => TESTS.cancel("pair"));
  await step("scan", scan);
  await step("half-close", halfClose);
} finally {
  node.kill("SIGINT");
  await once(node, "close");
  rmSync(folder, { recursive: true, force: true });
}
process.exitCode = failures === 0 ? 0 : 1;
