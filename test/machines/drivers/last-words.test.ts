import { expect, test } from "vitest";
import { lastWords } from "../../../src/machines/drivers/last-words.ts";

test("of a Node error the message is left, without its frames", () => {
  const said = `listening soon
file:///app/server.js:1
require("http")
^

ReferenceError: require is not defined in ES module scope
    at file:///app/server.js:1:1
    at ModuleJob.run (node:internal/modules/esm/module_job:325:25)

Node.js v20.20.2`;
  expect(lastWords(said.split("\n"))).toEqual([
    "listening soon",
    "file:///app/server.js:1",
    'require("http")',
    "ReferenceError: require is not defined in ES module scope",
  ]);
});

test("there are few words, and none goes on for ever", () => {
  expect(lastWords(["1", "2", "3", "4", "5", "6"])).toEqual(["2", "3", "4", "5", "6"]);
  expect(lastWords(["x".repeat(10_000)])[0]).toHaveLength(201);
  expect(lastWords([])).toEqual([]);
});
