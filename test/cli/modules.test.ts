import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, expect, test } from "vitest";
import { TestApi } from "../api/harness.ts";
import { flycast } from "./run.ts";

const COUNT = fileURLToPath(new URL("./count-modules.mjs", import.meta.url));
/** What a node needs and a command does not: each costs tens of milliseconds to load. */
const HEAVY = new Set([
  "zod",
  "hono",
  "@hono/node-server",
  "@hono/zod-openapi",
  "pino",
  "undici",
  "graphql",
  "prom-client",
  "chokidar",
  "ioredis",
]);

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

/** Command → how many KiB of program it may load, commander's 130 included: it costs what it takes to read. */
const MOST: Readonly<Record<string, number>> = {
  "--help": 155,
  status: 190,
  "apps list": 190,
  "machines list": 190,
  "machines stop 0": 190,
  "ips list": 190,
  "orgs list": 190,
  "secrets list": 190,
  "tokens list": 190,
  "platform regions": 190,
  "wireguard list": 210,
  logs: 190,
  "why 0": 190,
  "machines run true": 190,
  "scale count 1": 190,
  "scale show": 190,
  version: 190,
  deploy: 190,
  ca: 190,
  "completion bash": 190,
  "dig web.flycast": 210,
  "config schema": 250,
  "config validate": 440,
  "config show": 440,
  doctor: 350,
};

test.each(Object.entries(MOST))(
  "%s loads no more than %i KiB, and nothing that only a node needs",
  async (line, most) => {
    const file = join(folder, line.replaceAll(/\W/g, "-"));
    await flycast(api, line.split(" "), { execArgv: ["--import", COUNT], env: { MODULES_FILE: file }, cwd: folder });
    const programs = readFileSync(file, "utf8")
      .trim()
      .split("\n")
      .filter((module) => module.startsWith("file:"))
      .map((module) => readFileSync(fileURLToPath(module), "utf8"));
    // The build says above each module where it comes from.
    const packages = programs.flatMap((text) =>
      [...text.matchAll(/^\/\/ node_modules\/((?:@[^/\n]+\/)?[^/\n]+)/gm)].map(([, name]) => name ?? ""),
    );
    expect(packages).toContain("commander");
    expect(packages.filter((name) => HEAVY.has(name))).toEqual([]);
    expect(programs.reduce((sum, text) => sum + text.length, 0) / 1024).toBeLessThanOrEqual(most);
  },
);
