/**
 * CPU per round trip, per gigabyte and per connection, and memory per idle connection, of the proxy, of HAProxy in `mode tcp`
 * and of the least that Node can do (bare.mjs), in rounds that alternate, so that a noisy second hits all.
 *   node benchmarks/tcp/run.mjs [--rounds 5] [--seconds 2] [--connections 64] [--idle 9000] [--only bulk] [--json FILE]
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { build } from "esbuild";

const here = dirname(fileURLToPath(import.meta.url));
const { values } = parseArgs({
  options: {
    rounds: { type: "string", default: "5" },
    seconds: { type: "string", default: "2" },
    connections: { type: "string", default: "64" },
    idle: { type: "string", default: "9000" },
    only: { type: "string" },
    json: { type: "string" },
  },
});
const work = mkdtempSync(join(tmpdir(), "flycast-bench-"));
const ORIGIN = 19_100;
const PEERS = { flycast: 19_101, haproxy: 19_102, node: 19_103 };
const children = [];

function start(command, ...args) {
  const child = spawn(command, args.map(String), { stdio: ["ignore", "ignore", "inherit"] });
  children.push(child);
  return child;
}

const dial = (port) => connect({ port, host: "127.0.0.1", noDelay: true }).on("error", () => {});

async function untilListening(port) {
  for (let i = 0; i < 400; i++) {
    const socket = dial(port);
    const open = await once(socket, "connect").then(
      () => true,
      () => false,
    );
    socket.destroy();
    if (open) return;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new Error(`nobody listens on ${port}`);
}

/** Nanoseconds of CPU, all threads and children. */
function cpu(pid) {
  let sum = 0;
  for (const task of readdirSync(`/proc/${pid}/task`)) {
    sum += Number(readFileSync(`/proc/${pid}/task/${task}/schedstat`, "utf8").split(" ")[0]);
    const kids = readFileSync(`/proc/${pid}/task/${task}/children`, "utf8").trim();
    for (const kid of kids === "" ? [] : kids.split(" ")) sum += cpu(kid);
  }
  return sum;
}

const rss = (pid) => Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, "utf8"))[1]);

async function pingPong(port, seconds) {
  let trips = 0;
  const end = performance.now() + seconds * 1000;
  const message = Buffer.alloc(64, 1);
  await Promise.all(
    Array.from({ length: Number(values.connections) }, async () => {
      const socket = dial(port);
      socket.on("data", () => {
        trips++;
        if (performance.now() < end) socket.write(message);
        else socket.destroy();
      });
      socket.write(message);
      await once(socket, "close");
    }),
  );
  return trips;
}

async function bulk(port, seconds) {
  const socket = dial(port);
  let bytes = 0;
  socket.on("data", (chunk) => (bytes += chunk.length));
  socket.write("G");
  setTimeout(() => socket.destroy(), seconds * 1000);
  await once(socket, "close");
  return bytes / 1e9;
}

async function shortConnections(port, seconds) {
  let count = 0;
  const end = performance.now() + seconds * 1000;
  await Promise.all(
    Array.from({ length: 16 }, async () => {
      while (performance.now() < end) {
        const socket = dial(port);
        socket.on("data", () => socket.end());
        socket.write("x");
        await once(socket, "close");
        count++;
      }
    }),
  );
  return count;
}

async function idle(port, pid, count) {
  const before = rss(pid);
  const sockets = [];
  while (sockets.length < count) {
    const some = Array.from({ length: Math.min(200, count - sockets.length) }, () => dial(port));
    await Promise.all(
      some.map((socket) => {
        socket.write("x");
        return once(socket, "data");
      }),
    );
    sockets.push(...some);
  }
  await new Promise((resolve) => setTimeout(resolve, 2000));
  const each = (rss(pid) - before) / count;
  for (const socket of sockets) socket.destroy();
  return each;
}

const WORK = {
  "ping-pong": { unit: "µs CPU/round trip", run: pingPong, cost: (ns, amount) => ns / 1000 / amount },
  bulk: { unit: "CPU s/GB", run: bulk, cost: (ns, amount) => ns / 1e9 / amount },
  connections: { unit: "µs CPU/connection", run: shortConnections, cost: (ns, amount) => ns / 1000 / amount },
};

const median = (list) => list.toSorted((a, b) => a - b)[list.length >> 1];
const report = { node: process.version, date: new Date().toISOString(), results: {} };

try {
  start("node", join(here, "origin.mjs"), ORIGIN);
  const config = join(work, "haproxy.cfg");
  const text = readFileSync(join(here, "haproxy.cfg"), "utf8");
  writeFileSync(config, text.replaceAll("__PORT__", PEERS.haproxy).replaceAll("__ORIGIN__", ORIGIN));
  await untilListening(ORIGIN);
  // As `npm run build` makes what is shipped. FRONT: one that was made before, to compare.
  const front = process.env.FRONT ?? join(work, "front.mjs");
  if (process.env.FRONT === undefined)
    await build({
      entryPoints: [join(here, "front.ts")],
      outfile: front,
      bundle: true,
      format: "esm",
      platform: "node",
      target: "node20.20",
    });
  const pids = {
    flycast: start("node", front, PEERS.flycast, ORIGIN).pid,
    haproxy: start("haproxy", "-db", "-f", config).pid,
    node: start("node", join(here, "bare.mjs"), PEERS.node, ORIGIN).pid,
  };
  for (const port of Object.values(PEERS)) await untilListening(port);

  for (const [name, { unit, run, cost }] of Object.entries(WORK)) {
    if (values.only !== undefined && values.only !== name) continue;
    const costs = { flycast: [], haproxy: [], node: [] };
    for (const port of Object.values(PEERS)) await run(port, 1);
    for (let round = 0; round < Number(values.rounds); round++) {
      for (const [peer, port] of Object.entries(PEERS)) {
        const before = cpu(pids[peer]);
        const amount = await run(port, Number(values.seconds));
        costs[peer].push(cost(cpu(pids[peer]) - before, amount));
      }
    }
    const ratios = costs.flycast.map((value, i) => value / costs.haproxy[i]);
    report.results[name] = { unit, ...costs, ratios };
    console.log(
      `${name.padEnd(12)} flycast ${median(costs.flycast).toFixed(2)}  haproxy ${median(costs.haproxy).toFixed(2)}  ` +
        `bare node ${median(costs.node).toFixed(2)}  ${unit}  ${median(ratios).toFixed(2)} × HAProxy (${Math.min(...ratios).toFixed(2)}–${Math.max(...ratios).toFixed(2)})`,
    );
  }
  if (values.only === undefined || values.only === "idle") {
    const each = {};
    for (const [peer, port] of Object.entries(PEERS)) each[peer] = await idle(port, pids[peer], Number(values.idle));
    report.results.idle = { unit: "KB RSS/connection", ...each };
    const kilobytes = Object.entries(each).map(([peer, size]) => `${peer} ${size.toFixed(1)}`);
    console.log(`idle         ${kilobytes.join("  ")}  KB RSS per connection (${values.idle})`);
  }
  if (values.json !== undefined) writeFileSync(values.json, `${JSON.stringify(report, null, 2)}\n`);
} finally {
  for (const child of children) child.kill("SIGTERM");
  rmSync(work, { recursive: true, force: true });
}
