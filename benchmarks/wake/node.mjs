import { spawn } from "node:child_process";
import { cpSync, mkdtempSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

/** The shipped program with one app that sleeps, and its events. */
export async function startNode(mode) {
  const root = fileURLToPath(new URL("../..", import.meta.url));
  const flycast = join(root, "dist/cli/flycast.js");
  const folder = mkdtempSync(join(tmpdir(), "flycast-wake-"));
  mkdirSync(join(folder, "app"));
  cpSync(fileURLToPath(new URL("app.mjs", import.meta.url)), join(folder, "app", "app.mjs"));
  writeFileSync(
    join(folder, "app", "fly.toml"),
    'app = "app"\n[[services]]\n  protocol = "tcp"\n  internal_port = 8080\n  [[services.ports]]\n    port = 80\n    handlers = ["http"]\n',
  );
  writeFileSync(join(folder, "flycast.toml"), '[apps.app]\npath = "app"\ncommand = "node app.mjs"\n');
  const child = spawn(process.execPath, [flycast, "up", folder, "--json", "--network-mode", mode], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const events = [];
  let waiting = [];
  let partial = "";
  child.stdout.setEncoding("utf8").on("data", (chunk) => {
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
  const ready = await until((event) => event.event === "ready");
  const headers = {
    authorization: `Bearer ${readFileSync(join(folder, ".flycast", "token"), "utf8").trim()}`,
    "content-type": "application/json",
  };
  const machines = `${ready.api}/v1/apps/app/machines`;
  const [{ id }] = await (await fetch(machines, { headers })).json();
  return {
    flycast,
    folder,
    ready,
    events,
    until,
    /** Resolves when its one Machine sleeps. */
    async stopMachine() {
      const stopped = until((event) => event.event === "stopped", events.length);
      await fetch(`${machines}/${id}/stop`, { method: "POST", headers, body: '{"signal":"SIGKILL"}' });
      await stopped;
    },
    async end() {
      child.kill("SIGINT");
      await new Promise((resolve) => child.once("exit", resolve));
      rmSync(folder, { recursive: true, force: true });
    },
  };
}
