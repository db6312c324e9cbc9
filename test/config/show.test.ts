import { existsSync, readdirSync, readFileSync } from "node:fs";
import { basename, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { parse } from "smol-toml";
import { describe, expect, test } from "vitest";
import { loadWorkspace } from "../../src/config/load.ts";
import { parseFlyToml } from "../../src/config/parse-fly-toml.ts";
import { showApp, showWorkspace } from "../../src/config/show.ts";
import { workspaceFolder } from "./workspace-folder.ts";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));
const FIXTURES = fileURLToPath(new URL("../fixtures/config/", import.meta.url));
const CORPUS = resolve(ROOT, process.env["FLYCAST_CORPUS"] ?? "../shared/corpus/fly-toml");
const allow = new Set(["force_https"]);

function tomlFiles(folder: string): readonly string[] {
  if (!existsSync(folder)) return [];
  return readdirSync(folder).flatMap((name) => (name.endsWith(".toml") ? [join(folder, name)] : []));
}

describe("config show", () => {
  const files = [...tomlFiles(FIXTURES), ...tomlFiles(CORPUS)].map((path) => [basename(path), path] as const);
  test.each(files)("%s, normalised, reads back as the same config", (_, path) => {
    const { config } = parseFlyToml(readFileSync(path, "utf8"), path, { allow });
    if (config === undefined) return;
    const again = parseFlyToml(showApp(config, "toml"), path, { allow });
    expect(again.problems.filter(({ grade }) => grade === "error")).toEqual([]);
    expect(again.config).toEqual(config);
    expect(JSON.parse(showApp(config, "json"))).toEqual(parse(showApp(config, "toml")));
  });

  test("of a workspace has every section, each app's fly.toml, and no password", async () => {
    const cwd = workspaceFolder({
      "flycast.toml": '[node]\nregistry = "redis://u:hunter2@127.0.0.1/0"\n[apps.web]\ncommand = "node server.js"\n',
      "web/fly.toml": 'app = "web"\n[http_service]\ninternal_port = 8080\n',
    });
    const { workspace } = await loadWorkspace(cwd, { cwd });
    if (workspace === undefined) throw new Error("the workspace is good");
    const shown = JSON.parse(showWorkspace(workspace, "json")) as Record<string, unknown>;
    expect(shown).toEqual(parse(showWorkspace(workspace, "toml")));
    expect(Object.keys(shown)).toEqual(["node", "autostop", "limits", "dns", "regions", "compat", "apps"]);
    expect(shown).toMatchObject({
      limits: { wake_timeout: "1m", hold_buffer: "64KiB" },
      apps: { web: { command: { app: ["node", "server.js"] }, "fly.toml": { services: [{ internal_port: 8080 }] } } },
    });
    expect(showWorkspace(workspace, "toml")).not.toContain("hunter2");
  });
});
