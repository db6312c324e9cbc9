import { createServer } from "node:net";
import { existsSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, describe, expect, test } from "vitest";
import { clean, curl, eventually, FLYCAST, leftovers, run, Up, workspaceOf, type Ran } from "./support.ts";

const FLY = 'app = "a"\n[http_service]\n  internal_port = 8080\n  auto_stop_machines = "stop"\n';
const folders: string[] = [];
const running: Up[] = [];

afterEach(async () => {
  for (const node of running.splice(0)) await node.stop("SIGKILL");
  for (const folder of folders.splice(0)) clean(folder);
});

function workspace(flycast: string, files: Readonly<Record<string, string>> = { "a/fly.toml": FLY }): string {
  const folder = workspaceOf({ "flycast.toml": flycast, ...files }, "root");
  folders.push(folder);
  return folder;
}

function up(folder: string, ...args: string[]): Up {
  const node = new Up(folder, "root", ["--network-mode", "loopback", ...args]);
  running.push(node);
  return node;
}

/** `up` that is expected to refuse. */
function refused(folder: string): Promise<Ran> {
  return run([process.execPath, FLYCAST, "up", folder, "--network-mode", "loopback"]);
}

describe("what cannot run is refused before a port opens, with the line to write", () => {
  test("an app without a command: the line from its Dockerfile is suggested", async () => {
    const folder = workspace('[apps.a]\npath = "a"\n', {
      "a/fly.toml": FLY,
      "a/Dockerfile": 'FROM node\nCMD ["node", "server.js"]\n',
    });
    const { code, err } = await refused(folder);
    expect(code).toBe(1);
    expect(err).toMatch(/app a names no command/);
    expect(err).toContain('command = "node server.js"');
    expect(existsSync(join(folder, ".flycast"))).toBe(false);
  });

  test("an app folder without fly.toml", async () => {
    const { code, err } = await refused(workspace('[apps.a]\npath = "a"\ncommand = "true"\n', {}));
    expect(code).toBe(1);
    expect(err).toMatch(/flycast\.toml:2:\d+ apps\.a\.path: there is no file a?.*fly\.toml/);
  });

  test("two apps of one name", async () => {
    const folder = workspace('[apps.a]\npath = "a"\ncommand = "true"\n[apps.b]\npath = "b"\ncommand = "true"\n', {
      "a/fly.toml": FLY,
      "b/fly.toml": FLY,
    });
    const { code, err } = await refused(folder);
    expect(code).toBe(1);
    expect(err).toMatch(/names the app a, not b/);
  });

  test("a published port that is taken", async () => {
    const other = createServer().listen(0, "127.0.0.1");
    await new Promise((resolve) => other.once("listening", resolve));
    const address = other.address();
    const port = typeof address === "object" ? address?.port : 0;
    try {
      const folder = workspace(`[apps.a]\npath = "a"\ncommand = "sleep 9"\npublish = { "80" = ${port} }\n`);
      const { code, err } = await refused(folder);
      expect(code).toBe(1);
      expect(err).toMatch(new RegExp(`127\\.0\\.0\\.1:${port} is taken.*\\[port_taken\\]`));
      await eventually(
        () => leftovers(folder),
        (left) => left.length === 0,
      );
    } finally {
      other.close();
    }
  });

  test("a state folder of a newer version", async () => {
    const folder = workspace('[apps.a]\npath = "a"\ncommand = "sleep 9"\n');
    const node = up(folder);
    await node.ready();
    await node.stop();
    const catalogue = join(folder, ".flycast", "catalogue");
    for (const name of readdirSync(catalogue)) writeFileSync(join(catalogue, name), newerHeader(name));
    const { code, err } = await refused(folder);
    expect(code).toBe(1);
    expect(err).toMatch(/\[state_newer\]/);
  });

  test("wrong usage exits with 2 and names the nearest command", async () => {
    const { code, err } = await run([process.execPath, FLYCAST, "statsu"]);
    expect(code).toBe(2);
    expect(err).toMatch(/Did you mean status\?/);
  });

  test("no running node exits with 1 and names the next command", async () => {
    const folder = workspace("");
    const { code, err } = await run([process.execPath, FLYCAST, "status"], folder);
    expect(code).toBe(1);
    expect(err).toMatch(/\[node_unreachable\][\s\S]*Try: flycast up/);
  });
});

describe("promise 9: every failure is explained, with one code for the answer and the event", () => {
  test("a Machine that exits at once", async () => {
    const node = up(
      workspace('[limits]\nwake_timeout = "5s"\n[apps.a]\npath = "a"\ncommand = "sh -c \'echo boom >&2; exit 3\'"\n'),
    );
    const answer = await curl("-i", `http://${await node.published("a", 80)}/`);
    expect(answer.out).toMatch(/^HTTP\/1\.1 502 /);
    const failed = await node.until((event) => event.event === "failed");
    expect(failed["message"]).toMatch(/exit code 3/);
    expect(answer.out).toContain(String(failed["code"]));
    expect((await node.cli("logs", "-a", "a")).out).toContain("boom");
  });

  test("one that never listens: PM03, and the next client is told at once instead of starting it again", async () => {
    const node = up(workspace('[limits]\nwake_timeout = "1s"\n[apps.a]\npath = "a"\ncommand = "sleep 1000"\n'));
    const url = `http://${await node.published("a", 80)}/`;
    const answers = await Promise.all(Array.from({ length: 20 }, () => curl("-i", url)));
    for (const { out } of answers) {
      expect(out).toMatch(/^HTTP\/1\.1 503 /);
      expect(out).toContain("PM03");
    }
    expect(node.count((event) => event.event === "wake")).toBe(1);
    const failed = await node.until((event) => event.event === "failed");
    expect(failed["code"]).toBe("PM03");
  });

  test("a program that does not exist: PM02, with its name in the event and not in the answer", async () => {
    const node = up(workspace('[apps.a]\npath = "a"\ncommand = "no-such-program --x"\n'));
    const { out } = await curl("-i", `http://${await node.published("a", 80)}/`);
    expect(out).toMatch(/^HTTP\/1\.1 503 /);
    expect(out).toContain("PM02");
    expect(out).not.toContain("no-such-program");
    const failed = await node.until((event) => event.event === "failed");
    expect(failed["message"]).toContain("no-such-program");
  });

  test("promise 3: one that listens late is waited for, and a client that gives up meanwhile does not end its start", async () => {
    const late = `setTimeout(() => require("http").createServer((q, s) => s.end("late")).listen(process.env.PORT, "127.0.0.1"), 1500)`;
    const node = up(workspace(`[apps.a]\npath = "a"\ncommand = '''node -e '${late}' '''\n`));
    const url = `http://${await node.published("a", 80)}/`;
    const impatient = run(["curl", "-s", "-m", "0.3", url]);
    const patient = curl(url);
    expect((await impatient).code).toBe(28);
    expect((await patient).out).toBe("late");
    expect(node.count((event) => event.event === "wake")).toBe(1);
  });
});

describe("promise 6: a bad reload changes nothing", () => {
  test("a broken file is refused while everything runs on; a good one applies", async () => {
    const server = `require("http").createServer((q, s) => s.end("v" + process.env.V)).listen(process.env.PORT, "127.0.0.1")`;
    const text = (v: string): string =>
      `[apps.a]\npath = "a"\ncommand = '''node -e '${server}' '''\nenv = { V = "${v}" }\n`;
    const folder = workspace(text("1"));
    const node = up(folder);
    const url = `http://${await node.published("a", 80)}/`;
    expect((await curl(url)).out).toBe("v1");
    writeFileSync(join(folder, "flycast.toml"), `${text("2")}nonsense = [\n`);
    await node.until((event) => event.event === "problem");
    expect((await curl(url)).out).toBe("v1");
    writeFileSync(join(folder, "flycast.toml"), text("3"));
    await node.until((event) => event.event === "reload");
    expect((await curl(url)).out).toBe("v3");
  });
});

function newerHeader(name: string): string {
  const line = JSON.stringify({ flycast: name.startsWith("snapshot") ? "snapshot" : "journal", format: 99, from: 1 });
  return `${crc32(line)} ${line}\n`;
}

/** CRC-32 as zlib has it: the frame of a journal line. */
function crc32(text: string): string {
  let crc = ~0;
  for (const byte of Buffer.from(text)) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ (crc & 1 ? 0xedb88320 : 0);
  }
  return (~crc >>> 0).toString(16).padStart(8, "0");
}
