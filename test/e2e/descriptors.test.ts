import { spawnSync } from "node:child_process";
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { cannotPlay, clean, eventually, leftovers, Up, workspaceOf } from "./support.ts";

const CI = process.env["CI"] === "true";
const ECHO =
  'require("net").createServer((s) => s.on("error", () => {}).pipe(s)).listen(process.env.PORT ?? 7, process.env.HOST ?? "::");\n';
const service = (app: string): string =>
  `app = "${app}"\n[[services]]\nprotocol = "tcp"\ninternal_port = 7\nauto_stop_machines = "stop"\n` +
  `[services.concurrency]\ntype = "connections"\nsoft_limit = 1000\n[[services.ports]]\nport = 7\n`;
const FILES = {
  "flycast.toml": `
[autostop]
interval = "100ms"
idle = "200ms"
[apps.busy]
path = "busy"
command = "node ../echo.js"
[apps.other]
path = "other"
org = "acme"
command = "node ../echo.js"
`,
  "busy/fly.toml": service("busy"),
  "other/fly.toml": service("other"),
  "echo.js": ECHO,
};
const LIMIT = ["prlimit", "--nofile=256:256"];
const unable = cannotPlay("user") ?? (spawnSync("prlimit", ["--version"]).status === 0 ? undefined : "no prlimit");

describe.skipIf(unable !== undefined && !CI).each(["lab", "loopback"])("with 256 descriptors, in %s mode", (mode) => {
  let node: Up;
  beforeAll(async () => {
    const on = ["env", "FLYCAST_LOG=warn", ...LIMIT];
    node = new Up(workspaceOf(FILES, "user"), "user", ["--network-mode", mode], on);
    await node.ready();
  });
  afterAll(async () => {
    await node.stop("SIGKILL");
    await eventually(
      () => leftovers(node.folder),
      (left) => left.length === 0,
    );
    clean(node.folder);
  });

  async function dial(app: string): Promise<Socket> {
    const [host = "", port = ""] = (await node.published(app, 7)).split(":");
    const socket = connect({ host, port: Number(port), noDelay: true }).on("error", () => {});
    onTestFinished(() => void socket.destroy());
    return socket;
  }

  /** Whether a byte comes back; false: the connection was refused. */
  const isServed = (client: Socket): Promise<boolean> =>
    new Promise((resolve) => {
      if (client.destroyed) return resolve(false);
      client.once("data", () => resolve(true)).once("close", () => resolve(false));
      client.write("x");
    });

  test("a flood is refused by its own code, who is in lives on, others' Machines wake, and it recovers", async () => {
    const first = await dial("busy");
    expect(await isServed(first)).toBe(true);

    const flood = await Promise.all(Array.from({ length: 400 }, () => dial("busy")));
    const served = await Promise.all(flood.map(isServed));
    expect(served.filter((is) => is).length).toBeGreaterThan(10);
    expect(served.filter((is) => !is).length).toBeGreaterThan(300);
    await eventually(
      () => node.stderr,
      (text) => /"code":"FP0[34]"/.test(text),
    );

    expect(await isServed(first)).toBe(true);
    for (let wakes = 1; wakes <= 2; wakes++) {
      const woken = await dial("other");
      expect(await isServed(woken)).toBe(true);
      woken.destroy();
      await once(woken, "close");
      await eventually(
        () => node.count((e) => e.app === "other" && e.event === "stopped"),
        (stops) => stops === wakes,
      );
    }

    for (const client of flood) client.destroy();
    await eventually(
      async () => isServed(await dial("busy")),
      (is) => is,
    );
    expect(node.count((e) => e.event === "failed" || e.event === "problem")).toBe(0);
    expect(await isServed(first)).toBe(true);
  });
});
