import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { gatewayKey, generateKeys, publicKeyOf } from "../../../src/network/wireguard/keys.ts";

const folder = mkdtempSync(join(tmpdir(), "flycast-keys-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const wg = (command: string, input: string): string =>
  spawnSync("wg", [command], { input, encoding: "utf8" }).stdout.trim();
const NO_WG = spawnSync("wg", ["--version"]).error !== undefined && process.env["CI"] !== "true";

describe("WireGuard keys", () => {
  test.skipIf(NO_WG)("are those of WireGuard's own tools", () => {
    for (let i = 0; i < 5; i++) {
      const keys = generateKeys();
      expect(wg("pubkey", keys.privateKey)).toBe(keys.publicKey);
      const theirs = wg("genkey", "");
      expect(publicKeyOf(theirs)).toBe(wg("pubkey", theirs));
    }
  });

  test("are refused unless they have 32 bytes", () => {
    for (const text of ["", "AAAA", "A".repeat(100)]) expect(() => publicKeyOf(text)).toThrow("32 bytes");
  });

  test("the gateway's is made once, and only its owner can read it", async () => {
    const state = join(folder, "state");
    const first = await gatewayKey(state);
    expect(statSync(first.file).mode & 0o777).toBe(0o600);
    expect(publicKeyOf(readFileSync(first.file, "utf8").trim())).toBe(first.publicKey);
    expect(await gatewayKey(state)).toEqual(first);
  });

  test("a damaged key of the gateway is named, and not replaced", async () => {
    const state = join(folder, "damaged");
    const { file } = await gatewayKey(state);
    writeFileSync(file, "nonsense\n");
    await expect(gatewayKey(state)).rejects.toMatchObject({ code: "state_damaged" });
    expect(readFileSync(file, "utf8")).toBe("nonsense\n");
  });
});
