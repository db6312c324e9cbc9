import { existsSync, mkdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import type { MachineId } from "../../../src/core/ids.ts";
import type { WallTime } from "../../../src/core/units.ts";
import { StateFiles } from "../../../src/machines/drivers/state-files.ts";
import type { LastKnown } from "../../../src/machines/memory.ts";
import { FakeClock } from "../../support/fake-clock.ts";
import { temporaryFolder } from "./machine-fixture.ts";

const ID = "3d8d9014b32d68" as MachineId;
const STOPPED: LastKnown = {
  state: "stopped",
  generation: 3,
  since: 1_000 as WallTime,
  because: "idle",
  lastExit: { code: undefined, signal: "SIGINT", at: 1_000 as WallTime },
  lastFailure: undefined,
};

const shared = temporaryFolder();
afterAll(() => shared.remove());
let number = 0;
function fresh(): { stateDir: string; folder: string; file: string } {
  const stateDir = join(shared.path, `state-${++number}`);
  const folder = join(stateDir, "machines", ID);
  mkdirSync(folder, { recursive: true });
  return { stateDir, folder, file: join(folder, "state.json") };
}

test("what was noted is known to the next node, whose owner alone may read it", async () => {
  const { stateDir, file } = fresh();
  const files = new StateFiles(stateDir, new FakeClock());
  files.note(ID, { ...STOPPED, state: "started" });
  files.note(ID, STOPPED);
  expect(existsSync(file)).toBe(false); // later: no wake waits for it
  await files.close();
  expect(new StateFiles(stateDir, new FakeClock()).recall(ID)).toEqual(STOPPED);
  expect(statSync(file).mode & 0o777).toBe(0o600);
});

test("it is written a moment later without being asked", async () => {
  const { stateDir } = fresh();
  const clock = new FakeClock();
  const files = new StateFiles(stateDir, clock);
  files.note(ID, STOPPED);
  await clock.advance(250);
  await files.close();
  expect(files.recall(ID)).toEqual(STOPPED);
});

test("nothing is written of a Machine whose folder is gone, nor outside of all folders", async () => {
  const { stateDir } = fresh();
  const files = new StateFiles(stateDir, new FakeClock());
  files.note("3d8d9014b32d69" as MachineId, STOPPED);
  files.note("../../escaped" as MachineId, STOPPED);
  await files.close();
  expect(existsSync(join(stateDir, "machines", "3d8d9014b32d69"))).toBe(false);
});

test("a damaged file is no memory", () => {
  const { stateDir, file } = fresh();
  const files = new StateFiles(stateDir, new FakeClock());
  expect(files.recall(ID)).toBeUndefined();
  const good = JSON.stringify(STOPPED);
  const bad = ["", "null", "[]", "7", good.slice(0, 40), good.replace("stopped", "flying"), good.replace("3", "3.5")];
  for (const text of [...bad, good.replace('"idle"', "null"), good.replace('"since":1000', '"since":"x"')]) {
    writeFileSync(file, text);
    expect(files.recall(ID), text).toBeUndefined();
  }
  writeFileSync(file, good);
  expect(files.recall(ID)).toEqual(STOPPED);
  expect(readFileSync(file, "utf8")).toBe(good);
});
