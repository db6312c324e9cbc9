import { mkdirSync, mkdtempSync, realpathSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { findNode } from "../../src/cli/node-address.ts";

let root: string;
beforeEach(() => {
  root = realpathSync(mkdtempSync(join(tmpdir(), "flycast-address-")));
});
afterEach(() => rmSync(root, { recursive: true }));

function stateIn(folder: string, api: string): void {
  mkdirSync(join(root, folder, ".flycast"), { recursive: true });
  writeFileSync(join(root, folder, ".flycast/node.json"), JSON.stringify({ api }));
  writeFileSync(join(root, folder, ".flycast/token"), "secret\n");
}

test("a node is found from its workspace and from every folder in it", () => {
  stateIn("shop", "http://127.0.0.1:1");
  mkdirSync(join(root, "shop/web/src"), { recursive: true });
  for (const folder of ["shop", "shop/web", "shop/web/src"]) {
    expect(findNode({}, {}, join(root, folder))).toEqual({
      url: "http://127.0.0.1:1",
      token: "secret",
      stateDir: join(root, "shop/.flycast"),
    });
  }
});

test("the nearest node wins, and a folder in which none runs is passed over", () => {
  stateIn(".", "http://127.0.0.1:1");
  stateIn("inner", "http://127.0.0.1:2");
  mkdirSync(join(root, "asleep/.flycast"), { recursive: true });
  expect(findNode({}, {}, join(root, "inner")).url).toBe("http://127.0.0.1:2");
  expect(findNode({}, {}, join(root, "asleep")).url).toBe("http://127.0.0.1:1");
});

test("a state folder that is named is the only one looked at", () => {
  stateIn(".", "http://127.0.0.1:1");
  mkdirSync(join(root, "other"));
  expect(() => findNode({ stateDir: "other" }, {}, root)).toThrow(/No running node was found in .*other/);
});
