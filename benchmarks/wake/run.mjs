// What a wake costs beyond the app's own start: the first byte through the proxy from a stopped Machine, against the same
// command started by hand, in turn, so that a noisy minute hits both. Usage: node benchmarks/wake/run.mjs [WAKES] [lab|loopback]
import { spawn } from "node:child_process";
import { writeFileSync } from "node:fs";
import { connect, createServer } from "node:net";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { startNode } from "./node.mjs";
import { quantile, round, row } from "./statistics.mjs";

const WAKES = Number(process.argv[2] ?? 200);
const node = await startNode(process.argv[3] ?? "loopback");
const { ready, folder } = node;
const published = Number(ready.services[0].published.split(":").at(-1));

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

async function woken() {
  const from = node.events.length;
  const took = await firstByte(published, performance.now(), false);
  const { receipt } = await node.until((event) => event.event === "started", from);
  await node.stopMachine();
  return { took, own: receipt?.ownShare, told: receipt?.firstByte };
}

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
  overheadInPairs: row(paired),
  ownShareOfReceipt: row(own),
  // What the client waited beyond the receipt's account: its own connect and read, and the way to the proxy.
  clientBeyondReceipt: row(untold),
};
console.log(JSON.stringify(result, undefined, 2));
writeFileSync(
  fileURLToPath(new URL(`../results/wake-${ready.mode}.json`, import.meta.url)),
  `${JSON.stringify(result, undefined, 2)}\n`,
);
await node.end();
