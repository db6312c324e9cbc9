/**
 * What a client of one network feels while clients of another one flood the proxy: time from connecting to the first byte of the
 * answer, on new connections at a steady pace, through the built program in lab mode.
 *   node benchmarks/fairness/run.mjs [--rounds 3] [--seconds 6] [--only connections] [--realtime] [--json FILE]
 * The flood needs processors of its own, so each is also aimed at a server that is not Flycast, in a namespace of the lab.
 */
import { spawn } from "node:child_process";
import { chmodSync, cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { loadavg, tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

const here = dirname(fileURLToPath(import.meta.url));
const FLYCAST = process.env.FLYCAST ?? join(here, "../../dist/cli/flycast.js");
const { values } = parseArgs({
  options: {
    rounds: { type: "string", default: "3" },
    seconds: { type: "string", default: "6" },
    only: { type: "string" },
    json: { type: "string" },
    realtime: { type: "boolean", default: false },
  },
});
const seconds = Number(values.seconds);
/** A flood is told from a crowd that comes once by its going on: 2,000 connections come free. */
const BEFORE = 5;
/** What the flooder asks of the proxy; 443 begins with a handshake of TLS, and nobody ever answers behind 9. */
const FLOODS = {
  connections: { kind: "connect", app: "loud", port: 7, clients: 200 },
  requests: { kind: "serve", app: "loud", port: 7, clients: 200 },
  waiters: { kind: "wait", app: "asleep", port: 9, clients: 500 },
  handshakes: { kind: "tls", app: "loud", port: 443, clients: 100 },
};

const folder = mkdtempSync(join(tmpdir(), "flycast-bench-"));
chmodSync(folder, 0o755);
for (const file of ["server.mjs", "flood.mjs", "victim.mjs"]) cpSync(join(here, file), join(folder, file));
const port = (number, handlers = "") => `[[services.ports]]\nport = ${number}\n${handlers}`;
const fly = (app, ports) =>
  `app = "${app}"\n[[services]]\nprotocol = "tcp"\ninternal_port = 7\nauto_stop_machines = "off"\n` +
  `[services.concurrency]\ntype = "connections"\nsoft_limit = 100000\n${ports}`;
const files = {
  "quiet/fly.toml": fly("quiet", port(7)),
  "loud/fly.toml": fly(
    "loud",
    port(7) + port(443, 'handlers = ["tls"]\n[services.ports.tls_options]\ndefault_self_signed = true\n'),
  ),
  // Without services: it runs from the start, and is reached by its own address.
  "sink/fly.toml": 'app = "sink"\n',
  "asleep/fly.toml": fly("asleep", port(9)),
  "flycast.toml":
    `[apps.quiet]\npath = "quiet"\ncommand = "node ${folder}/server.mjs"\n` +
    `[apps.loud]\npath = "loud"\norg = "crowd"\ncommand = "node ${folder}/server.mjs"\n` +
    `[apps.sink]\npath = "sink"\norg = "crowd"\ncommand = "node ${folder}/server.mjs"\n` +
    `[apps.asleep]\npath = "asleep"\norg = "crowd"\ncommand = "sleep 1000"\n`,
};
for (const [path, text] of Object.entries(files)) {
  mkdirSync(join(folder, dirname(path)), { recursive: true });
  writeFileSync(join(folder, path), text.replaceAll('"off"', path.startsWith("asleep") ? '"stop"' : '"off"'));
}

// Everybody alike, before whatever else the computer does.
const before = values.realtime ? ["chrt", "-r", "1"] : [];
const run = (command, args, onLine) => {
  const [first, ...rest] = [...before, command, ...args];
  const child = spawn(first, rest, { cwd: folder, stdio: ["ignore", "pipe", "inherit"] });
  const done = new Promise((resolve, reject) => {
    let text = "";
    child.stdout.setEncoding("utf8").on("data", (chunk) => {
      text += chunk;
      onLine?.(text);
    });
    child.on("close", (code) => (code === 0 ? resolve(text) : reject(new Error(`${command} ${args} ended: ${code}`))));
  });
  return { child, done };
};
const exec = (org, file, ...args) =>
  run(process.execPath, [FLYCAST, "exec", "--org", org, "--", "node", join(folder, file), ...args.map(String)]);

const pick = (list, share) => list[Math.min(list.length - 1, Math.floor(list.length * share))];
async function measure(flood) {
  const flooding = flood && exec("crowd", "flood.mjs", ...flood, BEFORE + seconds + 1).done;
  const feeling = async () => {
    await new Promise((resolve) => setTimeout(resolve, flood ? BEFORE * 1000 : 1000));
    return JSON.parse(await exec("personal", "victim.mjs", "quiet.flycast", 7, seconds).done);
  };
  const [{ times, failed }, count] = await Promise.all([feeling(), flooding]);
  times.sort((a, b) => a - b);
  const [p50, p90, p99] = [0.5, 0.9, 0.99].map((share) => pick(times, share));
  return { p50, p90, p99, max: times.at(-1), failed, flood: Number(count) };
}

const median = (list) => list.toSorted((a, b) => a - b)[list.length >> 1];
const report = { node: process.version, date: new Date().toISOString(), load: loadavg()[0], results: {} };
const node = run(process.execPath, [FLYCAST, "up", folder, "--json", "--network-mode", "lab", "--egress", "none"]);
node.done.catch(() => {});
try {
  await new Promise((resolve) => {
    let all = "";
    node.child.stdout.on("data", (chunk) => (all += chunk).includes('"event":"ready"') && resolve());
  });
  await measure(); // warms everything up
  for (const [name, { kind, app, port: number, clients }] of Object.entries(FLOODS)) {
    if (values.only !== undefined && values.only !== name) continue;
    const rounds = { alone: [], control: [], flood: [] };
    for (let round = 0; round < Number(values.rounds); round++) {
      rounds.alone.push(await measure());
      rounds.control.push(await measure(["connect", "sink.internal", 8, clients]));
      rounds.flood.push(await measure([kind, `${app}.flycast`, number, clients]));
    }
    report.results[name] = rounds;
    for (const [what, list] of Object.entries(rounds)) {
      const of = (key) =>
        median(list.map((r) => r[key]))
          .toFixed(2)
          .padStart(7);
      const each = list.map((r) => r.p99.toFixed(1)).join(" ");
      console.log(
        `${name.padEnd(12)}${what.padEnd(8)} p50 ${of("p50")}  p90 ${of("p90")}  p99 ${of("p99")} ms (${each})` +
          `  max ${of("max")}  failed ${list.reduce((sum, r) => sum + r.failed, 0)}` +
          (what === "alone"
            ? ""
            : `  flood ${Math.round(median(list.map((r) => r.flood)) / (BEFORE + seconds + 1))}/s`),
      );
    }
  }
  if (values.json !== undefined) writeFileSync(values.json, `${JSON.stringify(report, null, 2)}\n`);
} finally {
  node.child.kill("SIGINT");
  await node.done.catch(() => {});
  rmSync(folder, { recursive: true, force: true });
}
