// Changes a registry as fast as it can until it is killed, and says on stdout what was acknowledged, one JSON line each.
// Usage: node kill-writer.mjs MODULE_URL STATE_DIR SNAPSHOT_AFTER
// A line is written synchronously, so the reader has it even when the next instruction never runs.
import { randomBytes } from "node:crypto";
import { writeSync } from "node:fs";
import { PLAIN_CONFIG } from "./plain-config.mjs";

const [moduleUrl, dir, snapshotAfter] = process.argv.slice(2);
const { openFileRegistry } = await import(moduleUrl);

/** stdout is a pipe that does not block: when the reader is slow, try again. */
function say(line) {
  let rest = Buffer.from(`${JSON.stringify(line)}\n`);
  while (rest.length > 0) {
    try {
      rest = rest.subarray(writeSync(1, rest));
    } catch (error) {
      if (error.code !== "EAGAIN") throw error;
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1);
    }
  }
}

const clock = { now: () => performance.now(), wall: () => Date.now(), after: () => ({ cancel() {} }) };
const registry = await openFileRegistry({
  dir,
  clock,
  random: (n) => randomBytes(n),
  onNotice: (notice) => say({ notice }),
  snapshotAfter: Number(snapshotAfter),
});
const { commands, view } = registry;
const home = view.networkNamed("personal", "default").id;
say({ open: process.pid });

const config = { ...PLAIN_CONFIG, command: ["node"], folder: "/srv", raw: "x".repeat(200) };

/** Creates, changes and removes, one step after another; several of these run side by side. */
async function work(lane) {
  for (let step = 0; ; step++) {
    const app = await commands.createApp({
      name: `app-${lane}-${randomBytes(6).toString("hex")}`,
      org: "personal",
      network: "default",
    });
    say({ kind: "app", key: app.name, value: app });
    const { address, ...rest } = await commands.allocateAddress(app.name, home);
    say({ kind: "address", key: address, value: { address, ...rest } });
    const machine = await commands.createMachine({ app: app.name, region: "iad", config });
    say({ kind: "machine", key: machine.id, value: machine });
    say({ kind: "machine", key: machine.id, begin: true });
    const updated = await commands.updateMachine(machine.id, { config: { ...config, env: { STEP: String(step) } } });
    say({ kind: "machine", key: machine.id, value: updated });
    // Two of three are removed again, so that the state stays small over hundreds of lives.
    if (step % 3 === 0) continue;
    say({ kind: "machine", key: machine.id, begin: true });
    await commands.removeMachine(machine.id);
    say({ kind: "machine", key: machine.id, gone: true });
    say({ kind: "address", key: address, begin: true });
    say({ kind: "app", key: app.name, begin: true });
    await commands.destroyApp(app.name);
    say({ kind: "address", key: address, gone: true });
    say({ kind: "app", key: app.name, gone: true });
  }
}

await Promise.all([0, 1, 2, 3].map(work));
