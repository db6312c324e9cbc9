// What a wake costs beyond the app's own start: the first byte through the proxy from a stopped Machine, against the same
// command started by hand, in turn, so that a noisy minute hits both. Usage: node benchmarks/wake/run.mjs [WAKES]
import { spawn } from "node:child_process";
import { cpSync, mkdtempSync, mkdirSync, rmSync, writeFileSync } from "node:fs";
import { connect, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const WAKES = Number(process.argv[2] ?? 200);
const root = fileURLToPath(new URL("../..", import.meta.url));
const folder = mkdtempSync(join(tmpdir(), "flycast-wake-"));
mkdirSync(join(folder, "app"));
cpSync(fileURLToPath(new URL("app.mjs", import.meta.url)), join(folder, "app", "app.mjs"));
writeFileSync(
  join(folder, "app", "fly.toml"),
  'app = "app"\n[[services]]\n  protocol = "tcp"\n  internal_port = 8080\n  [[services.ports]]\n    port = 80\n    handlers = ["http"]\n',
);
writeFileSync(join(folder, "flycast.toml"), '[apps.app]\npath = "app"\ncommand = "node app.mjs"\n');

const mode = process.argv[3] ?? "loopback";
const node = spawn(
  process.execPath,
  [join(root, "dist/cli/flycast.js"), "up", folder, "--json", "--network-mode", mode],
  {
    stdio: ["ignore", "pipe", "inherit"],
  },
);
const events = [];
let waiting = [];
let partial = "";
node.stdout.setEncoding("utf8").on("data", (chunk) => {
  const lines = (partial + chunk).split("\n");
  partial = lines.pop() ?? "";
  for (const line of lines) events.push(JSON.parse(line));
  waiting = waiting.filter(({ test, from, resolve }) => {
    const found = events.slice(from).find(test);
    if (found) resolve(found);
    return !found;
  });
});
const until = (test, from = 0) => {
  const found = events.slice(from).find(test);
  return found ? Promise.resolve(found) : new Promise((resolve) => waiting.push({ test, from, resolve }));
};

/** Milliseconds from `begin` to the first byte of an answer on a port that may not listen yet. */
function firstByte(port, begin, retry) {
  return new Promise((resolve, reject) => {
    const attempt = () => {
      const socket = connect(port, "127.0.0.1", () =>
        socket.write("GET / HTTP/1.1\r\nHost: app\r\nConnection: close\r\n\r\n"),
      );
      socket.once("data", () => {
        resolve(performance.now() - begin);
        socket.destroy();
      });
      socket.on("error", (error) =>
        retry && error.code === "ECONNREFUSED" ? setTimeout(attempt, 0.5) : reject(error),
      );
    };
    attempt();
  });
}

async function freePort() {
  const server = createServer().listen(0, "127.0.0.1");
  await new Promise((resolve) => server.once("listening", resolve));
  const { port } = server.address();
  await new Promise((resolve) => server.close(resolve));
  return port;
}

async function direct() {
  const port = await freePort();
  const begin = performance.now();
  const app = spawn(process.execPath, ["app.mjs"], {
    cwd: join(folder, "app"),
    env: { PATH: process.env.PATH, PORT: String(port), HOST: "127.0.0.1" },
    stdio: "ignore",
  });
  const took = await firstByte(port, begin, true);
  app.kill("SIGKILL");
  await new Promise((resolve) => app.once("exit", resolve));
  return took;
}

const ready = await until((event) => event.event === "ready");
const [service] = ready.services;
const published = Number(service.published.split(":").at(-1));
const headers = {
  authorization: `Bearer ${(await import("node:fs")).readFileSync(join(folder, ".flycast", "token"), "utf8").trim()}`,
  "content-type": "application/json",
};
const machines = await (await fetch(`${ready.api}/v1/apps/app/machines`, { headers })).json();
const id = machines[0].id;

async function woken() {
  const from = events.length;
  const took = await firstByte(published, performance.now(), false);
  const { receipt } = await until((event) => event.event === "started", from);
  const stopped = until((event) => event.event === "stopped", from);
  await fetch(`${ready.api}/v1/apps/app/machines/${id}/stop`, {
    method: "POST",
    headers,
    body: '{"signal":"SIGKILL"}',
  });
  await stopped;
  return { took, own: receipt?.ownShare, told: receipt?.firstByte };
}

const quantile = (values, q) =>
  values.toSorted((a, b) => a - b)[Math.min(values.length - 1, Math.floor(values.length * q))];
const round = (value) => Math.round(value * 100) / 100;
await direct();
await woken();
const bare = [];
const through = [];
const own = [];
const paired = [];
const untold = [];
for (let i = 0; i < WAKES; i++) {
  bare.push(await direct());
  const wake = await woken();
  through.push(wake.took);
  own.push(wake.own ?? Number.NaN);
  paired.push(wake.took - bare[i]);
  untold.push(wake.took - (wake.told ?? Number.NaN));
}
const row = (values) => ({ p50: round(quantile(values, 0.5)), p99: round(quantile(values, 0.99)) });
const result = {
  what: `wake from stopped, ${ready.mode} mode, ms`,
  wakes: WAKES,
  node: process.version,
  direct: row(bare),
  throughProxy: row(through),
  overhead: {
    p50: round(quantile(through, 0.5) - quantile(bare, 0.5)),
    p99: round(quantile(through, 0.99) - quantile(bare, 0.99)),
  },
  // Of each wake and the direct start right before it: what a noisy minute does to both of them cancels out.
  overheadInPairs: { p25: round(quantile(paired, 0.25)), ...row(paired) },
  ownShareOfReceipt: row(own),
  // What the client waited beyond the receipt's account: its own connect and read, and the way to the proxy.
  clientBeyondReceipt: row(untold),
};
console.log(JSON.stringify(result, undefined, 2));
writeFileSync(
  fileURLToPath(new URL(`../results/wake-${ready.mode}.json`, import.meta.url)),
  `${JSON.stringify(result, undefined, 2)}\n`,
);
node.kill("SIGINT");
await new Promise((resolve) => node.once("exit", resolve));
rmSync(folder, { recursive: true, force: true });
