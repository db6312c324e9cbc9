import { connect, type Socket } from "node:net";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, expect, test } from "vitest";
import { clean, curl, Up, workspaceOf } from "./support.ts";

const ECHO = `require("net").createServer({ allowHalfOpen: true }, (s) => s.pipe(s)).listen(process.env.PORT, "127.0.0.1")`;
const WEB = `require("http").createServer((q, s) => s.end("v" + process.env.V)).listen(process.env.PORT, "127.0.0.1")`;
const flyEcho = (ports: readonly number[], hard = ""): string =>
  `app = "echo"\n[[services]]\n  protocol = "tcp"\n  internal_port = 7000\n  auto_stop_machines = "stop"\n` +
  ports.map((port) => `  [[services.ports]]\n    port = ${port}\n`).join("") +
  (hard === ""
    ? ""
    : `  [services.concurrency]\n    type = "connections"\n    soft_limit = 1\n    hard_limit = ${hard}\n`);
const flyWeb = (name: string): string =>
  `app = "${name}"\n[http_service]\n  internal_port = 8080\n  auto_stop_machines = "stop"\n`;
const flycast = (v: string, more = ""): string =>
  `[limits]\nqueue_timeout = "300ms"\n[apps.echo]\npath = "echo"\ncommand = '''node -e '${ECHO}' '''\n` +
  `[apps.web]\npath = "web"\ncommand = '''node -e '${WEB}' '''\nenv = { V = "${v}" }\n${more}`;

const running: Up[] = [];
const sockets: Socket[] = [];
afterEach(async () => {
  for (const socket of sockets.splice(0)) socket.destroy();
  for (const node of running.splice(0)) {
    await node.stop("SIGKILL");
    clean(node.folder);
  }
});

/** A connection that says what comes back. */
class Talk {
  readonly socket: Socket;
  #text = "";
  #listeners: (() => void)[] = [];
  ended = false;

  constructor(at: string) {
    const [host = "", port = ""] = at.split(":");
    this.socket = connect(Number(port), host);
    sockets.push(this.socket);
    this.socket.setEncoding("utf8").on("data", (chunk: string) => {
      this.#text += chunk;
      for (const listener of this.#listeners.splice(0)) listener();
    });
    for (const event of ["end", "close", "error"] as const) {
      this.socket.on(event, () => {
        this.ended = true;
        for (const listener of this.#listeners.splice(0)) listener();
      });
    }
  }

  async say(line: string): Promise<string> {
    this.#text = "";
    this.socket.write(line);
    while (!this.#text.includes(line) && !this.ended)
      await new Promise<void>((resolve) => this.#listeners.push(resolve));
    return this.#text;
  }
}

async function start(): Promise<Up> {
  const folder = workspaceOf(
    {
      "flycast.toml": flycast("1"),
      "echo/fly.toml": flyEcho([7, 8]),
      "web/fly.toml": flyWeb("web"),
      "more/fly.toml": flyWeb("more"),
    },
    "root",
  );
  const node = new Up(folder, "root", ["--network-mode", "loopback"]);
  running.push(node);
  await node.ready();
  return node;
}

async function reloaded(node: Up, change: () => void): Promise<void> {
  const from = node.events.length;
  change();
  await node.until((event) => event.event === "reload", from);
}

test("a change of one app leaves the connections of another alone", async () => {
  const node = await start();
  const talk = new Talk(await node.published("echo", 7));
  expect(await talk.say("one\n")).toBe("one\n");
  await reloaded(node, () => writeFileSync(join(node.folder, "flycast.toml"), flycast("2")));
  expect((await curl(`http://${await node.published("web", 80)}/`)).out).toBe("v2");
  expect(await talk.say("two\n")).toBe("two\n");
  expect(node.count((event) => event.event === "stopped" && event.app === "echo")).toBe(0);
});

test("an added app listens at once; SIGHUP reads the files again", async () => {
  const node = await start();
  const more = `[apps.more]\npath = "more"\ncommand = '''node -e '${WEB}' '''\nenv = { V = "more" }\n`;
  await reloaded(node, () => writeFileSync(join(node.folder, "flycast.toml"), flycast("1", more)));
  const status = JSON.parse((await node.cli("status", "--json")).out) as {
    apps: { name: string; services: { port: number; published?: string }[] }[];
  };
  const at = status.apps.find((app) => app.name === "more")?.services.find((service) => service.port === 80)?.published;
  expect((await curl(`http://${at}/`)).out).toBe("vmore");
  await reloaded(node, () => node.process.kill("SIGHUP"));
  // What is doubtful in good files is said as at the start.
  await reloaded(node, () => writeFileSync(join(node.folder, "more/fly.toml"), `typo = 1\n${flyWeb("more")}`));
  expect(node.stderr).toMatch(/"grade":"warning".*"path":"typo"/);
});

test("a removed port takes no new connections, and those that it has go on; a changed limit is for the next connection", async () => {
  const node = await start();
  const [seven, eight] = [await node.published("echo", 7), await node.published("echo", 8)];
  const talk = new Talk(eight);
  expect(await talk.say("before\n")).toBe("before\n");
  await reloaded(node, () => writeFileSync(join(node.folder, "echo/fly.toml"), flyEcho([7], "1")));
  expect(await talk.say("after\n")).toBe("after\n");
  const late = new Talk(eight);
  await late.say("late\n");
  expect(late.ended).toBe(true);
  // The old connection is the one that the hard limit allows: the next one waits, in vain.
  const over = new Talk(seven);
  await over.say("over\n");
  expect(over.ended).toBe(true);
  expect(node.count((event) => event.event === "wake")).toBe(1);
});
