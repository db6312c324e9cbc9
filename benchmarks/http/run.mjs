/**
 * CPU microseconds per request of each proxy, in rounds that alternate, so that a noisy second hits all of them.
 *   node benchmarks/http/run.mjs [--rounds 5] [--seconds 2] [--connections 64] [--out FILE] [names…]
 */
import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { cpus, loadavg, tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

const here = dirname(fileURLToPath(import.meta.url));
const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    rounds: { type: "string", default: "5" },
    seconds: { type: "string", default: "2" },
    connections: { type: "string", default: "64" },
    out: { type: "string" },
  },
});
const work = mkdtempSync(join(tmpdir(), "flycast-bench-"));
const ORIGIN = 19_000;
const FLYCAST = join(here, "../../dist/cli/flycast.js");
const PEERS = {
  flycast: upFlycast,
  handler: (port) => ["node", ["--import", "tsx", join(here, "front.ts"), port, ORIGIN]],
  haproxy: (port) => ["haproxy", ["-db", "-f", config("peer.haproxy.cfg", port)]],
  nginx: (port) => ["nginx", ["-e", "/dev/null", "-c", config("peer.nginx.conf", port)]],
  // A floor for everything that is made of node:net, not a peer.
  "pass-through": (port) => ["node", [join(here, "peer-pass-through.mjs"), port, ORIGIN]],
  "http-proxy-3": (port) => ["node", [join(here, "peer-http-proxy-3.mjs"), port, ORIGIN]],
  "reply-from": (port) => ["node", [join(here, "peer-reply-from.mjs"), port, ORIGIN]],
};
// `handler` is for profiles: the shipped build is measured unless it is named.
const names = positionals.length > 0 ? positionals : Object.keys(PEERS).filter((name) => name !== "handler");
const children = [];

function config(name, port) {
  const path = join(work, name);
  const text = readFileSync(join(here, name), "utf8");
  writeFileSync(path, text.replaceAll("__PORT__", port).replaceAll("__ORIGIN__", ORIGIN).replaceAll("__DIR__", work));
  return path;
}

/** The shipped program with one Machine, which is the origin's nginx on a port of its own. */
function upFlycast() {
  const folder = join(work, "node");
  mkdirSync(join(folder, "app"), { recursive: true });
  const nginx = readFileSync(join(here, "origin.nginx.conf"), "utf8").replaceAll("__DIR__", folder);
  writeFileSync(join(folder, "app/nginx.conf"), nginx);
  writeFileSync(
    join(folder, "app/run.sh"),
    'sed "s/__ORIGIN__/$PORT/" nginx.conf > run.conf\nexec nginx -e /dev/null -c "$PWD/run.conf"\n',
  );
  writeFileSync(join(folder, "flycast.toml"), '[apps.bench]\npath = "app"\ncommand = "sh run.sh"\n');
  writeFileSync(
    join(folder, "app/fly.toml"),
    'app = "bench"\n[http_service]\ninternal_port = 8080\n[http_service.concurrency]\ntype = "requests"\nsoft_limit = 1000\n',
  );
  return ["node", [FLYCAST, "up", folder, "--json", "--network-mode", "loopback"]];
}

/** The port on which `up` publishes its one service. */
function publishedPort(child) {
  return new Promise((resolve, reject) => {
    let text = "";
    child.stdout.setEncoding("utf8").on("data", (chunk) => {
      text += chunk;
      const line = text.split("\n").find((candidate) => candidate.includes('"event":"ready"'));
      if (line !== undefined) resolve(Number(/"published":"[^"]*:(\d+)"/.exec(line)[1]));
    });
    child.on("exit", (code) => reject(new Error(`flycast up ended (${code}): ${text}`)));
  });
}

function start(command, args) {
  const child = spawn(command, args.map(String), { stdio: ["ignore", "pipe", "inherit"] });
  children.push(child);
  return child;
}

async function untilListening(port) {
  for (let i = 0; i < 200; i++) {
    const open = await new Promise((resolve) => {
      const socket = connect(port, "127.0.0.1", () => resolve(true)).on("error", () => resolve(false));
      socket.on("close", () => undefined);
      setTimeout(() => socket.destroy(), 50);
    });
    if (open) return;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new Error(`nobody listens on ${port}`);
}

/** Nanoseconds of CPU of a process, all threads, and of its children, if they are its own work. */
function cpu(pid, withChildren) {
  let sum = 0;
  for (const task of readdirSync(`/proc/${pid}/task`)) {
    sum += Number(readFileSync(`/proc/${pid}/task/${task}/schedstat`, "utf8").split(" ")[0]);
    if (!withChildren) continue;
    const kids = readFileSync(`/proc/${pid}/task/${task}/children`, "utf8").trim();
    for (const kid of kids === "" ? [] : kids.split(" ")) sum += cpu(kid, true);
  }
  return sum;
}

const load = (port, seconds) =>
  JSON.parse(
    execFileSync("node", [join(here, "load.mjs"), String(port), values.connections, String(seconds)], {
      encoding: "utf8",
    }),
  );

try {
  mkdirSync(work, { recursive: true });
  start("nginx", ["-e", "/dev/null", "-c", config("origin.nginx.conf", 0)]);
  await untilListening(ORIGIN);
  const running = [];
  for (const [index, name] of names.entries()) {
    let port = ORIGIN + 1 + index;
    const [command, args] = PEERS[name](port);
    const child = start(command, args);
    if (name === "flycast") port = await publishedPort(child);
    child.stdout.resume();
    await untilListening(port);
    load(port, 1.5);
    // The children of `flycast up` are its Machines; those of the others are their workers.
    const spent = () => cpu(child.pid, name !== "flycast");
    running.push({ name, port, spent, perRequest: [], rate: [] });
  }
  for (let round = 0; round < Number(values.rounds); round++) {
    for (const peer of running) {
      const before = peer.spent();
      const { answers, failed } = load(peer.port, Number(values.seconds));
      if (failed > 0) throw new Error(`${peer.name}: ${failed} requests failed`);
      peer.perRequest.push((peer.spent() - before) / 1000 / answers);
      peer.rate.push(answers / Number(values.seconds));
    }
  }
  const median = (list) => list.toSorted((a, b) => a - b)[list.length >> 1];
  const reference = running.find((peer) => peer.name === "haproxy");
  const report = {};
  for (const peer of running) {
    const ratios = reference === undefined ? [] : peer.perRequest.map((value, i) => value / reference.perRequest[i]);
    report[peer.name] = {
      microsecondsPerRequest: peer.perRequest.map((value) => Number(value.toFixed(1))),
      requestsPerSecond: peer.rate.map(Math.round),
      ...(ratios.length > 0 ? { medianRatioToHaproxy: Number(median(ratios).toFixed(2)) } : {}),
    };
    console.log(
      `${peer.name.padEnd(14)} ${median(peer.perRequest).toFixed(1).padStart(7)} µs CPU/request  ` +
        `${Math.round(median(peer.rate)).toString().padStart(6)}/s  ` +
        (ratios.length > 0
          ? `${median(ratios).toFixed(2)} × HAProxy (${Math.min(...ratios).toFixed(2)}–${Math.max(...ratios).toFixed(2)})`
          : ""),
    );
  }
  if (values.out !== undefined) {
    const about = { date: new Date().toISOString(), node: process.version, cpu: cpus()[0].model, cores: cpus().length };
    writeFileSync(
      values.out,
      `${JSON.stringify({ ...about, loadAverage: loadavg(), options: values, peers: report }, null, 2)}\n`,
    );
  }
} finally {
  await Promise.all(
    children.map(async (child) => {
      child.kill("SIGTERM");
      if (child.exitCode === null && child.signalCode === null) await once(child, "exit");
    }),
  );
  rmSync(work, { recursive: true, force: true });
}
