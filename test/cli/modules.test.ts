import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, expect, test } from "vitest";
import { TestApi } from "../api/harness.ts";
import { flycast } from "./run.ts";

const COUNT = fileURLToPath(new URL("./count-modules.mjs", import.meta.url));
/** What a node needs and a command does not: each costs tens of milliseconds to load. */
const HEAVY = /\/node_modules\/(zod|hono|@hono|pino|undici|graphql|prom-client|chokidar|ioredis|http-proxy-3)\//;

let api: TestApi;
let folder: string;
beforeAll(async () => {
  api = await TestApi.start();
  folder = mkdtempSync(join(tmpdir(), "flycast-modules-"));
  await api.call("/v1/apps", { body: { name: "web", org_slug: "personal" } });
});
afterAll(async () => {
  await api.close();
  rmSync(folder, { recursive: true, force: true });
});

/** Command → how many modules it may load, our own and others', commander's two included. */
const MOST: Readonly<Record<string, number>> = {
  "--help": 12,
  status: 25,
  "apps list": 25,
  "machines list": 25,
  "machines stop 0": 25,
  "ips list": 25,
  "orgs list": 25,
  "secrets list": 25,
  "tokens list": 25,
  "platform regions": 25,
  "wireguard list": 40,
  logs: 25,
  "why 0": 25,
  "scale count 1": 25,
  deploy: 25,
  ca: 25,
  "completion bash": 25,
  "dig web.flycast": 40,
  "config schema": 45,
  "config validate": 90,
  "config show": 90,
  doctor: 60,
};

test.each(Object.entries(MOST))(
  "%s loads no more than %i modules, and none that only a node needs",
  async (line, most) => {
    const file = join(folder, line.replaceAll(/\W/g, "-"));
    await flycast(api, line.split(" "), { execArgv: ["--import", COUNT], env: { MODULES_FILE: file }, cwd: folder });
    const modules = readFileSync(file, "utf8").trim().split("\n");
    expect(modules.filter((module) => HEAVY.test(module))).toEqual([]);
    expect(modules.length).toBeLessThanOrEqual(most);
  },
);
