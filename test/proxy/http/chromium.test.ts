/** A real browser before the real program. It is a big one to install: where there is none, also in CI, this is skipped. */
import { spawn, spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { createInterface } from "node:readline";
import { createRequire } from "node:module";
import { once } from "node:events";
import { expect, onTestFinished, test } from "vitest";
import { clean, eventually, Up, workspaceOf } from "../../e2e/support.ts";

const CHROMIUM = "chromium";
const isThere = spawnSync(CHROMIUM, ["--version"]).status === 0;
const ASSETS = 60;
const PAGE = `<!doctype html><title>…</title>
${Array.from({ length: ASSETS }, (_, i) => `<script src="/${i}.js"></script>`).join("\n")}
<script>
  let echoed = "", events = 0;
  const show = () => (document.title = [window.loaded, echoed, events].join(" "));
  const socket = new WebSocket("ws://" + location.host + "/socket");
  socket.onopen = () => socket.send("ping");
  socket.onmessage = (message) => { echoed = message.data; show(); };
  const source = new EventSource("/events");
  source.onmessage = () => { if (++events === 3) source.close(); show(); };
</script>`;
const wsFolder = dirname(createRequire(import.meta.url).resolve("ws/package.json"));
const APP = `
const http = require("node:http"), { WebSocketServer } = require(${JSON.stringify(wsFolder)});
const server = http.createServer((request, response) => {
  if (request.url.endsWith(".js")) {
    response.setHeader("content-type", "text/javascript");
    return response.end("window.loaded = (window.loaded ?? 0) + 1;");
  }
  if (request.url === "/events") {
    response.writeHead(200, { "content-type": "text/event-stream" });
    const timer = setInterval(() => response.write("data: x\\n\\n"), 20);
    return response.on("close", () => clearInterval(timer));
  }
  response.setHeader("content-type", "text/html");
  response.end(${JSON.stringify(PAGE)});
});
new WebSocketServer({ server }).on("connection", (socket) => socket.on("message", (data) => socket.send("pong-" + data)));
server.listen(process.env.PORT, "127.0.0.1");
`;
const FLY =
  'app = "a"\n[http_service]\ninternal_port = 8080\nauto_stop_machines = "stop"\n[http_service.concurrency]\ntype = "requests"\n';

test.skipIf(!isThere)(
  "Chromium loads a page with 60 assets, a WebSocket and an EventSource from a Machine that slept, and lets it sleep again",
  { timeout: 90_000 },
  async () => {
    const files = {
      "flycast.toml": '[autostop]\ninterval = "200ms"\nidle = "1s"\n[apps.a]\npath = "a"\ncommand = "node app.cjs"\n',
      "a/fly.toml": FLY,
      "a/app.cjs": APP,
    };
    const node = new Up(workspaceOf(files, "root"), "root", ["--network-mode", "loopback"]);
    onTestFinished(async () => {
      await node.stop("SIGKILL");
      clean(node.folder);
    });
    const at = await node.published("a", 80);
    expect(node.count((event) => event.event === "wake")).toBe(0);

    const profile = mkdtempSync(join(tmpdir(), "flycast-chromium-"));
    const browser = spawn(
      CHROMIUM,
      [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-background-networking",
        "--no-first-run",
        "--disable-component-update",
        "--disable-sync",
        "--disable-dev-shm-usage",
        "--no-proxy-server",
        "--remote-debugging-port=0",
        `--user-data-dir=${profile}`,
        `http://${at}/`,
      ],
      { stdio: ["ignore", "ignore", "pipe"], detached: true },
    );
    const ended = once(browser, "exit");
    const endBrowser = async (): Promise<void> => {
      if (browser.exitCode !== null || browser.signalCode !== null || browser.pid === undefined) return;
      process.kill(-browser.pid, "SIGKILL"); // its helpers too: it leads a group of its own
      await ended;
    };
    onTestFinished(async () => {
      await endBrowser();
      rmSync(profile, { recursive: true, force: true, maxRetries: 10, retryDelay: 100 });
    });

    const debugPort = await new Promise<string>((resolve) => {
      createInterface({ input: browser.stderr }).on("line", (line) => {
        const match = /DevTools listening on ws:\/\/127\.0\.0\.1:(\d+)/.exec(line);
        if (match?.[1] !== undefined) resolve(match[1]);
      });
    });
    const titles = async (): Promise<readonly string[]> => {
      const pages = (await (await fetch(`http://127.0.0.1:${debugPort}/json/list`)).json()) as { title: string }[];
      return pages.map((page) => page.title);
    };
    await eventually(titles, (found) => found.includes(`${ASSETS} pong-ping 3`), 30_000);
    expect(node.count((event) => event.event === "wake")).toBe(1);

    // The page is still open, and with it the WebSocket: that is use. Idle keep-alive connections alone are none.
    await endBrowser();
    await node.until((event) => event.event === "stopped");
    expect(node.count((event) => event.event === "wake")).toBe(1);
  },
);
