import { writeFileSync } from "node:fs";
import { Agent, get } from "node:http";
import { connect } from "node:net";
import { join } from "node:path";
import { afterEach, expect, test } from "vitest";
import { clean, curl, eventually, Up, workspaceOf } from "./support.ts";

// Both far longer than `idle` below: a Machine that were judged by its age or by silence would be stopped in the middle.
const HELD_MS = 3000;
const APP = `
const http = require("http"), net = require("net");
const server = http.createServer((request, response) => {
  if (request.url === "/endless") return response.write("begin ");
  if (request.url === "/held") {
    response.write("begin ");
    const timer = setInterval(() => {
      if (!require("fs").existsSync("go")) return;
      clearInterval(timer);
      response.end("end");
    }, 20);
    return;
  }
  if (request.url !== "/slow") return response.end("quick");
  response.write("begin ");
  setTimeout(() => response.end("end"), ${HELD_MS});
});
server.on("upgrade", (request, socket) => {
  socket.write("HTTP/1.1 101 Switching Protocols\\r\\nConnection: Upgrade\\r\\nUpgrade: silence\\r\\n\\r\\n");
  setTimeout(() => socket.end("spoke"), ${HELD_MS});
});
server.listen(process.env.PORT, "127.0.0.1");
`;
const FLYCAST = `[autostop]\ninterval = "200ms"\nidle = "400ms"\n[apps.a]\npath = "a"\ncommand = "node app.cjs"\n`;
const FLY =
  'app = "a"\n[http_service]\n  internal_port = 8080\n  auto_stop_machines = "stop"\n[http_service.concurrency]\n  type = "requests"\n  soft_limit = 10\n';

const running: Up[] = [];
afterEach(async () => {
  for (const node of running.splice(0)) {
    await node.stop("SIGKILL");
    clean(node.folder);
  }
});

async function start(): Promise<{ node: Up; at: string }> {
  const node = new Up(workspaceOf({ "flycast.toml": FLYCAST, "a/fly.toml": FLY, "a/app.cjs": APP }, "root"), "root", [
    "--network-mode",
    "loopback",
  ]);
  running.push(node);
  return { node, at: await node.published("a", 80) };
}

const stops = (node: Up): number => node.count((event) => event.event === "stopping");

test("promise 1: a download that is much longer than idle finishes, and then the Machine stops", async () => {
  const { node, at } = await start();
  expect((await curl(`http://${at}/slow`)).out).toBe("begin end");
  expect(node.count((event) => event.event === "wake")).toBe(1);
  await node.until((event) => event.event === "stopped");
});

test("promise 1: a silent upgraded connection keeps its Machine up", async () => {
  const { node, at } = await start();
  const [host = "", port = ""] = at.split(":");
  const heard = await new Promise<string>((resolve, reject) => {
    let text = "";
    const socket = connect(Number(port), host, () =>
      socket.write("GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: silence\r\n\r\n"),
    );
    socket.setEncoding("utf8").on("data", (chunk: string) => (text += chunk));
    socket.on("end", () => resolve(text));
    socket.on("error", reject);
  });
  expect(heard).toMatch(/^HTTP\/1\.1 101 [\s\S]*spoke$/);
  expect(node.count((event) => event.event === "wake")).toBe(1);
  await node.until((event) => event.event === "stopped");
});

test("an idle keep-alive connection keeps nothing up, and its next request wakes the Machine again without an error", async () => {
  const { node, at } = await start();
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  const ask = (): Promise<string> =>
    new Promise((resolve, reject) => {
      get(`http://${at}/`, { agent }, (response) => {
        let text = "";
        response.setEncoding("utf8").on("data", (chunk: string) => (text += chunk));
        response.on("end", () => resolve(text));
      }).on("error", reject);
    });
  expect(await ask()).toBe("quick");
  await node.until((event) => event.event === "stopped");
  expect(await ask()).toBe("quick");
  expect(node.count((event) => event.event === "wake")).toBe(2);
  agent.destroy();
});

test("a Machine that stops under constant traffic of short requests fails none of them", async () => {
  const { node, at } = await start();
  const codes: string[] = [];
  // Pauses around `idle`: many requests arrive just while the Machine is being stopped.
  for (let i = 0; i < 25; i++) {
    codes.push((await curl("-o", "/dev/null", "-w", "%{http_code}", `http://${at}/`)).out);
    await new Promise((resolve) => setTimeout(resolve, 300 + ((i * 37) % 250)));
  }
  expect(codes.filter((code) => code !== "200")).toEqual([]);
  expect(stops(node)).toBeGreaterThan(0);
});

test("why says who holds a Machine up", async () => {
  const { node, at } = await start();
  const slow = curl(`http://${at}/slow`);
  const wake = await node.until((event) => event.event === "wake");
  const why = await eventually(
    () => node.cli("why", wake.machine ?? ""),
    ({ out }) => out.includes("In use by"),
  );
  expect(why.out).toMatch(/request\s+8080\s+127\.0\.0\.1:\d+/);
  await slow;
});

test("Ctrl-C waits for a download, not for an idle keep-alive connection; a second one cuts and says what", async () => {
  const { node, at } = await start();
  const [host = "", port = ""] = at.split(":");
  const idle = connect(Number(port), host, () => idle.write("GET / HTTP/1.1\r\nHost: a\r\n\r\n"));
  await new Promise((resolve) => idle.once("data", resolve));
  const slow = curl(`http://${at}/held`);
  await eventually(
    async () => (await node.cli("status", "--json")).out,
    (out) => out.includes('"inUse": 1'),
  );
  const ended = node.stop("SIGINT");
  const draining = await node.until((event) => event.event === "draining");
  expect(draining).toMatchObject({ apps: [{ app: "a", connections: 0, requests: 1 }] });
  writeFileSync(join(node.folder, "a/go"), "");
  expect((await slow).out).toBe("begin end");
  expect((await ended).code).toBe(0);
  idle.destroy();

  const second = await start();
  const cut = curl(`http://${second.at}/endless`);
  await eventually(
    async () => (await second.node.cli("status", "--json")).out,
    (out) => out.includes('"inUse": 1'),
  );
  const { api } = await second.node.ready();
  second.node.process.kill("SIGINT");
  // Two signals of a kind that come together are one.
  await eventually(
    async () => (await curl("-o", "/dev/null", "-w", "%{http_code}", `${api}/readyz`)).out,
    (code) => code === "503",
  );
  expect((await second.node.stop("SIGINT")).code).toBe(0);
  expect((await cut).code).not.toBe(0);
  expect(second.node.stderr).toMatch(/cut: connection of a from 127\.0\.0\.1/);
});
