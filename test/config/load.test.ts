import { execFileSync } from "node:child_process";
import { mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { loadNode, loadWorkspace } from "../../src/config/load.ts";
import type { Problem } from "../../src/config/problem.ts";
import { workspaceFolder } from "./workspace-folder.ts";

const WEB = 'app = "web"\nprimary_region = "ams"\n[http_service]\ninternal_port = 8080\n';
const DB =
  'app = "db"\n[[services]]\ninternal_port = 5432\nports = [{ port = 5432 }]\n[mounts]\nsource = "pg"\ndestination = "/data"\n';
const BOTH =
  '[apps.web]\ncommand = "node server.js"\n[apps.db]\npath = "stores/db"\ncommand = "postgres -D \'/my data\'"\n';

function places(problems: readonly Problem[]): readonly string[] {
  return problems.map(({ file, line, path, rule }) => `${file}:${line ?? "-"} ${path} ${rule}`);
}

async function load(files: Readonly<Record<string, string>>, target?: string) {
  const cwd = workspaceFolder(files);
  return { cwd, ...(await loadWorkspace(target, { cwd })) };
}

describe("a workspace", () => {
  test("has every app with its folder, command, addresses and Machines", async () => {
    const { cwd, workspace, problems, files } = await load({
      "flycast.toml": BOTH,
      "web/fly.toml": WEB,
      "stores/db/fly.toml": DB,
    });
    expect(problems).toEqual([]);
    expect(files).toEqual([join(cwd, "flycast.toml"), join(cwd, "web/fly.toml"), join(cwd, "stores/db/fly.toml")]);
    expect(workspace?.file).toBe(join(cwd, "flycast.toml"));
    expect(workspace?.node.stateDir).toBe(join(cwd, ".flycast"));
    expect(workspace?.apps).toMatchObject([
      {
        name: "web",
        folder: join(cwd, "web"),
        org: "personal",
        network: "default",
        machines: [{ group: "app", region: "ams", count: 1 }],
        flycast: [{ org: "personal", network: "default" }],
        commands: { app: ["node", "server.js"] },
        volumes: join(cwd, ".flycast/volumes"),
      },
      {
        name: "db",
        folder: join(cwd, "stores/db"),
        machines: [{ group: "app", region: "dev", count: 1 }],
        commands: { app: ["postgres", "-D", "/my data"] },
      },
    ]);
  });

  test("may be a file, a folder, or the working directory", async () => {
    const files = { "ws/flycast.toml": BOTH, "ws/web/fly.toml": WEB, "ws/stores/db/fly.toml": DB };
    const cwd = workspaceFolder(files);
    const [byFolder, byFile, byCwd] = await Promise.all([
      loadWorkspace("ws", { cwd }),
      loadWorkspace("ws/flycast.toml", { cwd }),
      loadWorkspace(undefined, { cwd: join(cwd, "ws") }),
    ]);
    expect(byFolder.workspace).toBeDefined();
    expect(byFile.workspace).toEqual(byFolder.workspace);
    expect(byCwd.workspace).toEqual(byFolder.workspace);
  });

  test("of one app is a folder with only a fly.toml", async () => {
    const { cwd, workspace } = await load({ "fly.toml": `${WEB}[experimental]\ncmd = ["node", "server.js"]\n` });
    expect(workspace).toMatchObject({ file: undefined, node: { stateDir: join(cwd, ".flycast") } });
    expect(workspace?.apps).toMatchObject([{ name: "web", folder: cwd, commands: { app: ["node", "server.js"] } }]);
  });

  test("takes every key of an app", async () => {
    const { cwd, workspace, problems } = await load({
      "flycast.toml": `
[node]
region = "iad"
state_dir = "state"
[regions.fsn]
lat = 50.47
lon = 12.37
rtt_ms = { iad = 95 }
[apps.db]
path = "db/fly.toml"
org = "stores"
network = "back"
machines = { iad = 2, fsn = 1, ams = 0 }
flycast = ["personal", "stores/back"]
command = { app = "postgres" }
env = { PORT = 5432, SELF = "\${db.flycast:5432}" }
env_file = "secrets.env"
volumes = "vols"
metadata = { role = "primary" }
user = "postgres"
publish = { "5432" = "[::1]:15432" }
protocol = "postgres"
idle_sessions = "end"
replay_from = ["personal", "stores/front"]
tls = { cert = "c.pem", key = "k.pem" }
`,
      "db/fly.toml": DB,
      "secrets.env": "",
      "c.pem": "",
      "k.pem": "",
    });
    expect(problems).toEqual([]);
    expect(workspace?.apps[0]).toMatchObject({
      folder: join(cwd, "db"),
      org: "stores",
      network: "back",
      machines: [
        { group: "app", region: "ams", count: 0 },
        { group: "app", region: "fsn", count: 1 },
        { group: "app", region: "iad", count: 2 },
      ],
      flycast: [
        { org: "personal", network: "default" },
        { org: "stores", network: "back" },
      ],
      env: { PORT: "5432", SELF: "${db.flycast:5432}" },
      envFile: join(cwd, "secrets.env"),
      volumes: join(cwd, "vols"),
      metadata: { role: "primary" },
      user: "postgres",
      publish: new Map([[5432, { host: "::1", port: 15432 }]]),
      protocol: "postgres",
      idleSessions: "end",
      replayFrom: [
        { org: "personal", network: "default" },
        { org: "stores", network: "front" },
      ],
      tls: { cert: join(cwd, "c.pem"), key: join(cwd, "k.pem") },
    });
    expect(workspace?.node).toMatchObject({ region: "iad", stateDir: join(cwd, "state") });
    expect(workspace?.node.regions).toEqual([{ code: "fsn", lat: 50.47, lon: 12.37, rttMs: new Map([["iad", 95]]) }]);
  });

  test("gives Machines to groups one by one", async () => {
    const fly = 'app = "web"\n[processes]\napp = "serve"\nworker = "work"\nsleeper = ""\n';
    const flycast = "[apps.web]\nmachines = { app = { ams = 2 }, sleeper = { ams = 0 } }\n";
    const { workspace, problems } = await load({ "flycast.toml": flycast, "web/fly.toml": fly });
    // A group without a command is no problem while nobody asks for one of its Machines.
    expect(problems).toEqual([]);
    expect(workspace?.apps[0]?.machines).toEqual([
      { group: "app", region: "ams", count: 2 },
      { group: "sleeper", region: "ams", count: 0 },
      { group: "worker", region: "dev", count: 1 },
    ]);
    expect(workspace?.apps[0]?.commands).toEqual({ app: ["serve"], worker: ["work"] });
  });

  test("obeys the command line before the file", async () => {
    const cwd = workspaceFolder({
      "flycast.toml": `[node]\nnetwork_mode = "lab"\nstate_dir = "a"\n${BOTH}`,
      "web/fly.toml": WEB,
      "stores/db/fly.toml": DB,
    });
    const { workspace } = await loadWorkspace(cwd, { cwd: "/", overrides: { networkMode: "loopback", stateDir: "b" } });
    expect(workspace?.node).toMatchObject({ networkMode: "loopback", stateDir: "/b" });
  });

  test("allows force_https by the file and by the command line", async () => {
    const fly = `${WEB}force_https = true\n[experimental]\ncmd = ["x"]\n`;
    const cwd = workspaceFolder({
      "a/fly.toml": fly,
      "b/flycast.toml": '[compat]\nallow = ["force_https"]\n[apps.web]\npath = "../a"\n',
    });
    expect((await loadWorkspace("a", { cwd })).workspace).toBeUndefined();
    const byFile = await loadWorkspace("b", { cwd });
    const byFlag = await loadWorkspace("a", { cwd, allow: new Set(["force_https"]) });
    for (const { workspace, problems } of [byFile, byFlag]) {
      expect(places(problems)).toEqual(["a/fly.toml:5 http_service.force_https force-https"]);
      expect(workspace?.apps[0]?.config.services[0]?.ports[0]?.forceHttps).toBe(true);
    }
  });
});

describe("a workspace with problems", () => {
  test("is refused with all of them, of all its files", async () => {
    const { workspace, problems, sources } = await load({
      "flycast.toml": `[node]
regoin = "iad"
[apps.web]
machines = { iad = 1, nowhere = 1 }
env = { DB = "\${db.flycast:1}", OTHER = "\${bd.flycast:5432}" }
[apps.db]
path = "stores/db"
command = "postgres 'open"
publish = { "80" = 1 }
[apps.gone]
[apps.other]
path = "web"
command = "x"
`,
      "web/fly.toml": `${WEB}force_https = true\n`,
      "stores/db/fly.toml": `services = 1\nprimry_region = "ams"\n${DB}`,
    });
    expect(workspace).toBeUndefined();
    expect(places(problems)).toEqual([
      "flycast.toml:2 node.regoin unknown-key",
      "flycast.toml:4 apps.web.machines.nowhere unknown-region",
      "flycast.toml:5 apps.web.env.OTHER bad-reference",
      "flycast.toml:8 apps.db.command bad-command",
      "flycast.toml:10 apps.gone.path missing-file",
      "flycast.toml:11 apps.other app-name-differs",
      "web/fly.toml:5 http_service.force_https force-https",
      "web/fly.toml:- processes missing-command",
      "stores/db/fly.toml:4  syntax",
    ]);
    expect([...sources.keys()]).toEqual(["flycast.toml", "web/fly.toml", "stores/db/fly.toml"]);
  });

  test("names the line to write for an app without a command", async () => {
    const hints: readonly [string, string, string][] = [
      [
        "Dockerfile",
        'FROM a\nCMD old\nFROM b\nENTRYPOINT ["tini", "--"]\nCMD ["node", "my server.js"]\n',
        "tini -- node 'my server.js'",
      ],
      ["Procfile", "release: migrate\nweb: bundle exec puma\n", "bundle exec puma"],
      ["package.json", '{"scripts":{"start":"node server.js"}}', "node server.js"],
      ["package.json", '{"scripts":{"start":"next start && echo"}}', "npm start"],
      ["README", "", "node server.js"],
    ];
    for (const [name, text, command] of hints) {
      const { problems } = await load({ "flycast.toml": "[apps.web]\n", "web/fly.toml": WEB, [`web/${name}`]: text });
      expect(places(problems)).toEqual(["web/fly.toml:- processes missing-command"]);
      expect(problems[0]?.remedy).toContain(`command = ${JSON.stringify(command)}`);
      expect(problems[0]?.message).toContain("web");
    }
  });

  test("suggests for a lone fly.toml what that file may hold", async () => {
    const { cwd, problems } = await load({ "fly.toml": WEB, Procfile: "web: node 'my server.js'\n" });
    const remedy = problems[0]?.remedy ?? "";
    writeFileSync(join(cwd, "fly.toml"), `${WEB}${remedy.split("\n").slice(1).join("\n")}\n`);
    const again = await loadWorkspace(cwd, { cwd });
    expect(again.workspace?.apps[0]?.commands).toEqual({ app: ["node", "my server.js"] });
  });

  test("refuses two apps that publish one port", async () => {
    const flycast = `${BOTH.replace("[apps.db]", 'publish = { 80 = "0.0.0.0:9000" }\n[apps.db]')}publish = { 5432 = 9000 }\n`;
    const { problems } = await load({ "flycast.toml": flycast, "web/fly.toml": WEB, "stores/db/fly.toml": DB });
    expect(places(problems)).toEqual([
      "flycast.toml:3 apps.web.publish.80 public-port",
      "flycast.toml:7 apps.db.publish.5432 published-twice",
    ]);
  });

  test("warns of a reference to an app that has no address where the caller is", async () => {
    const flycast = BOTH.replace("[apps.db]", 'env = { DB = "${db.flycast:5432}" }\n[apps.db]\norg = "stores"');
    const files = { "web/fly.toml": WEB, "stores/db/fly.toml": DB };
    const { problems } = await load({ "flycast.toml": flycast, ...files });
    expect(places(problems)).toEqual(["flycast.toml:3 apps.web.env.DB unreachable-reference"]);
    const reachable = await load({ "flycast.toml": `${flycast}flycast = ["stores", "personal"]\n`, ...files });
    expect(reachable.problems).toEqual([]);
  });

  test("without apps is refused by up", async () => {
    const { problems } = await load({ "flycast.toml": "" });
    expect(places(problems)).toEqual(["flycast.toml:- apps no-apps"]);
  });

  test("never throws for what is no file at all", async () => {
    const cwd = workspaceFolder({ "text.toml": "\0", "empty/x": "", "big/fly.toml": "#".repeat(2 * 1024 * 1024) });
    mkdirSync(join(cwd, "folder/fly.toml"), { recursive: true });
    mkdirSync(join(cwd, "loop"));
    symlinkSync("fly.toml", join(cwd, "loop/fly.toml"));
    mkdirSync(join(cwd, "pipe"));
    execFileSync("mkfifo", [join(cwd, "pipe/fly.toml")]);
    const expected = {
      nowhere: "missing-file",
      empty: "missing-file",
      "text.toml": "syntax",
      folder: "unreadable",
      loop: "missing-file",
      pipe: "unreadable",
      big: "too-large",
      "/dev/null": "missing-file",
      "a\0b": "missing-file",
    };
    for (const [target, rule] of Object.entries(expected)) {
      const { workspace, problems } = await loadWorkspace(target, { cwd });
      expect(workspace, target).toBeUndefined();
      expect(
        problems.map((problem) => problem.rule),
        target,
      ).toEqual([rule]);
    }
  });
});

describe("a node", () => {
  test("needs no file, and then keeps its state where a service does", async () => {
    const { node, problems } = await loadNode(undefined, { cwd: "/nowhere" });
    expect(problems).toEqual([]);
    expect(node).toMatchObject({
      region: "dev",
      stateDir: "/var/lib/flycast",
      networkMode: "auto",
      registry: { kind: "file" },
    });
    expect(node?.limits).toEqual({
      wakeTimeout: 60_000,
      queueTimeout: 30_000,
      queueLength: 1000,
      connectTimeout: 5000,
      headTimeout: 30_000,
      keepaliveTimeout: 75_000,
      halfClosedTimeout: 600_000,
      drainTimeout: 300_000,
      holdBuffer: 65_536,
      replayMemory: 67_108_864,
      connections: "auto",
      perNetwork: 0.5,
      starts: 8,
    });
  });

  test("may be a folder with a flycast.toml, whose apps it does not read", async () => {
    const cwd = workspaceFolder({ "flycast.toml": '[node]\nregion = "ams"\n[apps.gone]\n', "empty/x": "" });
    expect(await loadNode(".", { cwd })).toMatchObject({ node: { region: "ams" }, problems: [] });
    expect(places((await loadNode("empty", { cwd })).problems)).toEqual(["empty/flycast.toml:-  missing-file"]);
  });

  test("takes every section of the file", async () => {
    const cwd = workspaceFolder({
      "node.toml": `
[node]
region = "fra"
state_dir = "/srv/state"
registry = "redis://:secret@127.0.0.1:6379/0"
network_mode = "host"
egress = "none"
api = "[::1]:4281"
trust_proxy_protocol = ["10.0.0.0/8", "fd00::1"]
host_networks = ["personal", "acme/staging"]
[autostop]
interval = "10s"
idle = "1m"
[limits]
connections = 5000
hold_buffer = "1MiB"
[dns]
upstreams = ["9.9.9.9", "[2620:fe::fe]:53"]
forward = { "Google.internal." = "169.254.169.254" }
`,
    });
    const { node, problems } = await loadNode("node.toml", { cwd });
    expect(problems).toEqual([]);
    expect(node).toMatchObject({
      region: "fra",
      stateDir: "/srv/state",
      registry: { kind: "redis", url: "redis://:secret@127.0.0.1:6379/0" },
      networkMode: "host",
      egress: "none",
      api: { host: "::1", port: 4281 },
      trustProxyProtocol: ["10.0.0.0/8", "fd00::1"],
      trace: false,
      hostNetworks: [
        { org: "personal", network: "default" },
        { org: "acme", network: "staging" },
      ],
      autostop: { interval: 10_000, idle: 60_000 },
      limits: { connections: 5000, holdBuffer: 1024 * 1024 },
      dns: { upstreams: ["9.9.9.9", "[2620:fe::fe]:53"], forward: new Map([["google.internal", "169.254.169.254"]]) },
    });
  });

  test("is refused with every problem of the file", async () => {
    const cwd = workspaceFolder({
      "flycast.toml": `
[node]
region = "FRA"
registry = "mysql://u:hunter2@h"
api = "localhost:80"
trust_proxy_protocol = ["10.0.0.0/33"]
host_networks = ["a/b/c"]
[autostop]
interval = "0s"
idle = 300
[limits]
wake_timeout = "0s"
hold_buffer = "1KB"
replay_memory = "1 parsec"
drain_timeout = "900h"
per_network = 2
connections = "many"
starts = 0
[dns]
upstreams = ["dns.example"]
forward = { "bad domain" = "9.9.9.9", "Internal." = "9.9.9.9", "arpa" = "9.9.9.9", "corp.internal" = "9.9.9.9" }
[regions.fsn]
lat = 91
rtt_ms = { nowhere = 1 }
[compat]
allow = ["everything"]
`,
    });
    const { node, problems } = await loadNode("flycast.toml", { cwd });
    expect(node).toBeUndefined();
    expect(problems.map(({ path }) => path)).toEqual([
      "node.region",
      "node.registry",
      "node.api",
      "node.trust_proxy_protocol[0]",
      "node.host_networks[0]",
      "autostop.interval",
      "autostop.idle",
      "limits.wake_timeout",
      "limits.replay_memory",
      "limits.drain_timeout",
      "limits.per_network",
      "limits.connections",
      "limits.starts",
      "dns.upstreams[0]",
      'dns.forward."bad domain"',
      'dns.forward."Internal."',
      "dns.forward.arpa",
      "regions.fsn.lat",
      "regions.fsn.rtt_ms.nowhere",
      "compat.allow[0]",
    ]);
    expect(JSON.stringify(problems)).not.toContain("hunter2");
  });
});
