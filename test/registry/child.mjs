// A process of its own that opens a registry. Usage: node child.mjs MODULE_URL STATE_DIR WHAT
//   ack    makes the app "durable" and says so
//   fill   makes Machines until one is refused, then an app, and says which were acknowledged
//   hold   opens, says so, and stays
import { randomBytes } from "node:crypto";
import { writeSync } from "node:fs";
import { PLAIN_CONFIG } from "./plain-config.mjs";

const [moduleUrl, dir, what] = process.argv.slice(2);
const { openFileRegistry } = await import(moduleUrl);
const clock = { now: () => performance.now(), wall: () => Date.now(), after: () => ({ cancel() {} }) };
const say = (value) => writeSync(1, `${JSON.stringify(value)}\n`);

let registry;
try {
  registry = await openFileRegistry({ dir, clock, random: (n) => randomBytes(n), onNotice: () => undefined });
} catch (error) {
  say({ refused: error.code, message: error.message });
  process.exit(1);
}
const { commands } = registry;
const home = { org: "personal", network: "default" };

if (what === "ack") {
  await commands.createApp({ name: "durable", ...home });
  say({ acknowledged: "durable" });
}

if (what === "fill") {
  const config = { ...PLAIN_CONFIG, raw: "x".repeat(10_000) };
  await commands.createApp({ name: "full", ...home });
  const machines = [];
  let refused;
  while (refused === undefined) {
    await Promise.all(
      [0, 1, 2].map(() =>
        commands.createMachine({ app: "full", region: "iad", config }).then(
          (machine) => machines.push(machine.id),
          (error) => (refused = error.code),
        ),
      ),
    );
  }
  const seen = [...registry.view.machines()].map((machine) => machine.id);
  const small = await commands.createApp({ name: "small", ...home }).then(
    () => "made",
    (error) => error.message,
  );
  say({ machines, refused, seen, small });
}

if (what === "hold") {
  say({ open: process.pid });
  setInterval(() => undefined, 1 << 30);
} else {
  await registry.close();
}
