import { writeFileSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { stringify } from "smol-toml";
import { describe, expect, test } from "vitest";
import { flycastToml } from "../../src/config/flycast-toml-schema.ts";
import { loadNode, loadWorkspace } from "../../src/config/load.ts";
import type { TableType } from "../../src/config/schema.ts";
import { workspaceFolder } from "./workspace-folder.ts";

function keys(table: TableType<unknown>): readonly string[] {
  return Object.entries(table.keys).flatMap(([name, key]) => [
    name,
    ...(key.type.inner === undefined ? [] : keys(key.type.inner)),
  ]);
}

const FLY = 'app = "web"\n[http_service]\ninternal_port = 8080\n';

describe("a hostile flycast.toml", () => {
  test("whose known keys hold random values is a list of problems", async () => {
    const cwd = workspaceFolder({ "web/fly.toml": FLY });
    const file = join(cwd, "flycast.toml");
    const scalar = fc.oneof(
      fc.string(),
      fc.double(),
      fc.boolean(),
      fc.integer(),
      fc.constantFrom(
        "10s",
        "web",
        "personal/x",
        "../web",
        "redis://",
        "${web.flycast:80}",
        "1.1.1.1:53",
        "::1",
        80,
        "iad",
      ),
    );
    const name = fc.oneof(
      fc.constantFrom(...keys(flycastToml), "web", "80", "__proto__", "constructor", "iad"),
      fc.string({ maxLength: 5 }),
    );
    const value = fc.letrec((tie) => ({
      value: fc.oneof(
        { maxDepth: 4 },
        scalar,
        fc.array(tie("value"), { maxLength: 3 }),
        fc.dictionary(name, tie("value"), { maxKeys: 5 }),
      ),
    })).value;
    // Half of the files have their sections in the right places, so that the checks behind the types are reached.
    const section = fc.dictionary(name, value, { maxKeys: 5 });
    const shaped = fc.record(
      { node: section, dns: section, limits: section, apps: fc.record({ web: section, db: section }) },
      { requiredKeys: [] },
    );
    await fc.assert(
      fc.asyncProperty(fc.oneof(section, shaped), async (table) => {
        let text: string;
        try {
          text = stringify(table);
        } catch {
          return; // lists of mixed kinds that the writer does not write
        }
        writeFileSync(file, text);
        const { workspace, problems } = await loadWorkspace(undefined, { cwd });
        expect(workspace === undefined).toBe(problems.some(({ grade }) => grade === "error"));
        const serve = await loadNode(file, { cwd });
        expect(serve.node === undefined).toBe(serve.problems.some(({ grade }) => grade === "error"));
      }),
      { numRuns: 300 },
    );
  });

  test("cannot reach a prototype through names of apps, regions or variables", async () => {
    const cwd = workspaceFolder({
      "flycast.toml": `
[apps.web]
command = "x"
[apps.web.env]
__proto__ = "a"
[apps.web.metadata]
__proto__ = "b"
[apps.__proto__]
path = "web"
command = "x"
[apps.""]
path = "web"
command = "x"
[regions.__proto__]
lat = 1
lon = 1
`,
      "web/fly.toml": FLY,
    });
    const { problems } = await loadWorkspace(cwd, { cwd });
    expect(problems.map(({ rule }) => rule)).toEqual(["bad-app-name", "bad-app-name", "bad-region"]);
    expect(({} as { lat?: number }).lat).toBeUndefined();
  });
});
