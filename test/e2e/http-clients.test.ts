/** HTTP's own tools and a browser, inside the lab: by name, over the private network, to Machines that sleep. */
import { spawnSync } from "node:child_process";
import { readFileSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { cannotPlay, clean, eventually, Up, workspaceOf, type Ran } from "./support.ts";

const CI = process.env["CI"] === "true";
const has = (program: string, flag = "--version"): boolean => spawnSync(program, [flag]).error === undefined;
const require = createRequire(import.meta.url);
const folderOf = (name: string): string => JSON.stringify(dirname(require.resolve(`${name}/package.json`)));

const ASSETS = 60;
const PAGE = `<!doctype html><title>…</title>
${Array.from({ length: ASSETS }, (_, i) => `<script src="/${i}.js"></script>`).join("\n")}
<script>
  let echoed = "", events = 0;
  const report = () => echoed && events === 3 && fetch("/report", { method: "POST", body: [loaded, echoed, events].join(" ") });
  const socket = new WebSocket("ws://" + location.host + "/socket");
  socket.onopen = () => socket.send("ping");
  socket.onmessage = (message) => { echoed = message.data; report(); };
  const source = new EventSource("/events");
  source.onmessage = () => { if (++events === 3) source.close(); report(); };
</script>`;
const WEB = `
const http = require("node:http"), fs = require("node:fs"), { WebSocketServer } = require(${folderOf("ws")});
const big = Buffer.alloc(4_000_000, "x");
const server = http.createServer((request, response) => {
  if (request.url === "/big") return response.end(big);
  if (request.url === "/page") return response.setHeader("content-type", "text/html").end(${JSON.stringify(PAGE)});
  if (request.url.endsWith(".js")) return response.setHeader("content-type", "text/javascript").end("window.loaded = (window.loaded ?? 0) + 1;");
  if (request.url === "/events") {
    response.writeHead(200, { "content-type": "text/event-stream" });
    const timer = setInterval(() => response.write("data: x\\n\\n"), 20);
    return response.on("close", () => clearInterval(timer));
  }
  let body = "";
  request.on("data", (chunk) => (body += chunk));
  request.on("end", () => {
    if (request.url === "/report") fs.writeFileSync("report.txt", body);
    response.end("ok");
  });
});
new WebSocketServer({ server, maxPayload: 64e6 }).on("connection", (socket) =>
  socket.on("message", (data, isBinary) => socket.send(isBinary ? data : "pong-" + data, { binary: isBinary })));
server.listen(8080, "::");
`;
const RPC = `
const grpc = require(${folderOf("@grpc/grpc-js")});
const encode = (value) => Buffer.from(JSON.stringify(value)), decode = (bytes) => JSON.parse(bytes);
const method = (name, streams) => ({ path: "/Clients/" + name, requestStream: streams, responseStream: streams,
  requestSerialize: encode, requestDeserialize: decode, responseSerialize: encode, responseDeserialize: decode });
const Clients = grpc.makeGenericClientConstructor({ One: method("One", false), Both: method("Both", true), Fail: method("Fail", false) });
`;
const RPC_SERVER = `${RPC}
const server = new grpc.Server();
server.addService(Clients.service, {
  One: (call, done) => done(null, { text: call.request.text + "!" }),
  Both: (call) => {
    call.on("data", ({ text }) => call.write({ text: text + "!" }));
    call.on("end", () => call.end());
  },
  Fail: (call, done) => done({ code: grpc.status.ABORTED, details: "as asked" }),
});
server.bindAsync("[::]:8080", grpc.ServerCredentials.createInsecure(), () => {});
`;
const RPC_CLIENT = `${RPC}
const client = new Clients("dns:///rpc.flycast:80", grpc.credentials.createInsecure());
const said = [];
client.One({ text: "one" }, (error, answer) => {
  said.push(error?.code ?? answer.text);
  const call = client.Both();
  call.on("data", ({ text }) => { said.push(text); said.length < 4 ? call.write({ text: "more" }) : call.end(); });
  call.on("status", ({ code }) => {
    said.push(code);
    client.Fail({ text: "" }, (error) => { console.log(JSON.stringify([...said, error.code, error.details])); client.close(); });
  });
  call.write({ text: "both" });
});
`;
const WS_CLIENT = `
const { WebSocket } = require(${folderOf("ws")}), { randomBytes } = require("node:crypto");
const sizes = [0, 125, 126, 65535, 65536, 16 * 1024 * 1024];
const socket = new WebSocket("ws://web.flycast/socket", { maxPayload: 64e6, perMessageDeflate: false });
let sent;
const next = () => sizes.length ? socket.send((sent = randomBytes(sizes.shift()))) : socket.close();
socket.on("open", next);
socket.on("message", (data) => { if (!data.equals(sent)) process.exit(3); next(); });
socket.on("close", (code) => console.log("closed", code));
`;
const http = (app: string, more: string): string => `app = "${app}"
[[services]]
internal_port = 8080
auto_stop_machines = "stop"
[services.concurrency]
type = "requests"
soft_limit = 1000
[[services.ports]]
port = 80
handlers = ["http"]
${more}`;
const FILES = {
  "flycast.toml": `[node]
network_mode = "lab"
[autostop]
interval = "200ms"
idle = "1s"
[limits]
head_timeout = "2s"
keepalive_timeout = "2s"
[apps.web]
command = "${process.execPath} server.cjs"
[apps.rpc]
command = "${process.execPath} server.cjs"
`,
  "web/fly.toml": http("web", ""),
  "web/server.cjs": WEB,
  "rpc/fly.toml": http("rpc", "[services.ports.http_options]\nh2_backend = true\n"),
  "rpc/server.cjs": RPC_SERVER,
  "rpc.cjs": RPC_CLIENT,
  "ws.cjs": WS_CLIENT,
};

const unable = cannotPlay("root");
describe.skipIf(unable !== undefined && !CI)("in the lab", () => {
  let node: Up;
  const inside = (...command: string[]): Promise<Ran> => node.cli("exec", "--", ...command);
  const wakes = (app: string): number => node.count((event) => event.event === "wake" && event.app === app);
  const asleep = (app: string, from: number): Promise<unknown> =>
    node.until((event) => event.event === "stopped" && event.app === app, from);

  beforeAll(async () => {
    node = new Up(workspaceOf(FILES, "root"), "root");
    await node.ready();
  });
  afterAll(async () => {
    await node.stop("SIGKILL");
    clean(node.folder);
  });

  const h2load = test.skipIf(!has("h2load") && !CI);
  h2load.for([
    ["HTTP/2 with prior knowledge", []],
    ["HTTP/1.1", ["--h1"]],
  ] as const)("h2load, %s: thousands of requests wake a Machine once, and none fails", async ([, how]) => {
    const from = node.events.length;
    const before = wakes("web");
    const { out, code } = await inside("h2load", ...how, "-n", "4000", "-c", "20", "-m", "8", "http://web.flycast/");
    expect(code, out).toBe(0);
    expect(out).toMatch(
      /requests: 4000 total, 4000 started, 4000 done, 4000 succeeded, 0 failed, 0 errored, 0 timeout/,
    );
    expect(wakes("web")).toBe(before + 1);
    await asleep("web", from);
  });

  test("gRPC: calls of each kind wake a Machine, and end with their own codes", async () => {
    const from = node.events.length;
    const { out, err } = await inside(process.execPath, join(node.folder, "rpc.cjs"));
    expect(out, err).toBe(`${JSON.stringify(["one!", "both!", "more!", "more!", 0, 10, "as asked"])}\n`);
    await asleep("rpc", from);
  });

  test("ws: messages of 0 bytes to 16 MiB", async () => {
    const from = node.events.length;
    const { out, err } = await inside(process.execPath, join(node.folder, "ws.cjs"));
    expect(out, err).toBe("closed 1005\n");
    await asleep("web", from);
  });

  const slow = test.skipIf(!has("slowhttptest", "-h") && !CI);
  slow("slowhttptest, in all its modes at once: others are served as if nothing were", async () => {
    const attack = (...how: string[]): Promise<Ran> =>
      inside("slowhttptest", "-c", "100", "-r", "100", "-i", "1", "-l", "6", "-p", "2", ...how);
    const from = node.events.length;
    const before = wakes("web");
    let over = false;
    const attacks = Promise.all([
      attack("-H", "-u", "http://web.flycast/"),
      attack("-B", "-s", "8192", "-u", "http://web.flycast/"),
      attack("-R", "-u", "http://web.flycast/"),
      attack("-X", "-w", "1", "-y", "64", "-n", "1", "-z", "32", "-k", "3", "-u", "http://web.flycast/big"),
    ]).finally(() => (over = true));
    const codes: string[] = [];
    while (!over) {
      const { out } = await inside(
        "curl",
        "-s",
        "-m",
        "30",
        "-o",
        "/dev/null",
        "-w",
        "%{http_code}",
        "http://web.flycast/",
      );
      codes.push(out);
    }
    expect(codes.length).toBeGreaterThan(0);
    expect(codes.filter((code) => code !== "200")).toEqual([]);
    const said = await attacks;
    for (const { out, code } of said) expect(code, out).toBe(0);
    // Heads that never end are cut by `head_timeout`, before the tool itself gives up.
    expect(said[0]?.out).toMatch(/No open connections left/);
    // Afterwards nothing of all that holds the Machine up, and until then it was up.
    await asleep("web", from);
    expect(wakes("web")).toBe(before + 1);
  });

  // A big one to install: where there is none, also in CI, this is skipped.
  test.skipIf(!has("chromium"))(
    "Chromium: a page with 60 assets, a WebSocket and an EventSource, by name",
    async () => {
      const profile = join(node.folder, "profile");
      const before = wakes("web");
      const browser = inside(
        "timeout",
        "-s",
        "KILL",
        "40",
        "chromium",
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-background-networking",
        "--no-first-run",
        "--disable-component-update",
        "--disable-sync",
        "--disable-dev-shm-usage",
        "--no-proxy-server",
        `--user-data-dir=${profile}`,
        "--remote-debugging-port=0",
        "http://web.flycast/page",
      );
      const report = join(node.folder, "web/report.txt");
      const read = (): string => {
        try {
          return readFileSync(report, "utf8");
        } catch {
          return "";
        }
      };
      await eventually(read, (text) => text === `${ASSETS} pong-ping 3`, 35_000);
      expect(wakes("web")).toBe(before + 1);
      void browser;
      rmSync(report);
    },
  );
});
