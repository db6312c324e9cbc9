/** A node in miniature, to be killed: `node-program.ts STATE_DIR end|outlive MACHINES.json`. Says `pids [...]` and waits. */
import { readFileSync } from "node:fs";
import { systemClock } from "../../../src/core/clock.ts";
import { createProcessDriver } from "../../../src/machines/drivers/process.ts";
import type { Machine } from "../../../src/registry/model.ts";
import { barePlane, ENVIRONMENT, quietLog } from "./machine-fixture.ts";

const [stateDir = "", mode, file = ""] = process.argv.slice(2);
const machines = JSON.parse(readFileSync(file, "utf8")) as Machine[];
const driver = await createProcessDriver({
  plane: barePlane(),
  stateDir,
  clock: systemClock,
  outlive: mode === "outlive",
  log: quietLog,
});
const pids = [];
for (const machine of machines) pids.push((await driver.start(machine, 5, ENVIRONMENT)).pid);
console.log(`pids ${JSON.stringify(pids)}`);
