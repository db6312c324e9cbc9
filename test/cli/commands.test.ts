import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { CONFIG, TestApi, type Json } from "../api/harness.ts";
import { FLYCAST, flycast, type How, type Ran } from "./run.ts";

let api: TestApi;
let machine: string;
let folder: string;
beforeAll(async () => {
  api = await TestApi.start();
  folder = mkdtempSync(join(tmpdir(), "flycast-cli-"));
  writeFileSync(join(folder, "fly.toml"), 'app = "web"\n[[mistakes');
  await api.call("/v1/apps", { body: { name: "web", org_slug: "personal" } });
  await api.call("/v1/apps", { body: { name: "db", org_slug: "personal" } });
  machine = (await api.call("/v1/apps/web/machines", { body: { config: CONFIG, name: "one" } })).json.id;
  await api.call(`/v1/apps/web/machines/${machine}/wait?timeout=5`);
});
afterAll(async () => {
  await api.close();
  rmSync(folder, { recursive: true, force: true });
});

const run = (line: string, how?: How): Promise<Ran> => flycast(api, line.split(" "), how);
const done = async (line: string, how?: How): Promise<string> => {
  const ran = await run(line, how);
  expect(ran, line).toMatchObject({ code: 0, err: "" });
  return ran.out;
};
const json = async (line: string): Promise<Json> => JSON.parse(await done(`${line} --json`));
const columns = (table: string): string[] =>
  (table.split("\n").find((line) => /^[A-Z]/.test(line)) ?? "").split(/\s{2,}/);

describe("tables have the platform's columns", () => {
  test("machines list", async () => {
    const out = await done("machines list -a web");
    expect(out).toContain("1 machines have been retrieved from app web.");
    const table = out.slice(out.indexOf("\n\n") + 2);
    expect(columns(table)).toEqual([
      "ID",
      "NAME",
      "STATE",
      "CHECKS",
      "REGION",
      "ROLE",
      "IMAGE",
      "IP ADDRESS",
      "VOLUME",
      "CREATED",
      "LAST UPDATED",
      "PROCESS GROUP",
      "SIZE",
    ]);
    expect(table).toMatch(new RegExp(`^${machine}  one   started .* app +shared-cpu-1x:256MB$`, "m"));
    expect((await done("m ls -q -a web")).trim()).toBe(machine);
  });

  test("apps, orgs, tokens, regions, addresses, secrets", async () => {
    expect(columns(await done("apps list"))).toEqual(["NAME", "OWNER", "STATUS", "NETWORK", "LATEST DEPLOY"]);
    expect(columns(await done("orgs list"))).toEqual(["NAME", "SLUG", "TYPE", "NETWORK", "PREFIX"]);
    expect(columns(await done("tokens list"))).toEqual(["ID", "NAME", "ORG", "CREATED AT"]);
    expect(columns(await done("platform regions"))).toEqual(["NAME", "CODE", "GATEWAY"]);
    expect(columns(await done("ips allocate-v6 --private -a web"))).toEqual([
      "VERSION",
      "IP",
      "TYPE",
      "REGION",
      "CREATED AT",
    ]);
    expect(await done("ips list -a web")).toMatch(/^v6 +fdaa:\S+ +private +global +just now$/m);
    await done("secrets set -a web A=1");
    expect(columns(await done("secrets list -a web"))).toEqual(["NAME", "DIGEST", "CREATED AT"]);
  });

  test("columns line up whatever stands in them", async () => {
    const lines = (await done("apps list")).trimEnd().split("\n");
    const at = lines[0]?.indexOf("OWNER") ?? 0;
    for (const line of lines.slice(1)) expect(line.slice(at - 2)).toMatch(/^ {2}personal/);
  });
});

describe("--json", () => {
  test.each([
    "apps list",
    "orgs list",
    "tokens list",
    "platform regions",
    "ips list -a web",
    "ips private -a web",
    "machines list -a web",
    "scale show -a web",
    "version",
    "status",
    "status -a web",
    "secrets list -a web",
    "config schema",
    "ca",
    "completion bash",
  ])("of %s is one JSON value on standard output and nothing else", async (line) => {
    expect(await json(line)).toBeDefined();
  });

  test("of one Machine, and of what was done to it", async () => {
    expect(await json(`machines status ${machine}`)).toMatchObject({ id: machine, state: "started" });
    expect(await json(`why ${machine}`)).toMatchObject({ machine, app: "web" });
    expect(await json(`machines cordon ${machine}`)).toEqual({ id: machine, done: "cordon" });
    await done(`machines uncordon ${machine}`);
  });

  test("of an error is one JSON value on standard error", async () => {
    const { code, out, err } = await run("machines list -a nobody --json");
    expect({ code, out }).toEqual({ code: 1, out: "" });
    expect(JSON.parse(err)).toEqual({
      error: 'Could not find App "nobody"',
      code: "not_found",
      next: "flycast apps list",
    });
  });
});

describe("exit codes and errors", () => {
  test.each([
    ["statsu", "status"],
    ["machine lst", "list"],
    ["ips relase x", "release"],
    ["status --jsn", "--json"],
  ])("%s is wrong usage (2), and the nearest name is suggested", async (line, meant) => {
    const { code, err } = await run(line);
    expect(code).toBe(2);
    expect(err).toMatch(new RegExp(`Did you mean (?:one of )?${meant}`));
  });

  test("what a command lacks is said with where to read about it", async () => {
    expect((await run("machines stop")).err).toContain("(flycast machines stop --help says how)");
    expect((await run("machines lst")).err).toContain("(flycast machines --help lists its commands)");
  });

  test.skipIf(!existsSync("/dev/full"))("an answer that cannot be written is a failure, said in one line", () => {
    const { status, stderr } = spawnSync(
      "sh",
      ["-c", `exec "${process.execPath}" "${FLYCAST}" platform regions >/dev/full`],
      {
        encoding: "utf8",
      },
    );
    expect(status).toBe(1);
    expect(stderr).toMatch(/^Error: cannot write the output: .*\n$/);
  });

  test.each([
    "machines status",
    "scale count many",
    "logs -n few",
    "completion tcsh",
    "secrets set NOVALUE",
    "orgs update x",
  ])("%s is wrong usage (2)", async (line) => {
    expect((await run(line)).code).toBe(2);
  });

  test("a refusal is 1, with its code and the next command to try", async () => {
    const { code, err } = await run("ips allocate-v6 -a web");
    expect(code).toBe(1);
    expect(err).toMatch(/^Error: .* \[unsupported\]\n {2}Try: flycast ips allocate-v6 --private$/m);
  });

  test("a node that does not answer, one that there is not, and a wrong token are told apart", async () => {
    const gone = await flycast(undefined, ["status"], { env: { FLYCAST_API: "127.0.0.1:1", FLYCAST_TOKEN: "x" } });
    expect(gone).toMatchObject({ code: 1 });
    expect(gone.err).toContain("does not answer");
    const none = await flycast(undefined, ["status", "--state-dir", folder]);
    expect(none.err).toMatch(/No running node was found[\s\S]*Try: flycast up/);
    expect((await run("status --token wrong")).err).toContain("[unauthorized]");
  });

  test.each(["up", "apps list", "apps", "wireguard create"])("%s --help lists each option once", async (command) => {
    const listed = (await done(`${command} --help`)).match(/^  (?:-\w, )?--[\w-]+/gm) ?? [];
    expect(new Set(listed).size).toBe(listed.length);
    expect(listed.join()).toContain("--state-dir");
  });

  test("help is no error, and names every group of commands", async () => {
    const out = await done("--help");
    for (const word of [
      "up",
      "serve",
      "status",
      "machines",
      "apps",
      "ips",
      "secrets",
      "tokens",
      "wireguard",
      "completion",
    ])
      expect(out).toMatch(new RegExp(`^  ${word}[ |]`, "m"));
    expect((await done("--version")).trim()).toMatch(/^\d+\.\d+\.\d+$/);
  });
});

describe("which app", () => {
  test("is the one of ./fly.toml, also where the file has mistakes; FLY_APP and -a come first", async () => {
    expect(await done("machines list", { cwd: folder })).toContain("from app web");
    expect(await done("machines list", { cwd: folder, env: { FLY_APP: "db" } })).toContain("this app db");
    expect(await done("machines list -a db", { cwd: folder, env: { FLY_APP: "web" } })).toContain("this app db");
  });

  test("must be said where it is not clear", async () => {
    const { code, err } = await run("machines list", { cwd: tmpdir() });
    expect(code).toBe(1);
    expect(err).toContain("Which app?");
  });
});

describe("without a terminal", () => {
  test("nothing is asked: the command says what to write instead", async () => {
    const destroy = await run("apps destroy db");
    expect(destroy.code).toBe(1);
    expect(destroy.err).toContain("--yes");
    expect((await api.call("/v1/apps/db")).status).toBe(200);
    const create = await run("apps create");
    expect(create.code).toBe(1);
    expect(create.err).toContain("flycast apps create NAME");
  });

  test("--yes answers beforehand", async () => {
    await api.call("/v1/apps", { body: { name: "goner", org_slug: "personal" } });
    expect(await done("apps destroy goner --yes")).toBe("Destroyed app goner\n");
    expect((await api.call("/v1/apps/goner")).status).toBe(404);
  });

  test("there are no colours and no progress, whatever takes long", async () => {
    for (const line of ["status", `machines stop ${machine}`, `machines start ${machine}`]) {
      const { out, err } = await run(line);
      expect(`${out}${err}`).not.toContain("\u001b");
    }
  });
});

describe("commands", () => {
  test("machines: the verbs speak the platform's words", async () => {
    expect(await done(`machines stop ${machine} --signal SIGTERM --timeout 3`)).toBe(
      `Sending kill signal to machine ${machine}...\n${machine} has been successfully stopped\n`,
    );
    expect(await done(`machines start ${machine}`)).toBe(`${machine} has been started\n`);
    expect(await done(`machines suspend ${machine}`)).toContain("suspended");
    expect(await done(`machines restart ${machine} -a web`)).toContain("restarted");
    const refused = await run(`machines destroy ${machine}`);
    expect(refused).toMatchObject({ code: 1 });
    const other = (await api.call("/v1/apps/db/machines", { body: { config: CONFIG } })).json.id;
    expect(await done(`machines destroy -f ${other}`)).toBe(`${other} has been destroyed\n`);
  });

  test("machines run: a Machine from the command line, with flyctl's flags and words", async () => {
    const said = await done(
      "machines run -a db -n made -r ams -e A=1 -e B=x=y -m role=test -p 80:9000/tcp:http -p 81:9000 -p 5432 --autostop stop --restart no -- sleep 1000 --json",
    );
    expect(said).toMatch(/^Success! A Machine has been successfully launched in app db\n Machine ID: [0-9a-f]{14}\n/);
    expect(said).toMatch(/Machine started, you can connect via the following private ip\n {2}fdaa:/);
    const [made] = (await json("machines list -a db")).filter(({ name }: Json) => name === "made");
    expect(made).toMatchObject({ region: "ams", state: "started" });
    expect(made.config).toMatchObject({
      init: { exec: ["sleep", "1000", "--json"] },
      env: { A: "1", B: "x=y" },
      metadata: { role: "test" },
      restart: { policy: "no" },
      services: [
        {
          protocol: "tcp",
          internal_port: 9000,
          autostart: true,
          autostop: "stop",
          ports: [{ port: 80, handlers: ["http"] }, { port: 81 }],
        },
        { internal_port: 5432, ports: [{ port: 5432 }] },
      ],
    });
    await done(`machines destroy -f ${made.id}`);
    expect((await run("machines run -a db -e nothing -- true")).err).toContain("write NAME=VALUE");
    expect((await run("machines run -a db -p 80:99999 -- true")).err).toContain("80:8080/tcp:http");
    expect(await run("machines run -a db")).toMatchObject({ code: 2 });
  });

  test("apps of an organisation that does not exist are an error, those of an empty one none", async () => {
    await done("orgs create empty");
    expect(await done("apps list -o empty")).toContain("NAME");
    expect((await run("apps list -o nobody")).err).toContain('Could not find Organization "nobody" [not_found]');
  });

  test("orgs: a user for Machines of the API can be named at the start and later", async () => {
    await done("orgs create acme --user root");
    expect((await json("orgs list")).find((org: Json) => org.slug === "acme")).toMatchObject({ user: "root" });
    expect(await json("orgs update personal --user root --name Me")).toMatchObject({ user: "root", name: "Me" });
    expect((await run("orgs update personal --user no-such-user")).err).toContain("does not exist on this computer");
    expect((await flycast(api, ["orgs", "update", "personal", "--user", "", "--json"])).out).toContain('"user": null');
  });

  test("secrets: values come from standard input, and are printed nowhere", async () => {
    const set = await run("secrets set -a web TOKEN=-", { input: "hunter2\n" });
    expect(set).toMatchObject({ code: 0, out: "TOKEN set for web; its Machines see that when they next start.\n" });
    expect(await done("secrets list -a web")).not.toContain("hunter2");
    await done("secrets unset -a web TOKEN");
    expect(await done("secrets list -a web")).not.toContain("TOKEN");
  });

  test("tokens: printed once, listed without, revoked", async () => {
    const token = (await done("tokens create -o personal -n ci")).trim();
    expect((await run("apps list", { env: { FLYCAST_TOKEN: token } })).code).toBe(0);
    const { id } = (await json("tokens list")).find((one: Json) => one.name === "ci");
    expect(await done(`tokens revoke ${id}`)).toBe(`Revoked token ${id}\n`);
    expect((await run("apps list", { env: { FLYCAST_TOKEN: token } })).code).toBe(1);
  });

  test("logs are printed as they are, and as JSON with --json", async () => {
    expect(await done("logs -a web")).toBe(`web iad [${machine}] 2026-01-01T00:00:00.000Z hello\n`);
    expect(await json("logs -a web")).toMatchObject({ app: "web", machine, message: "2026-01-01T00:00:00.000Z hello" });
  });

  test("where nothing was printed yet, that is said, and not among the lines", async () => {
    const ran = await run("logs -a db");
    expect(ran).toMatchObject({ code: 0, out: "", err: "db: nothing printed yet\n" });
  });

  test("a reader that goes away early is no error", () => {
    const { stderr } = spawnSync("sh", ["-c", `"${process.execPath}" dist/cli/flycast.js --help | head -1`], {
      encoding: "utf8",
    });
    expect(stderr).toBe("");
  });
});

describe("completion", () => {
  const has = (shell: string): boolean => spawnSync(shell, ["-c", "true"]).status === 0;

  test.skipIf(!has("bash") && process.env["CI"] !== "true")(
    "bash offers commands, then those below, then options",
    async () => {
      const script = await done("completion bash");
      const complete = (...words: string[]): string[] => {
        const line = words.map((word) => `'${word}'`).join(" ");
        const ask = `COMP_WORDS=(${line}); COMP_CWORD=${words.length - 1}; _flycast; printf '%s\\n' "\${COMPREPLY[@]}"`;
        const { stdout, stderr } = spawnSync("bash", ["--norc", "-c", `${script}\n${ask}`], { encoding: "utf8" });
        expect(stderr).toBe("");
        return stdout.trim().split("\n");
      };
      expect(complete("flycast", "mach")).toEqual(["machines"]);
      expect(complete("flycast", "machines", "st")).toEqual(["status", "start", "stop"]);
      expect(complete("flycast", "m", "st")).toEqual(["status", "start", "stop"]);
      expect(complete("flycast", "machines", "list", "--q")).toEqual(["--quiet"]);
      expect(complete("flycast", "--json", "apps", "d")).toEqual(["destroy"]);
      expect(complete("flycast", "up", "--network-mode", "lo")).toEqual(["loopback"]);
      expect(complete("flycast", "machines", "run", "--autostop", "")).toEqual(["off", "stop", "suspend"]);
      expect(complete("flycast", "completion", "z")).toEqual(["zsh"]);
    },
  );

  test.each(["zsh", "fish"])("%s can read its script", async (shell) => {
    const script = await done(`completion ${shell}`);
    expect(script).toContain("machines");
    if (has(shell))
      expect(spawnSync(shell, ["-n"], { input: script, encoding: "utf8" })).toMatchObject({ status: 0, stderr: "" });
  });
});
