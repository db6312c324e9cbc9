import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test, type TestContext } from "vitest";
import { cannotPlay, clean, curl, eventually, Up, workspaceOf, type UpEvent, type Who } from "./support.ts";

const WHO: Who = "user";

function up({ onTestFinished }: TestContext, files: Readonly<Record<string, string>>): Up {
  const folder = workspaceOf(files, WHO);
  const node = new Up(folder, WHO, ["--network-mode", "lab"]);
  onTestFinished(async () => {
    await node.stop("SIGKILL");
    clean(folder);
  });
  return node;
}

const is =
  (event: string) =>
  (candidate: UpEvent): boolean =>
    candidate.event === event;

interface Listed {
  readonly id: string;
  readonly region: string;
  readonly state: string;
  readonly config: { readonly metadata: Readonly<Record<string, string>> };
}
async function listed(node: Up, app: string): Promise<readonly Listed[]> {
  return JSON.parse((await node.cli("machines", "list", "-a", app, "--json")).out) as Listed[];
}
/** How many there are, by process group and region. */
async function fleet(node: Up, app: string): Promise<Readonly<Record<string, number>>> {
  const count: Record<string, number> = {};
  for (const { region, config } of await listed(node, app)) {
    const key = `${config.metadata["fly_process_group"]} ${region}`;
    count[key] = (count[key] ?? 0) + 1;
  }
  return count;
}

const unable = cannotPlay(WHO);
describe.skipIf(unable !== undefined && process.env["CI"] !== "true")(
  `several Machines of an app${unable === undefined ? "" : ` (${unable})`}`,
  { concurrent: true },
  () => {
    test("one that becomes sick serves nothing more once a check has seen it, and serves again once one has seen it well", async (context) => {
      // Each answer tells how often this Machine has answered a check with 503 since it was well.
      const program = `
const http = require("http"), fs = require("fs"), id = process.env.FLY_MACHINE_ID;
let failed = 0;
http.createServer((request, response) => {
  const sick = fs.existsSync("sick-" + id);
  if (request.url !== "/health") return response.end(JSON.stringify({ id, failed }));
  failed = sick ? failed + 1 : 0;
  response.statusCode = sick ? 503 : 200;
  response.end();
}).listen(8080, "::");
`;
      const node = up(context, {
        "flycast.toml": `[apps.a]\npath = "a"\ncommand = "node app.js"\nmachines = { dev = 2 }\n`,
        "a/fly.toml": `app = "a"\nprimary_region = "dev"\n[http_service]\n  internal_port = 8080\n  auto_stop_machines = "stop"\n  min_machines_running = 2\n  [[http_service.checks]]\n    interval = "3s"\n    timeout = "30s"\n    path = "/health"\n`,
        "a/app.js": program,
      });
      const at = await node.published("a", 80);
      const answers: { readonly id: string; readonly failed: number }[] = [];
      const ask = async (): Promise<string> => {
        const answer = JSON.parse((await curl(`http://${at}/`)).out) as { id: string; failed: number };
        answers.push(answer);
        return answer.id;
      };
      const round = async (): Promise<ReadonlySet<string>> =>
        new Set(await Promise.all(Array.from({ length: 8 }, ask)));
      await eventually(round, (ids) => ids.size === 2, 40_000);
      const [sick = "", well] = [...(await round()).values(), ...(await listed(node, "a")).map(({ id }) => id)];
      expect(well).toBeDefined();
      writeFileSync(join(node.folder, "a", `sick-${sick}`), "");
      await eventually(round, (ids) => !ids.has(sick), 40_000);
      // A request may have been on its way while the first bad answer was; no later one went there.
      const late = answers.filter((answer) => answer.id === sick && answer.failed > 1);
      expect(late).toEqual([]);
      const status = await node.cli("status", "-a", "a");
      expect(status.out).toMatch(/0\/1 passing/);
      for (let i = 0; i < 5; i++) expect(await round()).not.toContain(sick);
      clean(join(node.folder, "a", `sick-${sick}`));
      await eventually(round, (ids) => ids.has(sick), 40_000);
    });

    test("scale count makes and takes away Machines of one region and process group alone, and the list has flyctl's columns", async (context) => {
      const node = up(context, {
        "flycast.toml": `[apps.a]\npath = "a"\ncommand = { web = "sleep 1000", worker = "sleep 1000" }\n`,
        "a/fly.toml": `app = "a"\nprimary_region = "dev"\n[processes]\n  web = "sleep 1000"\n  worker = "sleep 1000"\n[http_service]\n  internal_port = 8080\n  processes = ["web"]\n  auto_stop_machines = "stop"\n`,
      });
      await node.ready();
      const scale = async (...args: string[]): Promise<string> => {
        const { code, out, err } = await node.cli("scale", "count", ...args, "-a", "a", "--yes");
        expect([code, err], args.join(" ")).toEqual([0, ""]);
        return out;
      };
      expect(await fleet(node, "a")).toEqual({ "web dev": 1, "worker dev": 1 });
      const before = new Set((await listed(node, "a")).map(({ id }) => id));
      expect((await scale("3", "--region", "ams", "--process-group", "web")).match(/^\+ created /gm)).toHaveLength(3);
      expect(await fleet(node, "a")).toEqual({ "web dev": 1, "worker dev": 1, "web ams": 3 });
      await scale("2", "--process-group", "worker", "--region", "dev");
      expect(await fleet(node, "a")).toEqual({ "web dev": 1, "worker dev": 2, "web ams": 3 });
      expect((await scale("1", "--region", "ams", "--process-group", "web")).match(/^- destroyed /gm)).toHaveLength(2);
      expect(await fleet(node, "a")).toEqual({ "web dev": 1, "worker dev": 2, "web ams": 1 });
      expect(await scale("1", "--region", "ams", "--process-group", "web")).toContain("already has that many");
      await scale("0", "--region", "ams", "--process-group", "web");
      await scale("1", "--process-group", "worker", "--region", "dev");
      // Whoever was there first stays.
      expect(new Set((await listed(node, "a")).map(({ id }) => id))).toEqual(before);
      const wrong = await node.cli("scale", "count", "2", "--process-group", "cron", "-a", "a", "--yes");
      expect([wrong.code, wrong.err]).toEqual([1, expect.stringContaining("cron")]);

      const { out } = await node.cli("machines", "list", "-a", "a");
      const [head = "", , titles = "", ...rows] = out.split("\n");
      expect(head).toBe("2 machines have been retrieved from app a.");
      expect(titles.trim().split(/ {2,}|\t/)).toEqual(
        "ID,NAME,STATE,CHECKS,REGION,ROLE,IMAGE,IP ADDRESS,VOLUME,CREATED,LAST UPDATED,PROCESS GROUP,SIZE".split(","),
      );
      // Each value stands below its title.
      for (const row of rows.filter((line) => /^[0-9a-f]{14}/.test(line))) {
        const below = (title: string): string => row.slice(titles.indexOf(title)).split(" ")[0] ?? "";
        expect([below("ID"), below("REGION")]).toEqual([expect.stringMatching(/^[0-9a-f]{14}$/), "dev"]);
        expect(below("PROCESS GROUP")).toMatch(/^(web|worker)$/);
        expect(below("STATE")).toMatch(/^(created|started)$/);
        expect(below("IP ADDRESS")).toMatch(/^fdaa:/);
      }
    });

    test("after a restart of the node a Machine that was stopped is stopped, since then, and says why", async (context) => {
      const files = {
        "flycast.toml": `[autostop]\ninterval = "100ms"\nidle = "500ms"\n[apps.a]\npath = "a"\ncommand = "node app.js"\nmachines = { dev = 2 }\n`,
        "a/fly.toml": `app = "a"\nprimary_region = "dev"\n[http_service]\n  internal_port = 8080\n  auto_stop_machines = "stop"\n`,
        "a/app.js": `require("http").createServer((q, r) => r.end("ok")).listen(8080, "::");`,
      };
      const first = up(context, files);
      expect((await curl(`http://${await first.published("a", 80)}/`)).out).toBe("ok");
      const { machine = "" } = await first.until(is("stopped"));
      const why = await first.cli("why", machine, "--json");
      const { because, since } = JSON.parse(why.out) as { because: string; since: number };
      expect(because).toMatch(/idle/);
      expect((await first.stop()).code).toBe(0);
      const second = new Up(first.folder, WHO, ["--network-mode", "lab"]);
      context.onTestFinished(async () => void (await second.stop("SIGKILL")));
      await second.ready();
      const states = (await listed(second, "a")).map(({ id, state }) => (id === machine ? `it is ${state}` : state));
      expect(new Set(states)).toEqual(new Set(["it is stopped", "created"]));
      const after = JSON.parse((await second.cli("why", machine, "--json")).out) as { since: number };
      expect(after).toMatchObject({ state: "stopped", because, next: "the next connection starts it" });
      // To the clock's own drift.
      expect(Math.abs(after.since - since)).toBeLessThan(500);
      expect((await second.cli("machines", "status", machine)).out).toMatch(/State += stopped/);
    });
  },
);
