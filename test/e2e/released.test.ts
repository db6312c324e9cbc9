import { spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { afterEach, expect, test } from "vitest";
import { asWho, cannotPlay, clean, FLYCAST, Up, workspaceOf, type Who } from "./support.ts";

const SERVER = `require("http").createServer((request, response) => {
  if (request.url === "/") return response.end("served");
  response.write("begin ");
  setTimeout(() => response.end("end"), 1500);
}).listen(8080, "::");`;
const FILES = {
  "flycast.toml": `[node]
network_mode = "lab"
[apps.shared]
org = "acme"
command = "${process.execPath} server.cjs"
flycast = ["globex"]
[apps.other]
org = "globex"
command = "${process.execPath} server.cjs"
`,
  "shared/fly.toml":
    'app = "shared"\n[[services]]\ninternal_port = 8080\n[[services.ports]]\nport = 80\nhandlers = ["http"]\n',
  "shared/server.cjs": SERVER,
  "other/fly.toml":
    'app = "other"\n[[services]]\ninternal_port = 8080\n[[services.ports]]\nport = 80\nhandlers = ["http"]\n',
  "other/server.cjs": SERVER,
};
/** For each path on its standard input: a request over one kept connection; says what it got, and over how many connections. */
const CLIENT = `
const { Agent, get } = require("http");
const agent = new Agent({ keepAlive: true, maxSockets: 1 });
let connections = 0;
require("readline").createInterface({ input: process.stdin }).on("line", (path) => {
  get("http://shared.flycast" + path, { agent }, (response) => {
    if (path !== "/") console.log("begun");
    let body = "";
    response.setEncoding("utf8").on("data", (chunk) => (body += chunk));
    response.on("end", () => console.log(response.statusCode + " " + body.trim() + " over " + connections));
  }).on("socket", (socket) => socket.listenerCount("close") && !socket.known && (socket.known = ++connections))
    .on("error", (error) => console.log(error.code));
});`;

const cleanups: (() => Promise<void> | void)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

const whos: Who[] = ["root", "user"];
test.for(whos.map((who) => [who, cannotPlay(who)] as const))(
  "a released address: the request that is being served ends, the next one on the same connection is refused (%s)",
  async ([who, why], { skip }) => {
    if (process.env["CI"] !== "true") skip(why !== undefined, why);
    const node = new Up(workspaceOf(FILES, who), who);
    cleanups.push(async () => {
      await node.stop("SIGKILL");
      clean(node.folder);
    });
    const { services } = await node.ready();
    const shared = services.find((service) => service.app === "shared")?.address ?? "";

    const [file, ...args] = [
      ...asWho(who),
      process.execPath,
      FLYCAST,
      "exec",
      "--org",
      "globex",
      "--",
      process.execPath,
      "-e",
      CLIENT,
    ];
    const client = spawn(file, args, { cwd: node.folder, stdio: ["pipe", "pipe", "inherit"] });
    cleanups.push(() => void client.stdin.end());
    const lines = createInterface({ input: client.stdout })[Symbol.asyncIterator]();
    const ask = (path: string): void => void client.stdin.write(`${path}\n`);
    const next = async (): Promise<unknown> => (await lines.next()).value;

    ask("/");
    expect(await next()).toBe("200 served over 1");
    ask("/slow");
    expect(await next()).toBe("begun");
    const released = await node.cli("ips", "release", shared, "-a", "shared");
    expect(released.code, released.err).toBe(0);
    expect(await next()).toBe("200 begin end over 1");
    ask("/");
    expect(await next()).toBe("404 FP01: no service listens there over 1");
    // A new connection is not even accepted.
    ask("/");
    expect(["ECONNREFUSED", "ECONNRESET", "ENOTFOUND"]).toContain(await next());
  },
);
