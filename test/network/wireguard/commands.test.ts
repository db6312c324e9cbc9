import { existsSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { generateKeys } from "../../../src/network/wireguard/keys.ts";
import { cannotPlay, clean, Up, workspaceOf, type Ran, type Who } from "../../e2e/support.ts";
import { cannotMakeComputers, Computer, run } from "./computer.ts";

const WHO: Who = "user";
const FILES = {
  "flycast.toml": `[node]
region = "iad"
wireguard = "0.0.0.0:51820"
wireguard_endpoint = "vpn.example.com"
[apps.web]
org = "acme"
command = "sleep 1000"
`,
  "web/fly.toml": `app = "web"\n[http_service]\ninternal_port = 8080\nauto_stop_machines = "stop"\n`,
};

const unable = cannotMakeComputers() ?? cannotPlay(WHO);
describe.skipIf(unable !== undefined && process.env["CI"] !== "true")("flycast wireguard", () => {
  let computer: Computer;
  let node: Up;
  let loopback: Up | undefined;
  let folder: string;
  const wireguard = (...args: string[]): Promise<Ran> => node.cli("wireguard", ...args);
  const peers = async (): Promise<readonly { name: string; org: string; network: string }[]> =>
    JSON.parse((await wireguard("list", "acme", "--json")).out) as never;
  const graphql = async (query: string, variables: object): Promise<Record<string, unknown>> => {
    const token = readFileSync(join(folder, ".flycast", "token"), "utf8").trim();
    const { api } = await node.ready();
    const headers = ["-H", `authorization: Bearer ${token}`, "-H", "content-type: application/json"];
    const body = JSON.stringify({ query, variables });
    const ran = await run([...computer.enter, "curl", "-sS", ...headers, "-d", body, `${api}/graphql`]);
    return JSON.parse(ran.out) as Record<string, unknown>;
  };

  beforeAll(async () => {
    computer = await Computer.boot();
    folder = workspaceOf(FILES, WHO);
    node = new Up(folder, WHO, ["--network-mode", "lab"], [...computer.enter, "env", "-C", folder]);
    await node.ready();
  }, 60_000);
  afterAll(async () => {
    await node?.stop("SIGKILL");
    await computer?.end();
    clean(folder);
    await loopback?.stop("SIGKILL");
    if (loopback !== undefined) clean(loopback.folder);
  });

  test("create writes a file for its owner alone, and says what it did", async () => {
    const made = await wireguard("create", "acme", "iad", "laptop", "laptop.conf");
    expect(made.code, made.err).toBe(0);
    expect(made.out).toContain('Creating WireGuard peer "laptop" in region "iad" for organization acme\n');
    expect(made.out).toMatch(/Wrote WireGuard configuration to laptop.conf; load in your WireGuard client\n$/);
    const file = join(folder, "laptop.conf");
    expect(statSync(file).mode & 0o777).toBe(0o600);
    const text = readFileSync(file, "utf8");
    expect(text).toMatch(
      /^\n\[Interface\]\nPrivateKey = .{43}=\nAddress = fdaa:.*:a7b::a:102\/120\nDNS = fdaa:.*::3\n\n\[Peer\]\n/,
    );
    expect(text).toMatch(
      /\nAllowedIPs = fdaa:.*::\/48\nEndpoint = vpn.example.com:51820\nPersistentKeepalive = 15\n\n$/,
    );
    // The private key went nowhere but there.
    const secret = /PrivateKey = (.*)/.exec(text)?.[1] ?? "";
    expect(made.out + made.err + node.stderr + JSON.stringify(node.events)).not.toContain(secret);
    const kept = await run(["grep", "-rlF", secret, join(folder, ".flycast")]);
    expect(kept.out).toBe("");
    expect((await wireguard("list", "acme")).out).toMatch(
      /^\+-+\+-+\+-+\+\n\|\s+NAME\s+\| REGION \|\s+PEER IP\s+\|\n\+.*\+\n\| laptop \| iad    \| fdaa:.*:a7b::a:102 \|\n\+.*\+\n$/,
    );
  });

  test("a file that exists, or cannot be written, leaves no peer behind", async () => {
    const before = readFileSync(join(folder, "laptop.conf"), "utf8");
    const refused = await wireguard("create", "acme", "iad", "second", "laptop.conf");
    expect(refused).toMatchObject({ code: 1 });
    expect(refused.err).toContain("laptop.conf exists already");
    expect(readFileSync(join(folder, "laptop.conf"), "utf8")).toBe(before);
    expect((await wireguard("create", "acme", "iad", "second", "no/such/folder.conf")).code).toBe(1);
    expect((await peers()).map(({ name }) => name)).toEqual(["laptop"]);
  });

  test("a peer that is refused leaves no file behind", async () => {
    const again = await wireguard("create", "acme", "iad", "laptop", "again.conf");
    expect(again.code).toBe(1);
    expect(again.err).toContain("laptop");
    expect((await wireguard("create", "nobody", "iad", "laptop", "again.conf")).code).toBe(1);
    expect(existsSync(join(folder, "again.conf"))).toBe(false);
  });

  test("names are checked, long ones are warned of, and who gives none gets one", async () => {
    const bad = await wireguard("create", "acme", "iad", "my_laptop", "stdout");
    expect(bad).toMatchObject({ code: 1, out: "" });
    expect(bad.err).toContain("name must consist solely of letters, numbers, and the dash character");
    const long = await wireguard("create", "acme", "iad", "a-name-of-twenty-two", "stdout");
    expect(long.code).toBe(0);
    expect(long.err).toContain("more than 15 characters");
    const unnamed = await wireguard("create", "acme", "iad", "", "stdout");
    expect(unnamed.out.startsWith("\n[Interface]\n")).toBe(true);
    const names = (await peers()).map(({ name }) => name).filter((name) => name.startsWith("static-"));
    expect(names).toHaveLength(1);
    for (const name of ["a-name-of-twenty-two", ...names]) {
      expect((await wireguard("remove", "acme", name)).out).toBe(
        `Removing WireGuard peer "${name}" for organization acme\nRemoved peer.\n`,
      );
    }
    expect((await wireguard("remove", "acme", "nobody")).err).toContain('has no WireGuard peer "nobody"');
    expect((await wireguard("remove", "personal")).err).toContain('"personal" does not have any wireguard peers');
  });

  test("clients of the platform's GraphQL find the same peers, and a key that is known is refused", async () => {
    const add = `mutation($input: AddWireGuardPeerInput!) { addWireGuardPeer(input: $input) { peerip endpointip pubkey } }`;
    const keys = generateKeys();
    const input = { organizationId: "acme", name: "agent", pubkey: keys.publicKey, nats: false, region: "iad" };
    const made = await graphql(add, { input });
    expect(made).toEqual({
      data: {
        addWireGuardPeer: {
          peerip: expect.stringMatching(/^fdaa:.*:a7b::a:[0-9a-f]+02$/) as string,
          endpointip: "vpn.example.com",
          pubkey: expect.stringMatching(/^.{43}=$/) as string,
        },
      },
    });
    const twice = await graphql(add, { input: { ...input, organizationId: "personal" } });
    expect(JSON.stringify(twice)).toContain("another WireGuard peer has that public key");
    const gateway = (made["data"] as { addWireGuardPeer: { pubkey: string } }).addWireGuardPeer.pubkey;
    const own = await graphql(add, { input: { ...input, name: "mirror", pubkey: gateway } });
    expect(JSON.stringify(own)).toContain("another WireGuard peer has that public key");
    expect((await peers()).map(({ name }) => name)).toEqual(["agent", "laptop"]);
    const remove = `mutation($input: RemoveWireGuardPeerInput!) { removeWireGuardPeer(input: $input) { organization { id } } }`;
    await graphql(remove, { input: { organizationId: "acme", name: "agent" } });
    expect((await peers()).map(({ name }) => name)).toEqual(["laptop"]);
  });

  test("the gateway's state is in /metrics and in flycast doctor", async () => {
    const { api } = await node.ready();
    const metrics = (await run([...computer.enter, "curl", "-sS", `${api}/metrics`])).out;
    expect(metrics).toMatch(/^flycast_wireguard_up 1$/m);
    expect(metrics).toMatch(new RegExp(`^flycast_wireguard_peers ${(await peers()).length}$`, "m"));
    expect((await node.cli("doctor")).out).toMatch(
      /its WireGuard +0\.0\.0\.0:51820, carried by (?:the kernel|wireguard-go), \d+ peers/,
    );
  });

  test("where there is no gateway, it is said what to write, and peers can still be removed", async () => {
    await node.stop("SIGKILL");
    const file = join(folder, "flycast.toml");
    writeFileSync(file, readFileSync(file, "utf8").replace(/^wireguard.*\n/gm, ""));
    rmSync(join(folder, "laptop.conf"));
    node = new Up(folder, WHO, ["--network-mode", "lab"], node.on);
    await node.ready();
    expect((await wireguard("remove", "acme", "laptop")).out).toContain("Removed peer.");
    expect(await peers()).toEqual([]);
    const refused = await wireguard("create", "acme", "iad", "laptop", "laptop.conf");
    expect(refused).toMatchObject({ code: 1 });
    expect(refused.err).toContain('write wireguard = "127.0.0.1:51820" under [node]');
    expect(existsSync(join(folder, "laptop.conf"))).toBe(false);
  });

  test("loopback mode, which has no network to join, says so instead of silence", async () => {
    const other = workspaceOf(FILES, WHO);
    loopback = new Up(other, WHO, ["--network-mode", "loopback"]);
    const problem = await loopback.until((event) => event.event === "problem");
    expect(problem).toMatchObject({ code: "unsupported", message: expect.stringContaining("WireGuard") });
    await loopback.stop();
  });
});
