import { chownSync, mkdirSync, readdirSync, readFileSync, rmdirSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { Cgroups } from "../../src/machines/drivers/cgroups.ts";
import { cannotPlay, clean, curl, eventually, Up, workspaceOf } from "./support.ts";

const NOBODY = 65_534;
const groups = await Cgroups.open(`delegation test of ${process.pid}`);
if (groups.ok) await groups.value.close();
const why = groups.ok ? (cannotPlay("root") ?? cannotPlay("user")) : groups.error;

// Where there is no cgroup v2, or it may not be written to, Machines are suspended by signals: other tests run there.
describe.skipIf(why !== undefined)(
  `an ordinary user in a control group that was delegated${why === undefined ? "" : ` (${why})`}`,
  { concurrent: true },
  () => {
    test.each(["lab", "loopback"])(
      "in %s mode Machines are frozen in it, and nothing of them is left",
      async (mode) => {
        // What a service manager does: a group that belongs to the user, and the program in one below it.
        const delegated = join(groups.ok ? groups.value.where : "", `delegated-${process.pid}-${mode}`);
        const app = join(delegated, "app");
        mkdirSync(app, { recursive: true });
        for (const group of [delegated, app])
          for (const path of [group, ...readdirSync(group).map((name) => join(group, name))])
            chownSync(path, NOBODY, NOBODY);
        const folder = workspaceOf(
          {
            "flycast.toml": `[autostop]\ninterval = "100ms"\nidle = "300ms"\n[apps.a]\npath = "a"\ncommand = "node app.js"\n`,
            "a/fly.toml": `app = "a"\nprimary_region = "dev"\n[http_service]\n  internal_port = 8080\n  auto_stop_machines = "suspend"\n`,
            "a/app.js": `let n = 0; require("http").createServer((q, r) => r.end(String(++n))).listen(Number(process.env.PORT ?? 8080), process.env.HOST ?? "::");`,
          },
          "user",
        );
        const inside = ["sh", "-c", 'echo $$ > "$0/cgroup.procs" && exec "$@"', app];
        const node = new Up(folder, "user", ["--network-mode", mode], inside);
        try {
          const at = await node.published("a", 80);
          expect((await curl(`http://${at}/`)).out).toBe("1");
          const { machine = "" } = await node.until(({ event }) => event === "suspended");
          const ours = readdirSync(delegated).find((name) => name.startsWith("flycast-")) ?? "";
          const group = join(delegated, ours, machine);
          expect(readFileSync(join(group, "cgroup.events"), "utf8")).toMatch(/^frozen 1$/m);
          expect(readFileSync(join(group, "cgroup.procs"), "utf8")).toMatch(/^\d+$/m);
          expect((await curl(`http://${at}/`)).out).toBe("2");
          expect((await node.cli("doctor")).out).toContain(`the freezer in ${delegated}`);
          expect((await node.stop()).code).toBe(0);
          expect(readdirSync(delegated).filter((name) => name.startsWith("flycast-"))).toEqual([]);
        } finally {
          await node.stop("SIGKILL");
          clean(folder);
          // A killed node's processes may take a moment to leave.
          await eventually(
            () => {
              try {
                rmdirSync(app);
                rmdirSync(delegated);
                return true;
              } catch {
                return false;
              }
            },
            (gone) => gone,
          ).catch(() => undefined);
        }
      },
    );
  },
);
