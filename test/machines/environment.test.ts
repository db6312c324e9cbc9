import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { RegionCode } from "../../src/core/ids.ts";
import { parseEnvFile, readEnvFile } from "../../src/machines/env-file.ts";
import { machineEnvironment, type EnvironmentInput } from "../../src/machines/environment.ts";
import { machineWith } from "./drivers/machine-fixture.ts";

describe("a Machine's environment", () => {
  const machine = machineWith({ command: ["x"], env: { A: "own", B: "own", URL: "<ref>" } });
  const input: EnvironmentInput = {
    machine,
    app: { primaryRegion: "ams" as RegionCode },
    host: {
      PATH: "/bin",
      HOME: "/home/me",
      AWS_SECRET_ACCESS_KEY: "hidden",
      NODE_OPTIONS: "--inspect",
      FLY_API_TOKEN: "t",
    },
    secrets: { B: "secret" },
    resolve: (value) => value.replace("<ref>", "http://127.0.0.1:1"),
  };

  test("it says who and where the Machine is", () => {
    expect(machineEnvironment(input)).toMatchObject({
      FLY_APP_NAME: "web",
      FLY_REGION: "iad",
      PRIMARY_REGION: "ams",
      FLY_PROCESS_GROUP: "app",
      FLY_MACHINE_ID: machine.id,
      FLY_ALLOC_ID: machine.id,
      FLY_MACHINE_VERSION: machine.instance,
      FLY_PRIVATE_IP: machine.address,
      FLY_IMAGE_REF: "none",
    });
  });

  test("secrets win over [env], and references are filled in", () => {
    expect(machineEnvironment(input)).toMatchObject({ A: "own", B: "secret", URL: "http://127.0.0.1:1" });
  });

  test("nothing of the node's environment comes along but what any program needs", () => {
    const env = machineEnvironment(input);
    expect(env).toMatchObject({ PATH: "/bin", HOME: "/home/me", LANG: "C.UTF-8" });
    expect(Object.keys(env)).not.toEqual(expect.arrayContaining(["NODE_OPTIONS"]));
    expect(env["AWS_SECRET_ACCESS_KEY"]).toBeUndefined();
    expect(env["FLY_API_TOKEN"]).toBeUndefined();
  });

  test("nobody can pass for another Machine", () => {
    const env = machineEnvironment({ ...input, secrets: { FLY_MACHINE_ID: "forged", FLY_PRIVATE_IP: "::1" } });
    expect(env).toMatchObject({ FLY_MACHINE_ID: machine.id, FLY_PRIVATE_IP: machine.address });
  });

  test("memory and image are told where they are known", () => {
    const guest = { cpus: 1, memoryMb: 512 };
    const other = machineWith({ command: ["x"], guest, raw: { image: "registry.fly.io/web:1" } });
    const env = machineEnvironment({ ...input, machine: other, app: { primaryRegion: undefined } });
    expect(env).toMatchObject({ FLY_VM_MEMORY_MB: "512", FLY_IMAGE_REF: "registry.fly.io/web:1" });
    expect(env).not.toHaveProperty("PRIMARY_REGION");
  });
});

describe("an env_file", () => {
  test.each<[string, string, Record<string, string>]>([
    ["plain values", "A=1\nB=two words \n", { A: "1", B: "two words" }],
    ["export, spaces and blank lines", "\n  export A = 1\n\n", { A: "1" }],
    ["comments", "# all of it\nA=1 # the rest\nB=a#b\nC=# nothing\n", { A: "1", B: "a#b", C: "" }],
    ["single quotes are literal", "A='x # \\n $B'\n", { A: "x # \\n $B" }],
    ["double quotes have escapes", 'A="x\\n\\"y\\" \\$z" # c\n', { A: 'x\n"y" $z' }],
    ["values over several lines", 'KEY="-----BEGIN\nabc\n-----END"\nB=2', { KEY: "-----BEGIN\nabc\n-----END", B: "2" }],
    ["Windows line ends and a byte order mark", "\uFEFFA=1\r\nB=2\r\n", { A: "1", B: "2" }],
    ["empty values and = in values", "A=\nB=a=b==\n", { A: "", B: "a=b==" }],
    ["the last of two wins", "A=1\nA=2\n", { A: "2" }],
  ])("%s", (_what, text, expected) => {
    expect(parseEnvFile(text)).toEqual({ ok: true, value: expected });
  });

  test("every problem is told by line and name, and no value is repeated", () => {
    const text = `A=1\nhunter2 is no assignment\nFLY_APP_NAME=hunter2\nB="hunter2" hunter2\nC='hunter2\n`;
    const parsed = parseEnvFile(text);
    expect(parsed).toMatchObject({
      ok: false,
      error: [/^line 2/, /^line 3: FLY_APP_NAME/, /^line 4: B/, /^line 5: C/].map((r) => expect.stringMatching(r)),
    });
    expect(JSON.stringify(parsed)).not.toContain("hunter2");
  });

  test("any value survives in single quotes that holds none", () => {
    fc.assert(
      fc.property(
        fc.string({ unit: "grapheme" }).filter((s) => !/['\r\0]/.test(s)),
        (value) => {
          expect(parseEnvFile(`A='${value}'`)).toEqual({ ok: true, value: { A: value } });
        },
      ),
    );
  });

  test("any text at all is answered", () => {
    fc.assert(
      fc.property(fc.string(), (text) => {
        expect(typeof parseEnvFile(text).ok).toBe("boolean");
      }),
    );
  });

  test("one that is missing or wrong is refused with PM02 and its path", async () => {
    const folder = mkdtempSync(join(tmpdir(), "flycast-env-"));
    try {
      writeFileSync(join(folder, "bad"), "secretvalue\n");
      await expect(readEnvFile(join(folder, "none"))).rejects.toMatchObject({
        code: "PM02",
        message: expect.stringContaining("none"),
      });
      await expect(readEnvFile(join(folder, "bad"))).rejects.toMatchObject({
        code: "PM02",
        message: expect.not.stringContaining("secretvalue"),
      });
      expect(await readEnvFile(undefined)).toEqual({});
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});
