/**
 * CPU microseconds per request of each proxy, in rounds that alternate, so that a noisy second hits all of them.
 *   node benchmarks/http/run.mjs [--rounds 5] [--seconds 2] [--connections 64] [names…]
 */
import { execFileSync, spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
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
  },
});
const work = mkdtempSync(join(tmpdir(), "flycast-bench-"));
const ORIGIN = 19_000;
const PEERS = {
  flycast: (port) => ["node", ["--import", "tsx", join(here, "front.ts"), port, ORIGIN]],
  haproxy: (port) => ["haproxy", ["-db", "-f", config("peer.haproxy.cfg", port)]],
  nginx: (port) => ["nginx", ["-e", "/dev/null", "-c", config("peer.nginx.conf", port)]],
  "http-proxy-3": (port) => ["node", [join(here, "peer-http-proxy-3.mjs"), port, ORIGIN]],
  "reply-from": (port) => ["node", [join(here, "peer-reply-from.mjs"), port, ORIGIN]],
};
const names = positionals.length > 0 ? positionals : Object.keys(PEERS);
const children = [];

function config(name, port) {
  const path = join(work, name);
  const text = readFileSync(join(here, name), "utf8");
  writeFileSync(path, text.replaceAll("__PORT__", port).replaceAll("__ORIGIN__", ORIGIN).replaceAll("__DIR__", work));
  return path;
}

function start(command, args) {
  const child = spawn(command, args.map(String), { stdio: ["ignore", "ignore", "inherit"] });
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

/** Nanoseconds of CPU of a process and its children, all threads. */
function cpu(pid) {
  let sum = 0;
  for (const task of readdirSync(`/proc/${pid}/task`)) {
    sum += Number(readFileSync(`/proc/${pid}/task/${task}/schedstat`, "utf8").split(" ")[0]);
    const kids = readFileSync(`/proc/${pid}/task/${task}/children`, "utf8").trim();
    for (const kid of kids === "" ? [] : kids.split(" ")) sum += cpu(kid);
  }
  return sum;
}

const load = (port, seconds) =>
  JSON.parse(execFileSync("node", [join(here, "load.mjs"), String(port), values.connections, String(seconds)], { encoding: "utf8" }));

try {
  mkdirSync(work, { recursive: true });
  start("nginx", ["-e", "/dev/null", "-c", config("origin.nginx.conf", 0)]);
  await untilListening(ORIGIN);
  const running = [];
  for (const [index, name] of names.entries()) {
    const port = ORIGIN + 1 + index;
    const [command, args] = PEERS[name](port);
    const child = start(command, args);
    await untilListening(port);
    load(port, 1.5);
    running.push({ name, port, pid: child.pid, perRequest: [], rate: [] });
  }
  for (let round = 0; round < Number(values.rounds); round++) {
    for (const peer of running) {
      const before = cpu(peer.pid);
      const { answers, failed } = load(peer.port, Number(values.seconds));
      if (failed > 0) throw new Error(`${peer.name}: ${failed} requests failed`);
      peer.perRequest.push((cpu(peer.pid) - before) / 1000 / answers);
      peer.rate.push(answers / Number(values.seconds));
    }
  }
  const median = (list) => list.toSorted((a, b) => a - b)[list.length >> 1];
  const reference = running.find((peer) => peer.name === "haproxy");
  for (const peer of running) {
    const ratios = reference === undefined ? [] : peer.perRequest.map((value, i) => value / reference.perRequest[i]);
    console.log(
      `${peer.name.padEnd(14)} ${median(peer.perRequest).toFixed(1).padStart(7)} µs CPU/request  ` +
        `${Math.round(median(peer.rate)).toString().padStart(6)}/s  ` +
        (ratios.length > 0 ? `${median(ratios).toFixed(2)} × HAProxy (${Math.min(...ratios).toFixed(2)}–${Math.max(...ratios).toFixed(2)})` : ""),
    );
  }
} finally {
  for (const child of children) child.kill("SIGTERM");
  rmSync(work, { recursive: true, force: true });
}
