import { Agent, get } from "node:http";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, expect, test } from "vitest";
import { clean, Up, workspaceOf } from "./support.ts";

const SERVER = `require("http").createServer((q, s) => s.end("v" + process.env.V)).listen(process.env.PORT ?? 8080, process.env.HOST ?? "0.0.0.0");`;
const flyToml = (app: string, version: number): string =>
  `app = "${app}"\nprimary_region = "iad"\n[env]\n  V = "${version}"\n[processes]\n  app = "node server.js"\n` +
  `[http_service]\n  internal_port = 8080\n  processes = ["app"]\n  auto_stop_machines = "stop"\n`;

const running: Up[] = [];
afterEach(async () => {
  for (const node of running.splice(0)) {
    await node.stop("SIGKILL");
    clean(node.folder);
  }
});

interface Probed {
  sent: number;
  readonly failed: Map<string, number>;
  readonly versions: Map<string, number>;
  slowestMs: number;
}

/** Asks 200 times a second, half of them over a connection of its own, until told to end; then waits for every answer. */
function probe(url: string): { readonly seen: Probed; readonly end: () => Promise<Probed> } {
  const seen: Probed = { sent: 0, failed: new Map(), versions: new Map(), slowestMs: 0 };
  const agents = [new Agent({ keepAlive: true }), new Agent({ keepAlive: false })];
  const open = new Set<Promise<void>>();
  const count = (map: Map<string, number>, key: string): void => void map.set(key, (map.get(key) ?? 0) + 1);
  const ask = (): void => {
    const begun = performance.now();
    const answer = new Promise<void>((resolve) => {
      const failed = (why: string): void => {
        count(seen.failed, why);
        resolve();
      };
      const request = get(url, { agent: agents[seen.sent++ % 2], timeout: 20_000 }, (response) => {
        let text = "";
        response.on("error", (error) => failed(`answer: ${error.message}`));
        response.setEncoding("utf8").on("data", (chunk: string) => (text += chunk));
        response.on("end", () => {
          if (response.statusCode !== 200) return failed(String(response.statusCode));
          count(seen.versions, text);
          seen.slowestMs = Math.max(seen.slowestMs, performance.now() - begun);
          resolve();
        });
      });
      request.on("timeout", () => request.destroy(new Error("no answer for 20 s")));
      request.on("error", (error) => failed(error.message));
    }).finally(() => open.delete(answer));
    open.add(answer);
  };
  const begun = performance.now();
  const timer = setInterval(() => {
    while (seen.sent < ((performance.now() - begun) / 1000) * 200) ask();
  }, 5);
  const end = async (): Promise<Probed> => {
    clearInterval(timer);
    await Promise.all(open);
    for (const agent of agents) agent.destroy();
    return seen;
  };
  return { seen, end };
}

const plays = [
  // With one Machine there is a moment without any: the requests of that moment wait.
  { machines: 1, deploys: 3 },
  { machines: 2, deploys: 10 },
];

test.each(plays)(
  "nobody notices $deploys deploys of an app with $machines Machines",
  async ({ machines, deploys }) => {
    const folder = workspaceOf(
      {
        "flycast.toml": `[apps.other]\ncommand = "node server.js"\npath = "other"\n`,
        "other/fly.toml": `app = "other"\n[http_service]\n  internal_port = 8080\n`,
        "other/server.js": SERVER,
        "web/fly.toml": flyToml("web", 0),
        "web/server.js": SERVER,
      },
      "user",
    );
    const node = new Up(folder, "user");
    running.push(node);
    await node.ready();
    expect(await node.cli("deploy", "web")).toMatchObject({ code: 0, out: "Deployed web.\n" });
    expect((await node.cli("scale", "count", String(machines), "-a", "web")).code).toBe(0);
    const status = JSON.parse((await node.cli("status", "--json")).out) as {
      apps: { name: string; services: { port: number; published: string | null }[] }[];
    };
    const services = status.apps.find(({ name }) => name === "web")!.services;
    const prober = probe(`http://${services.find(({ port }) => port === 80)!.published!}/`);
    for (let version = 1; version <= deploys; version++) {
      writeFileSync(join(folder, "web/fly.toml"), flyToml("web", version));
      expect(await node.cli("deploy", "web")).toMatchObject({ code: 0 });
      // Only what is new answers once a deploy is through.
      const before = prober.seen.versions.get(`v${version}`) ?? 0;
      await expect
        .poll(() => prober.seen.versions.get(`v${version}`) ?? 0, { timeout: 10_000 })
        .toBeGreaterThan(before + 20);
    }
    const seen = await prober.end();
    expect([...seen.failed]).toEqual([]);
    expect([...seen.versions.keys()].toSorted()).toEqual(
      Array.from({ length: deploys + 1 }, (_, version) => `v${version}`).toSorted(),
    );
    expect(seen.sent).toBeGreaterThan(deploys * 50);
  },
  90_000,
);

test("what a file of a deploy lacks is said of that file, and nothing changes", async () => {
  const folder = workspaceOf(
    {
      "flycast.toml": `[apps.web]\ncommand = "node server.js"\npath = "web"\n`,
      "web/fly.toml": `app = "web"\n[http_service]\n  internal_port = 8080\n`,
      "web/server.js": SERVER,
    },
    "user",
  );
  const node = new Up(folder, "user");
  running.push(node);
  await node.ready();
  const { code, err } = await node.cli("deploy", "web");
  expect(code).toBe(1);
  expect(err).toContain(
    `${join(folder, "web")} cannot be deployed:\n\nerror: fly.toml processes: the app web names no command`,
  );
});
