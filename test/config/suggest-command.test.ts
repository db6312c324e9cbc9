import { describe, expect, test } from "vitest";
import { shellSplit } from "../../src/config/shell-split.ts";
import {
  dockerfileCommand,
  packageCommand,
  procfileCommand,
  suggestCommand,
} from "../../src/config/suggest-command.ts";
import { workspaceFolder } from "./workspace-folder.ts";

describe("the command that a folder hints at", () => {
  const dockerfiles: readonly [string, string, string | undefined][] = [
    ["the exec form", 'FROM a\nCMD ["node", "server.js"]', "node server.js"],
    ["the shell form", "FROM a\nCMD node server.js --port 80", "node server.js --port 80"],
    ["a shell form that needs a shell", "FROM a\nCMD node server.js && true", "sh -c 'node server.js && true'"],
    ["the last one", "FROM a\nCMD old\nCMD new", "new"],
    ["the last stage", "FROM a AS build\nCMD old\nFROM b\nRUN x", undefined],
    ["an entrypoint with its command", 'FROM a\nENTRYPOINT ["tini", "--"]\nCMD ["run", "a b"]', "tini -- run 'a b'"],
    ["an entrypoint that forgets an older command", "FROM a\nCMD old\nENTRYPOINT new", "new"],
    ["continued lines", 'FROM a\ncmd [ "node", \\\n  "server.js" ]', "node server.js"],
    ["comments and other instructions", "# CMD no\nFROM a\nRUN CMD\nEXPOSE 80", undefined],
    ["a broken exec form", 'FROM a\nCMD ["node"', `sh -c '["node"'`],
    ["an empty exec form", "FROM a\nENTRYPOINT []\nCMD run", "run"],
  ];
  test.each(dockerfiles)("is %s of a Dockerfile", (_, text, expected) => {
    expect(dockerfileCommand(text)).toBe(expected);
    if (expected !== undefined) expect(shellSplit(expected).ok).toBe(true);
  });

  test("is the group's line of a Procfile, and web's for the default group", () => {
    const text = "web: puma -C config.rb\nworker:   sidekiq\n# x: y\nbroken\n";
    expect(procfileCommand(text, "worker")).toBe("sidekiq");
    expect(procfileCommand(text, "app")).toBe("puma -C config.rb");
    expect(procfileCommand(text, "cron")).toBeUndefined();
  });

  test("is the start script of package.json, without npm between where it is one plain command", () => {
    expect(packageCommand('{"scripts":{"start":"node server.js"}}')).toBe("node server.js");
    expect(packageCommand('{"scripts":{"start":"NODE_ENV=production next start"}}')).toBe("npm start");
    for (const text of [
      "",
      "[]",
      "null",
      "{}",
      '{"scripts":null}',
      '{"scripts":{"start":1}}',
      '{"scripts":{"start":" "}}',
    ]) {
      expect(packageCommand(text)).toBeUndefined();
    }
  });

  test("comes from the Dockerfile before the Procfile before package.json", async () => {
    const files = {
      Dockerfile: "FROM a\nCMD one",
      Procfile: "web: two",
      "package.json": '{"scripts":{"start":"node 3"}}',
    };
    const hint = (present: Readonly<Record<string, string>>) => suggestCommand(workspaceFolder(present), "app");
    expect(await hint(files)).toEqual({ command: "one", from: "Dockerfile" });
    expect(await hint({ ...files, Dockerfile: "FROM a" })).toEqual({ command: "two", from: "Procfile" });
    expect(await hint({ "package.json": files["package.json"] })).toEqual({ command: "node 3", from: "package.json" });
    const elsewhere = workspaceFolder({ "docker/web": "FROM a\nCMD four", ...files });
    expect(await suggestCommand(elsewhere, "app", "docker/web")).toEqual({ command: "four", from: "docker/web" });
    expect(await hint({ "package.json/x": "a folder of that name" })).toBeUndefined();
  });
});
