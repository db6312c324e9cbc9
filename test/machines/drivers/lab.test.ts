import { chmodSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { spawn } from "node:child_process";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, expect, test } from "vitest";
import { asUser, USERS } from "../../network/support/lab.ts";
import { NO_LAB } from "../../network/support/possible.ts";

interface Told {
  readonly pid: number;
  readonly said: string;
  readonly suspended: readonly boolean[];
  readonly exit: unknown;
  readonly left: readonly unknown[];
  readonly output: readonly string[];
}

const folders: string[] = [];
afterAll(() => {
  for (const folder of folders) rmSync(folder, { recursive: true, force: true });
});

test.skipIf(NO_LAB).each(USERS)("in a real lab of user %i a Machine starts, answers, sleeps and ends", async (uid) => {
  const folder = mkdtempSync("/tmp/flycast-driver-lab-");
  folders.push(folder);
  chmodSync(folder, 0o777);
  const program = fileURLToPath(new URL("./lab-outer.ts", import.meta.url));
  const tsx = fileURLToPath(import.meta.resolve("tsx"));
  const node = [process.execPath, "--import", tsx, program, folder];
  const [file = "", ...args]: readonly string[] = [...asUser(uid), ...node];
  const outer = spawn(file, args, { stdio: ["ignore", "inherit", "inherit", "ipc"] });
  const told = await new Promise<Told>((resolve, reject) => {
    outer.once("message", (message) => resolve(message as Told));
    outer.once("exit", (code) => reject(new Error(`the lab ended with ${code}`)));
  });
  expect(told.said).toContain(`pid ${told.pid} child`);
  expect(told.suspended).toEqual([true, true]);
  expect(told).toMatchObject({ exit: { code: 9 }, left: [] });
  // The volume is there, the state folder is not, and no capability is left (root keeps a bounded set).
  expect(told.output.slice(0, 2)).toEqual(["good day", "0"]);
  if (uid !== 0) expect(told.output[2]).toMatch(/CapEff:\s*0+$/);
  const [machine = ""] = readdirSync(join(folder, "state/volumes"));
  expect(readFileSync(join(folder, "state/volumes", machine, "data/file"), "utf8")).toBe("hello\n");
});
