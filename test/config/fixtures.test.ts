import { readdirSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";
import { parseFlyToml } from "../../src/config/parse-fly-toml.ts";
import { showApp } from "../../src/config/show.ts";

const FOLDER = fileURLToPath(new URL("../fixtures/config/", import.meta.url));

/** One file per situation. Beside it stands what it must give: every problem, then the normalised config. */
describe("each situation gives its golden result", () => {
  for (const name of readdirSync(FOLDER).filter((file) => file.endsWith(".toml"))) {
    test(name, async () => {
      const { config, problems } = parseFlyToml(readFileSync(FOLDER + name, "utf8"), name);
      const lines = problems.map(({ grade, line, column, path, rule, message, remedy }) => {
        const place = `${line ?? "-"}:${column ?? "-"}`;
        return `${grade} ${place} ${path} [${rule}] ${message}${remedy === undefined ? "" : ` → ${remedy}`}`;
      });
      const shown = config === undefined ? "refused\n" : showApp(config, "toml");
      await expect(`${lines.join("\n")}\n\n${shown}`).toMatchFileSnapshot(
        `${FOLDER}${name.replace(".toml", ".golden.txt")}`,
      );
    });
  }
});
