// Random traffic on Machines that sleep whenever nobody looks: `npm run soak -- [--minutes N] [--seed S] [--mode lab|loopback] [--clients N]`.
// Every answer is checked to its last byte. What is lost, any failure of a Machine, and any that does not come to rest in the end
// is printed, and the exit code is 1. A seed gives the same plan again, not the same moments.
import { spawn } from "node:child_process";
import { cpSync, mkdtempSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { Agent, request } from "node:http";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

const { values: options } = parseArgs({
  options: {
    minutes: { type: "string", default: "3" },
    seed: { type: "string", default: String(Date.now() % 1_000_000) },
    mode: { type: "string", default: "auto" },
    clients: { type: "string", default: "12" },
  },
});
const root = fileURLToPath(new URL("..", import.meta.url));
const folder = mkdtempSync(join(tmpdir(), "flycast-soak-"));

// ── What runs ─────────────────────────────────────────────────────────────────────────────────────────────────────────

/** Sleeps by being stopped, by being suspended; in two Machines; and one of lines. */
const APPS = {
  stops: { sleep: "stop", machines: 1, lines: false },
  freezes: { sleep: "suspend", machines: 1, lines: false },
  pair: { sleep: "stop", machines: 2, lines: false },
  lines: { sleep: "suspend", machines: 1, lines: true },
};
let flycastToml = '[node]\negress = "none"\n[autostop]\ninterval = "1s"\nidle = "1s"\n';
for (const [name, app] of Object.entries(APPS)) {
  mkdirSync(join(folder, name));
  cpSync(join(root, "scripts/soak-app.mjs"), join(folder, name, "app.mjs"));
  const env = app.lines ? 'env = { LINES = "1" }\n' : "";
  flycastToml += `[apps.${name}]\npath = "${name}"\ncommand = "node app.mjs"\nmachines = { dev = ${app.machines} }\n${env}`;
  const handlers = app.lines ? "" : '    handlers = ["http"]\n';
  writeFileSync(
    join(folder, name, "fly.toml"),
    `app = "${name}"\nprimary_region = "dev"\n[[services]]\n  protocol = "tcp"\n  internal_port = 8080\n  auto_stop_machines = "${app.sleep}"\n` +
      `  [services.concurrency]\n    type = "${app.lines ? "connections" : "requests"}"\n    soft_limit = 5\n  [[services.ports]]\n    port = 80\n${handlers}`,
  );
}
writeFileSync(join(folder, "flycast.toml"), flycastToml);

const node = spawn(
  process.execPath,
  [join(root, "dist/cli/flycast.js"), "up", folder, "--json", "--network-mode", options.mode],
  { stdio: ["ignore", "pipe", "inherit"] },
);
const count = {};
const failures = [];
let ready;
let partial = "";
node.stdout.setEncoding("utf8").on("data", (chunk) => {
  const lines = (partial + chunk).split("\n");
  partial = lines.pop() ?? "";
  for (const event of lines.map((line) => JSON.parse(line))) {
    count[event.event] = (count[event.event] ?? 0) + 1;
    if (event.event === "ready") ready = event;
    if (event.event === "failed" || event.event === "problem") failures.push(JSON.stringify(event));
  }
});
while (ready === undefined) {
  if (node.exitCode !== null) process.exit(1);
  await sleep(20);
}
const at = Object.fromEntries(
  ready.services
    .filter((service) => service.port === 80)
    .map((service) => [service.app, service.published.split(":").slice(-2)]),
);
const portOf = (name) => Number(at[name].at(-1));

// ── Chance ────────────────────────────────────────────────────────────────────────────────────────────────────────────

let state = Number(options.seed) >>> 0;
/** 0 to 1 (mulberry32). */
function random() {
  state = (state + 0x6d2b79f5) | 0;
  let t = Math.imul(state ^ (state >>> 15), 1 | state);
  t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
  return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296;
}
const below = (limit) => Math.floor(random() * limit);
const pick = (list) => list[below(list.length)];
const HTTP = Object.keys(APPS).filter((name) => !APPS[name].lines);

// ── What clients do: each resolves to undefined, or to what was wrong ─────────────────────────────────────────────────

const keepAlive = new Agent({ keepAlive: true, maxSockets: 4 });

function exchange(name, path, { body, agent = false, leaveAfter } = {}) {
  return new Promise((resolve) => {
    const asked = request(
      { host: "127.0.0.1", port: portOf(name), path, agent, method: body === undefined ? "GET" : "POST" },
      (response) => {
        let text = "";
        response.setEncoding("utf8").on("data", (chunk) => (text += chunk));
        response.on("end", () => resolve({ status: response.statusCode, text }));
        response.on("error", (error) => resolve({ status: error.code, text }));
      },
    );
    asked.on("error", (error) => resolve({ status: error.code, text: "" }));
    asked.end(body);
    if (leaveAfter !== undefined) {
      setTimeout(() => {
        asked.destroy();
        resolve({ status: "left", text: "" });
      }, leaveAfter);
    }
  });
}

async function get(name, parts, pause, agent) {
  const { status, text } = await exchange(name, `/?parts=${parts}&pause=${pause}`, { agent });
  const wanted = Array.from({ length: parts }, (_, i) => `part ${i + 1} of ${parts}\n`).join("") + "end\n";
  return status === 200 && text === wanted
    ? undefined
    : `${status}, ${text.length} of ${wanted.length} bytes: ${text.slice(0, 200)}`;
}

const DEEDS = {
  "a request": () => get(pick(HTTP), 1, 0, false),
  "a request on a connection that was kept": () => get(pick(HTTP), 1 + below(20), 0, keepAlive),
  "a download that is longer than idle": () => get(pick(HTTP), 3 + below(5), 500 + below(500), false),
  async "an upload"() {
    const body = "x".repeat(below(2_000_000));
    const { status, text } = await exchange(pick(HTTP), "/echo", { body });
    return status === 200 && text === body ? undefined : `${status}, ${text.length} of ${body.length} bytes`;
  },
  async "thirty at once"() {
    const name = pick(HTTP);
    const wrong = await Promise.all(Array.from({ length: 30 }, () => get(name, 1, 0, false)));
    return wrong.find((one) => one !== undefined);
  },
  async "a client that leaves"() {
    await exchange(pick(HTTP), "/?parts=10&pause=200", { leaveAfter: below(600) });
  },
  "a silent upgraded connection": () =>
    new Promise((resolve) => {
      let text = "";
      const silence = 1000 + below(6000);
      const socket = connect(portOf(pick(HTTP)), "127.0.0.1", () =>
        socket.write(
          `GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: silence\r\nX-Silence: ${silence}\r\n\r\n`,
        ),
      );
      socket.setEncoding("latin1").on("data", (chunk) => (text += chunk));
      socket.on("error", (error) => resolve(`${error.code} after ${JSON.stringify(text.slice(0, 200))}`));
      socket.on("end", () =>
        resolve(/^HTTP\/1\.1 101 [^]*spoke$/.test(text) ? undefined : JSON.stringify(text.slice(0, 200))),
      );
    }),
  "lines with long pauses": () =>
    new Promise((resolve) => {
      let sent = "";
      let heard = "";
      const socket = connect({ port: portOf("lines"), host: "127.0.0.1", allowHalfOpen: true });
      socket.setEncoding("latin1").on("data", (chunk) => (heard += chunk));
      socket.on("error", (error) => resolve(`${error.code} after ${heard.length} of ${sent.length} bytes`));
      socket.on("end", () => resolve(heard === sent ? undefined : `${heard.length} of ${sent.length} bytes came back`));
      void (async () => {
        for (let line = 0; line < 1 + below(5); line++) {
          const text = `${line} ${"y".repeat(below(5000))}\n`;
          sent += text;
          socket.write(text);
          await sleep(below(2500));
        }
        socket.end();
      })();
    }),
};

// ── The soak ──────────────────────────────────────────────────────────────────────────────────────────────────────────

const began = Date.now();
const end = began + Number(options.minutes) * 60_000;
const CYCLE_MS = 12_000;
/** In each cycle other numbers of clients are busy, so that Machines fall asleep and are wanted again in just that moment. */
const busy = Array.from({ length: Math.ceil((end - began) / CYCLE_MS) + 1 }, () =>
  Math.min(Number(options.clients), pick([1, 1, 2, 3, Number(options.clients)])),
);
const done = {};
const lost = [];
async function client(number) {
  while (Date.now() < end) {
    const passed = Date.now() - began;
    if (number >= busy[Math.floor(passed / CYCLE_MS)]) {
      await sleep(Math.min(CYCLE_MS - (passed % CYCLE_MS), end - Date.now()) + below(50));
      continue;
    }
    const deed = pick(Object.keys(DEEDS));
    const at = new Date().toISOString();
    const wrong = await DEEDS[deed]();
    done[deed] = (done[deed] ?? 0) + 1;
    if (wrong !== undefined) lost.push(`${at} ${deed}: ${wrong}`);
    await sleep(random() < 0.5 ? below(4000) : below(200));
  }
}

/** Of the node proper, in MiB: in lab mode it is a process below `up`. */
function memory() {
  const family = (pid) => {
    const children = readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").split(" ").filter(Boolean);
    return [pid, ...children.flatMap(family)];
  };
  const core = (pid) => pid === node.pid || /[/]core\.js\0/.test(readFileSync(`/proc/${pid}/cmdline`, "utf8"));
  const sizes = family(node.pid)
    .filter(core)
    .map((pid) => Number(/^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1] ?? 0));
  return Math.round(Math.max(...sizes) / 1024);
}

console.error(`soak: ${options.minutes} min in ${ready.mode} mode, seed ${options.seed}`);
const memoryBefore = memory();
await Promise.all(Array.from({ length: Number(options.clients) }, (_, number) => client(number)));

// Nothing is in use any more: all come to rest.
keepAlive.destroy();
const headers = { authorization: `Bearer ${readFileSync(join(folder, ".flycast", "token"), "utf8").trim()}` };
const awake = async () => {
  const { apps } = await (await fetch(`${ready.api}/flycast/v1/status`, { headers })).json();
  const all = await Promise.all(
    apps.map(async ({ name }) => (await fetch(`${ready.api}/v1/apps/${name}/machines`, { headers })).json()),
  );
  return all
    .flat()
    .filter(({ state: now }) => now === "started" || now === "starting")
    .map(({ id }) => id);
};
let restless = await awake();
for (let patience = 60; restless.length > 0 && patience > 0; patience--) {
  await sleep(500);
  restless = await awake();
}
const result = {
  what: `soak, ${ready.mode} mode, autostop interval 1 s, idle 1 s`,
  minutes: Number(options.minutes),
  seed: Number(options.seed),
  deeds: done,
  lost: lost.length,
  wakes: count.wake ?? 0,
  stopped: count.stopped ?? 0,
  suspended: count.suspended ?? 0,
  failed: failures.length,
  restless,
  coreMiB: { before: memoryBefore, after: memory() },
};
console.log(JSON.stringify(result, undefined, 2));
for (const line of [...lost.slice(0, 20), ...failures.slice(0, 20)]) console.error(line);
node.kill("SIGINT");
await new Promise((resolve) => node.once("exit", resolve));
rmSync(folder, { recursive: true, force: true });
process.exitCode = lost.length + failures.length + restless.length === 0 ? 0 : 1;
