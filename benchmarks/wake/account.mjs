// Whether a wake's receipt accounts for what its client waited: one client inside the network for each wake, its own measurement
// beside the receipt's. Usage: node benchmarks/wake/account.mjs [WAKES]
import { execFile } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { startNode } from "./node.mjs";
import { row } from "./statistics.mjs";

const WAKES = Number(process.argv[2] ?? 50);
const node = await startNode("lab");
const { address } = node.ready.services[0];
const client = fileURLToPath(new URL("client.mjs", import.meta.url));

async function once() {
  const from = node.events.length;
  const args = [
    node.flycast,
    "exec",
    "--state-dir",
    join(node.folder, ".flycast"),
    "--",
    process.execPath,
    client,
    address,
  ];
  const { stdout } = await promisify(execFile)(process.execPath, args);
  const { receipt } = await node.until((event) => event.event === "started", from);
  await node.stopMachine();
  return { ...JSON.parse(stdout), receipt };
}

await once();
const beyond = [];
const connecting = [];
const sums = [];
for (let i = 0; i < WAKES; i++) {
  const { connected, firstByte, receipt } = await once();
  beyond.push(firstByte - receipt.firstByte);
  connecting.push(connected);
  sums.push(Math.abs(receipt.ownShare + receipt.appShare - receipt.firstByte));
}
const result = {
  what: "a client's own wait beyond its wake's receipt, lab mode, ms",
  wakes: WAKES,
  node: process.version,
  load: readFileSync("/proc/loadavg", "utf8").split(" ")[0],
  beyond: row(beyond),
  // Until its connection stood: the kernel's handshake, of which the node is told last of all.
  ofThatConnecting: row(connecting),
  largestGapInTheReceipt: Math.max(...sums),
};
console.log(JSON.stringify(result, undefined, 2));
writeFileSync(
  fileURLToPath(new URL("../results/wake-account.json", import.meta.url)),
  `${JSON.stringify(result, undefined, 2)}\n`,
);
await node.end();
