import { readdirSync, readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { generatedFiles, staleFiles } from "../../scripts/generate-docs.ts";
import { flyToml } from "../../src/config/fly-toml-schema.ts";
import { flycastToml } from "../../src/config/flycast-toml-schema.ts";
import { RULES } from "../../src/config/rules.ts";
import type { TableType } from "../../src/config/schema.ts";

function tables(table: TableType<unknown>): readonly TableType<unknown>[] {
  const inner = Object.values(table.keys).flatMap((key) =>
    key.type.inner === undefined ? [] : tables(key.type.inner),
  );
  return [table, ...inner];
}

describe("the generated pages", () => {
  test("are fresh: otherwise run npm run docs", () => {
    expect(staleFiles()).toEqual([]);
  });

  test("describe every key", () => {
    const keys = [...tables(flyToml), ...tables(flycastToml)].flatMap((table) => Object.entries(table.keys));
    for (const [name, key] of keys) expect(key.doc, name).toMatch(/^.{3,}\.$/s);
    const pages = [...generatedFiles().values()].join("\n");
    for (const [name] of keys) expect(pages).toContain(`\`${name}\``);
  });

  test("list no rule that nothing reports", () => {
    const folder = new URL("../../src/config/", import.meta.url);
    const sources = readdirSync(folder).filter((name) => name !== "rules.ts");
    const code = sources.map((name) => readFileSync(new URL(name, folder), "utf8")).join("\n");
    expect(Object.keys(RULES).filter((rule) => !code.includes(`"${rule}"`))).toEqual([]);
  });

  test("have schemas that name every top-level key and its types", () => {
    const schema = JSON.parse(generatedFiles().get("fly-toml.schema.json") ?? "") as {
      properties: Record<string, unknown>;
    };
    expect(Object.keys(schema.properties)).toEqual(expect.arrayContaining(Object.keys(flyToml.keys)));
    expect(schema.properties["kill_signal"]).toMatchObject({ enum: expect.arrayContaining(["SIGINT"]) });
  });
});
