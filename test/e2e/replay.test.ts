import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, expect, test } from "vitest";
import { clean, curl, eventually, Up, workspaceOf } from "./support.ts";

const ASKS = `require("http").createServer((request, response) =>
  response.setHeader("fly-replay", "app=open;state=s1").end()).listen(process.env.PORT, "127.0.0.1")`;
const ANSWERS = `require("http").createServer((request, response) =>
  response.end("open served what " + request.headers["fly-replay-src"].replace(/.*state=/, "") + " was about\\n"))
  .listen(process.env.PORT, "127.0.0.1")`;
const fly = (app: string): string => `app = "${app}"\n[http_service]\ninternal_port = 8080\n`;
const flycast = (more: string): string =>
  `[apps.asks]\ncommand = "node app.cjs"\n[apps.open]\norg = "acme"\ncommand = "node app.cjs"\n${more}`;

process.env["FLYCAST_ACCESS_LOG"] = "1";
const running: Up[] = [];
afterEach(async () => {
  for (const node of running.splice(0)) {
    await node.stop("SIGKILL");
    clean(node.folder);
  }
});

test("a request is replayed to another organisation's app while that app says so, wakes it, and is in the access log", async () => {
  const files = {
    "flycast.toml": flycast('replay_from = ["personal"]\n'),
    "asks/fly.toml": fly("asks"),
    "asks/app.cjs": ASKS,
    "open/fly.toml": fly("open"),
    "open/app.cjs": ANSWERS,
  };
  const node = new Up(workspaceOf(files, "root"), "root", ["--network-mode", "loopback"]);
  running.push(node);
  const url = `http://${await node.published("asks", 80)}/`;
  expect((await curl(url)).out).toBe("open served what s1 was about\n");
  expect(node.count((event) => event.event === "wake" && event.app === "open")).toBe(1);

  const from = node.events.length;
  writeFileSync(join(node.folder, "flycast.toml"), flycast(""));
  await node.until((event) => event.event === "reload", from);
  expect((await curl(url)).out).toBe("PA05: replaying to that app is not allowed\n");

  const requests = (): readonly object[] =>
    node.stderr
      .split("\n")
      .filter((line) => line.includes('"msg":"request"'))
      .map((line) => JSON.parse(line) as object);
  const log = await eventually(requests, (lines) => lines.length === 2);
  expect(log).toMatchObject([
    { app: "open", method: "GET", target: "/", protocol: "HTTP/1.1", status: 200 },
    { app: "asks", status: 502, code: "PA05" },
  ]);
});
