import { mkdtempSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { clientFile, defaultPeerName, openClientFile } from "../../../src/cli/wireguard-file.ts";

const folder = mkdtempSync(join(tmpdir(), "flycast-file-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const KEY = "wHvAk/LzJ3V1RrvmmMLr0BpKnZsuLfEwmjzAFVyvYWQ=";

test("the file has the form that flyctl writes, to the byte", () => {
  const text = clientFile({
    privateKey: KEY,
    address: "fdaa:0:18:a7b:d6b:0:a:2",
    gatewayKey: KEY,
    endpoint: { host: "203.0.113.7", port: 51820 },
  });
  expect(text).toBe(`
[Interface]
PrivateKey = ${KEY}
Address = fdaa:0:18:a7b:d6b:0:a:2/120
DNS = fdaa:0:18::3

[Peer]
PublicKey = ${KEY}
AllowedIPs = fdaa:0:18::/48
Endpoint = 203.0.113.7:51820
PersistentKeepalive = 15

`);
});

test("an IPv6 endpoint stands in brackets, a name as it is", () => {
  const endpointOf = (host: string): string =>
    /^Endpoint = (.*)$/m.exec(
      clientFile({ privateKey: KEY, address: "fdaa:0:18:a7b::a:2", gatewayKey: KEY, endpoint: { host, port: 51820 } }),
    )?.[1] ?? "";
  expect(endpointOf("2001:db8::1")).toBe("[2001:db8::1]:51820");
  expect(endpointOf("vpn.example.com")).toBe("vpn.example.com:51820");
});

test("the file is for its owner alone, and never takes the place of another", async () => {
  const path = join(folder, "laptop.conf");
  const file = await openClientFile(path);
  await file.write("first");
  expect(statSync(path).mode & 0o777).toBe(0o600);
  await expect(openClientFile(path)).rejects.toMatchObject({ code: "name_taken" });
  expect(readFileSync(path, "utf8")).toBe("first");
});

test("a peer that nobody named has a name that DNS takes", () => {
  const ulid = "01JD0M6Y3W2V5T8QK4N7B9CXZF";
  expect(defaultPeerName("laptop", "ann@example.com", ulid)).toBe(
    `static-laptop-ann-example-com-${ulid.toLowerCase()}`,
  );
  const long = defaultPeerName("Ünter.den.Linden.".repeat(9), "a.very.long+address@of.somebody", ulid);
  expect(long).toMatch(/^static-[a-z0-9-]+-01jd0m6y3w2v5t8qk4n7b9cxzf$/);
  expect(long.length).toBeLessThanOrEqual(63);
});
