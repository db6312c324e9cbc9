import { spawnSync } from "node:child_process";
import { readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { temporaryAuthority } from "../../src/proxy/tls/authority.ts";
import { cannotPlay, clean, eventually, leftovers, type Ran, Up, workspaceOf } from "./support.ts";

const CI = process.env["CI"] === "true";
const missing = (program: string): boolean => !CI && spawnSync("sh", ["-c", `command -v ${program}`]).status !== 0;
const authority = temporaryAuthority(new Date());
const renewed = (): { readonly cert: string; readonly key: string } => authority.issue(["own.flycast"], new Date());

const APP = `
const { createServer } = require("net");
createServer((s) => s.on("error", () => {}).once("data", (bytes) =>
  s.end(bytes.toString().startsWith("GET ") ? "HTTP/1.1 200 OK\\r\\nContent-Length: 5\\r\\n\\r\\nhello" : bytes))).listen(7, "::");
`;
const service = (app: string, ports: string): string =>
  `app = "${app}"\n[[services]]\nprotocol = "tcp"\ninternal_port = 7\nauto_stop_machines = "stop"\n${ports}`;
const TLS = '[[services.ports]]\nport = 443\nhandlers = ["tls", "http"]\n';
const FILES = {
  "flycast.toml": `
[apps.range]
path = "range"
command = "node ../app.js"
[apps.web]
path = "web"
command = "node ../app.js"
[apps.own]
path = "own"
command = "node ../app.js"
tls = { cert = "own.crt", key = "own.key" }
`,
  "range/fly.toml": service("range", "[[services.ports]]\nstart_port = 20000\nend_port = 21023\n"),
  "web/fly.toml": service(
    "web",
    `${TLS}[services.ports.tls_options]\ndefault_self_signed = true\n` +
      '[[services.ports]]\nport = 8883\nhandlers = ["tls"]\n[services.ports.tls_options]\n' +
      'default_self_signed = true\nalpn = ["mqtt"]\nversions = ["TLSv1.3"]\n',
  ),
  "own/fly.toml": service("own", TLS),
  "own.crt": renewed().cert,
  "own.key": "",
  "app.js": APP,
};

const unable = cannotPlay("user");
describe.skipIf(unable !== undefined && !CI)("ports and certificates, by real clients in the lab", () => {
  let node: Up;
  let addresses: ReadonlyMap<string, string>;
  beforeAll(async () => {
    const first = renewed();
    node = new Up(workspaceOf({ ...FILES, "own.crt": first.cert, "own.key": first.key }, "user"), "user", [
      "--network-mode",
      "lab",
    ]);
    const { services } = await node.ready();
    addresses = new Map(services.map(({ app, address }) => [app, address]));
    writeFileSync(join(node.folder, "ca.pem"), (await node.cli("ca")).out);
  });
  afterAll(async () => {
    await node.stop("SIGKILL");
    await eventually(
      () => leftovers(node.folder),
      (left) => left.length === 0,
    );
    clean(node.folder);
  });

  const inside = (...command: string[]): Promise<Ran> => node.cli("exec", "--", ...command);
  const handshake = (to: string, ...more: string[]): Promise<Ran> =>
    inside("sh", "-c", 'exec openssl s_client "$@" </dev/null 2>&1', "sh", "-connect", to, ...more);
  async function metric(name: string): Promise<number> {
    const { api } = await node.ready();
    const token = readFileSync(join(node.folder, ".flycast/token"), "utf8").trim();
    const text = await (await fetch(`${api}/metrics`, { headers: { authorization: `Bearer ${token}` } })).text();
    const line = text.split("\n").find((candidate) => candidate.startsWith(name));
    return Number(line?.split(" ").at(-1) ?? 0);
  }

  test.skipIf(missing("socat"))(
    "a range of 1,024 ports is served from the first to the last, and nothing beside it",
    async () => {
      const say = (app: string, port: number) =>
        inside("sh", "-c", `printf hello | socat -t 5 - "TCP6:[${addresses.get(app)}]:${port}"`);
      for (const port of [20_000, 20_511, 21_023]) expect((await say("range", port)).out).toBe("hello");
      // A port of nobody is the kernel's to refuse; the other app's is ours, and both are refused at once.
      expect((await say("range", 21_024)).err).toContain("refused");
      const before = await metric('flycast_errors_total{code="FP01"}');
      expect((await say("web", 20_000)).out).toBe("");
      expect((await say("range", 443)).out).toBe("");
      expect(await metric('flycast_errors_total{code="FP01"}')).toBe(before + 2);
    },
  );

  test("curl trusts a .flycast name with the authority that `flycast ca` prints, and not without", async () => {
    const get = ["curl", "-sS", "-m", "20", "https://web.flycast/"];
    const trusted = await inside(...get, "--cacert", join(node.folder, "ca.pem"));
    expect(trusted).toMatchObject({ code: 0, out: "hello" });
    expect((await inside(...get)).code).toBe(60);
  });

  test.skipIf(missing("openssl"))("alpn and versions are as the port says, and a foreign name is told so", async () => {
    const mqtt = await handshake("web.flycast:8883", "-servername", "web.flycast", "-alpn", "mqtt");
    expect(mqtt.out).toMatch(/TLSv1\.3[^]*ALPN protocol: mqtt/);
    expect((await handshake("web.flycast:8883", "-tls1_2")).out).toContain("alert protocol version");
    expect((await handshake("web.flycast:443", "-servername", "bank.example")).out).toContain("unrecognized name");
  });

  test.skipIf(missing("openssl"))(
    "a renewed certificate is shown without a restart, and half a renewal changes nothing",
    async () => {
      const shown = async (): Promise<string> => {
        const { out } = await handshake("own.flycast:443", "-servername", "own.flycast");
        return /-----BEGIN CERTIFICATE-----[^]*?-----END CERTIFICATE-----/.exec(out)?.[0] ?? out;
      };
      const first = await shown();
      const next = renewed();
      const replace = (file: string, text: string): void => {
        writeFileSync(join(node.folder, "new"), text, { mode: 0o644 });
        renameSync(join(node.folder, "new"), join(node.folder, file));
      };
      replace("own.key", next.key);
      expect(await shown()).toBe(first);
      replace("own.crt", next.cert);
      await eventually(shown, (pem) => next.cert.includes(pem));
    },
  );
});
