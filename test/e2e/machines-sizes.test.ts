import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { Cgroups } from "../../src/machines/drivers/cgroups.ts";
import { probeLab } from "../../src/network/linux/probe.ts";
import { clean, curl, eventually, Up, workspaceOf } from "./support.ts";

const groups = await Cgroups.open(`sizes test of ${process.pid}`);
const where = groups.ok ? groups.value.where : "";
const lacking = groups.ok
  ? ["cpu", "memory"].filter((name) => !groups.value.controllers.some((there) => there === name))
  : [];
if (groups.ok) await groups.value.close();
const why = groups.ok
  ? lacking.length === 0
    ? undefined
    : `cgroup v2 has no ${lacking.join(" and ")} here`
  : groups.error;
const probe = await probeLab();

// Eats memory, or processors, when it is asked to.
const APP = `
const { fork } = require("child_process");
if (process.argv[2] === "spin") for (;;);
require("http").createServer((request, response) => {
  if (request.url === "/eat") for (const all = [];;) all.push(Buffer.alloc(1 << 20, 1));
  if (request.url === "/spin") for (let i = 0; i < 3; i++) fork(__filename, ["spin"]);
  response.end(String(process.pid));
}).listen(Number(process.env.PORT ?? 8080), process.env.HOST ?? "::");
`;
const FLY = `app = "a"\nprimary_region = "dev"\n[http_service]\n  internal_port = 8080\n[[vm]]\n  memory = "128mb"\n  cpus = 1\n`;

/** The group of a Machine, in that of whichever node. */
function groupOf(machine: string): string | undefined {
  const tops = readdirSync(where).filter((name) => name.startsWith("flycast-"));
  return tops.map((name) => join(where, name, machine)).find((path) => existsSync(path));
}

// A kernel's own affair, in which most places where tests run have no say: it is told where it is left out.
describe.skipIf(why !== undefined)(`[[vm]] sizes${why === undefined ? "" : ` (${why})`}`, () => {
  test.each([...(probe.ok ? ["lab"] : []), "loopback"])(
    "in %s mode a Machine gets no more memory and no more of the processors than its size",
    async (mode) => {
      const files = {
        "flycast.toml": `[apps.a]\npath = "a"\ncommand = "node app.js"\n`,
        "a/fly.toml": FLY,
        "a/app.js": APP,
      };
      const folder = workspaceOf(files, "root");
      const node = new Up(folder, "root", ["--network-mode", mode]);
      try {
        const at = await node.published("a", 80);
        await curl(`http://${at}/`);
        const { machine = "" } = await node.until(({ event }) => event === "wake");
        const group = (await eventually(
          () => groupOf(machine),
          (found) => found !== undefined && readFileSync(join(found, "cgroup.procs"), "utf8") !== "",
        )) as string;
        expect(readFileSync(join(group, "memory.max"), "utf8").trim()).toBe(String(128 * 1024 * 1024));
        expect(readFileSync(join(group, "cpu.max"), "utf8").trim()).toBe("100000 100000");
        expect((await curl("-o", "/dev/null", "-w", "%{http_code}", `http://${at}/eat`)).out).toBe("502");
        const ended = await node.until(({ event }) => event === "stopped");
        expect(ended["exit"]).toMatchObject({ signal: "SIGKILL" });
        expect(node.events.filter(({ event }) => event === "problem")).toEqual([]);
        // The next request finds a new one.
        expect((await curl(`http://${at}/`)).out).toMatch(/^\d+$/);
        await curl(`http://${at}/spin`);
        await eventually(
          () => Number(/^nr_throttled (\d+)$/m.exec(readFileSync(join(group, "cpu.stat"), "utf8"))?.[1]),
          (throttled) => throttled >= 3,
          60_000,
        );
      } finally {
        await node.stop("SIGKILL");
        clean(folder);
      }
    },
  );
});
