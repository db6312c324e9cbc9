import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { connect } from "node:net";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { asWho, cannotPlay, clean, eventually, FLYCAST, leftovers, Up, workspaceOf } from "./support.ts";

const CI = process.env["CI"] === "true";
const ECHO = 'require("net").createServer((s) => s.on("error", () => {}).pipe(s)).listen(7, "::");\n';
/** A hundred clients that connect and leave without a pause. */
const FLOOD = `
const { connect } = require("net");
const again = (host) => connect(7, host).on("connect", function () { this.destroy(); }).on("error", () => {})
  .on("close", () => setImmediate(again, host));
require("dns").lookup("loud.flycast", { family: 6 }, (error, host) => { for (let i = 0; i < 100; i++) again(host); });
`;
/** Twenty clients, one after the other: prints how many were answered. */
const VISIT = `
const { connect } = require("net");
require("dns").lookup("quiet.flycast", { family: 6 }, async (error, host) => {
  let answered = 0;
  for (let i = 0; i < 20; i++) await new Promise((resolve) => {
    connect(7, host).on("connect", function () { this.write("x"); }).on("error", () => {}).on("close", resolve)
      .on("data", function () { answered++; this.end(); });
  });
  console.log(answered);
});
`;
const service = (app: string): string =>
  `app = "${app}"\n[[services]]\nprotocol = "tcp"\ninternal_port = 7\nauto_stop_machines = "off"\n[[services.ports]]\nport = 7\n`;
const FILES = {
  "flycast.toml": `
[apps.quiet]
path = "quiet"
command = "node ../echo.js"
[apps.loud]
path = "loud"
org = "crowd"
command = "node ../echo.js"
`,
  "quiet/fly.toml": service("quiet"),
  "loud/fly.toml": service("loud"),
  "echo.js": ECHO,
  "flood.js": FLOOD,
  "visit.js": VISIT,
};

const unable = cannotPlay("user");
describe.skipIf(unable !== undefined && !CI)("a network that floods the proxy with connections", () => {
  let node: Up;
  const floods: ChildProcess[] = [];
  beforeAll(async () => {
    node = new Up(workspaceOf(FILES, "user"), "user", ["--network-mode", "lab"], ["env", "FLYCAST_LOG=warn"]);
    await node.ready();
  });
  afterAll(async () => {
    for (const flood of floods) flood.kill("SIGKILL");
    await node.stop("SIGKILL");
    await eventually(
      () => leftovers(node.folder),
      (left) => left.length === 0,
    );
    clean(node.folder);
  });

  async function metric(name: string): Promise<number> {
    const { api } = await node.ready();
    const token = readFileSync(join(node.folder, ".flycast/token"), "utf8").trim();
    const text = await (await fetch(`${api}/metrics`, { headers: { authorization: `Bearer ${token}` } })).text();
    return Number(
      text
        .split("\n")
        .find((line) => line.startsWith(name))
        ?.split(" ")
        .at(-1) ?? 0,
    );
  }

  test(
    "is slowed down by the kernel, which is said and counted, and others are served",
    { timeout: 120_000 },
    async () => {
      // Somebody else is here: alone it could do as it likes.
      const [host = "", port = ""] = (await node.published("quiet", 7)).split(":");
      const company = connect(Number(port), host);
      await once(company, "connect");
      const [file, ...more] = [...asWho("user"), process.execPath, FLYCAST, "exec", "--org", "crowd", "--"];
      for (let i = 0; i < 2; i++)
        floods.push(
          spawn(file, [...more, "node", join(node.folder, "flood.js")], { cwd: node.folder, stdio: "ignore" }),
        );

      await eventually(
        () => metric('flycast_denied_packets_total{reason="throttled"}'),
        (dropped) => dropped > 0,
        60_000,
      );
      expect(await metric('flycast_errors_total{code="FP04"}')).toBeGreaterThan(0);
      expect(node.stderr).toMatch(/"code":"FP04".*keeps other networks waiting/);
      expect((await node.cli("exec", "--", "node", join(node.folder, "visit.js"))).out).toBe("20\n");
      company.destroy();
    },
  );
});
