import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { chmodSync, existsSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { cannotServe, Computer, Service } from "./serve-support.ts";
import { eventually, run, workspaceOf, type Ran } from "./support.ts";

const why = await cannotServe();

const FLY_TOML = (app: string) => `app = "${app}"
primary_region = "dev"
[http_service]
internal_port = 8080
auto_start_machines = true
auto_stop_machines = "stop"
`;

/** Answers with its pid, and on /count with a number that only its memory holds; /slow ends when the test says so. */
const SERVER = `
import { createServer } from "node:http";
import { existsSync } from "node:fs";
let count = 0;
createServer((request, response) => {
  if (request.url.startsWith("/slow")) {
    response.write("began ");
    const timer = setInterval(() => {
      if (!existsSync(new URL("done", import.meta.url))) return;
      clearInterval(timer);
      response.end("ended");
    }, 10);
    response.on("close", () => clearInterval(timer));
    return;
  }
  response.end(request.url === "/count" ? String(++count) : String(process.pid));
}).listen(8080, "::");
`;

/** Four clients of each `host port`, each with a new connection for each request, until SIGTERM; then what came of it. */
const LOAD = `
import { get } from "node:http";
const places = process.argv.slice(2).map((place) => place.split(" "));
const answers = {}, errors = {};
let over = false;
const once = ([host, port]) => new Promise((resolve) => {
  const request = get({ host, port, agent: false, timeout: 20000 }, (response) => {
    let text = "";
    response.setEncoding("utf8").on("data", (part) => (text += part));
    response.on("end", () => { answers[response.statusCode + " " + text] = (answers[response.statusCode + " " + text] ?? 0) + 1; resolve(); });
    response.on("error", (error) => { errors[error.code] = (errors[error.code] ?? 0) + 1; resolve(); });
  });
  request.on("timeout", () => request.destroy(Object.assign(new Error(), { code: "HUNG" })));
  request.on("error", (error) => { errors[error.code] = (errors[error.code] ?? 0) + 1; setTimeout(resolve, 5); });
});
process.on("SIGTERM", () => (over = true));
console.log("begun");
await Promise.all([0, 1, 2, 3].flatMap(() => places.map(async (place) => { while (!over) await once(place); })));
console.log(JSON.stringify({ answers, errors }));
`;

describe.skipIf(why !== undefined && process.env["CI"] !== "true")(`flycast serve (${why ?? "as root"})`, () => {
  let computer: Computer;
  let folder: string;

  beforeEach(async () => {
    computer = await Computer.boot();
    folder = workspaceOf(
      {
        "flycast.toml": config(["web"]),
        "web/fly.toml": FLY_TOML("web"),
        "web/server.mjs": SERVER,
        "blog/fly.toml": FLY_TOML("blog"),
        "blog/server.mjs": SERVER,
        "load.mjs": LOAD,
      },
      "root",
    );
  });
  afterEach(async () => {
    await computer.off();
    rmSync(folder, { recursive: true, force: true });
  });

  function config(apps: readonly string[], node = ""): string {
    const tables = apps.map((app) => `[apps.${app}]\npath = "${app}"\ncommand = "node server.mjs"\nuser = "nobody"\n`);
    return `[node]\nstate_dir = "state"\n${node}\n[autostop]\ninterval = "1s"\nidle = "1h"\n${tables.join("")}`;
  }
  const serve = (...args: string[]) => new Service(computer, folder, args.length === 0 ? ["."] : args);
  const curl = async (address: string, path = "/") =>
    computer.run("curl", "-sg", "-m", "20", `http://[${address}]${path}`);

  /** A request that lasts until `done` is written beside the server; resolves when the answer has begun. */
  async function open(host: string): Promise<{ readonly ended: Promise<Ran> }> {
    const [file = "", ...args] = computer.inside("/", "curl", "-sgN", "-m", "50", `http://${host}/slow`);
    const child = spawn(file, args, { stdio: ["ignore", "pipe", "inherit"] });
    let out = "";
    child.stdout.setEncoding("utf8").on("data", (text: string) => (out += text));
    const ended = once(child, "close").then(([code]) => ({ code: Number(code), out, err: "" }));
    await eventually(
      () => out,
      (text) => text.startsWith("began"),
    );
    return { ended };
  }

  interface Outcome {
    readonly answers: Readonly<Record<string, number>>;
    readonly errors: Readonly<Record<string, number>>;
  }

  /** Clients that ask these `host port` all the time. */
  async function loadOn(...places: readonly string[]): Promise<{ end(): Promise<Outcome> }> {
    const program = ["sh", "-c", 'echo $$; exec "$@"', "sh", process.execPath, "load.mjs", ...places];
    const [file = "", ...args] = computer.inside(folder, ...program);
    const load = spawn(file, args, { stdio: ["ignore", "pipe", "inherit"] });
    let said = "";
    load.stdout.setEncoding("utf8").on("data", (text: string) => (said += text));
    await eventually(
      () => said,
      (text) => text.includes("begun"),
    );
    return {
      async end() {
        const ended = once(load, "close");
        await computer.kill("TERM", Number(said.split("\n")[0]));
        await ended;
        return JSON.parse(said.split("\n")[2]!) as Outcome;
      },
    };
  }

  /** Processes of the node itself, by what they do. */
  async function partsOf(node: Service): Promise<{ readonly core: number; readonly serving: number }> {
    const lines = await computer.processes();
    const pidOf = (test: (line: string) => boolean) => Number(lines.find(test)?.split(" ")[0]);
    return {
      core: pidOf((line) => line.includes("cli/core.js")),
      serving: pidOf((line) => line.includes("flycast.js serve") && !line.startsWith(`${node.pid} `)),
    };
  }

  test("killed with kill -9 under load and started again, it finds its Machines with the same pids and serves them", async () => {
    const first = await serve().ready();
    const address = first.address("web");
    const pid = (await curl(address)).out;
    expect(pid).toMatch(/^\d+$/);

    const load = await loadOn(`${address} 80`);
    const [{ private_ip: own }] = JSON.parse((await first.cli("machines", "list", "-a", "web", "--json")).out) as [
      { private_ip: string },
    ];
    const direct = await open(`[${own}]:8080`);
    const proxied = await open(`[${address}]`);
    await first.end("KILL");
    // Without the process that keeps the listeners the kernel refuses at once, when the others have followed: nothing hangs.
    await eventually(
      () => curl(address),
      ({ code }) => code === 7,
    );
    const second = await serve().ready();
    await eventually(
      () => curl(address),
      (answer) => answer.out === pid,
    );
    const { answers, errors } = await load.end();

    // The node is on no path between the computer (or a Machine) and a Machine's own address.
    writeFileSync(join(folder, "web/done"), "");
    expect((await direct.ended).out).toBe("began ended");
    expect((await proxied.ended).code).not.toBe(0);
    expect(Object.keys(answers)).toEqual([`200 ${pid}`]);
    expect(Object.keys(errors).filter((code) => code !== "ECONNREFUSED" && code !== "ECONNRESET")).toEqual([]);
    expect(second.events.filter(({ event }) => event === "stopped" || event === "wake")).toEqual([]);
    const machines = JSON.parse((await second.cli("machines", "list", "-a", "web", "--json")).out) as {
      state: string;
    }[];
    expect(machines.map(({ state }) => state)).toEqual(["started"]);
    // And it is stopped and started again as if nothing had been.
    await second.cli("machines", "stop", (machines[0] as unknown as { id: string }).id, "-a", "web");
    expect(await computer.processes()).not.toContainEqual(expect.stringContaining("server.mjs"));
    expect((await curl(address)).out).not.toBe(pid);
  });

  test("SIGTERM lets requests finish and leaves Machines; a second signal cuts", async () => {
    const first = await serve().ready();
    const address = first.address("web");
    const pid = (await curl(address)).out;
    const slow = await open(`[${address}]`);
    await first.signal("TERM");
    await eventually(
      () => curl(address),
      ({ code }) => code === 7,
    );
    writeFileSync(join(folder, "web/done"), "");
    expect((await slow.ended).out).toBe("began ended");
    expect(await first.exited).toBe(0);

    rmSync(join(folder, "web/done"));
    const second = await serve().ready();
    expect((await curl(address)).out).toBe(pid);
    const cut = await open(`[${address}]`);
    await second.signal("TERM");
    await eventually(
      () => curl(address),
      ({ code }) => code === 7,
    );
    await second.signal("TERM");
    expect(await second.exited).toBe(0);
    expect((await cut.ended).code).not.toBe(0);
    expect(await computer.processes()).toContainEqual(expect.stringContaining("server.mjs"));
  });

  test("whatever serves is killed with kill -9 and another takes its place: new connections wait, and none is refused", async () => {
    writeFileSync(join(folder, "flycast.toml"), `${config(["web"])}publish = { "80" = 18080 }\n`);
    const node = await serve().ready();
    const address = node.address("web");
    const pid = (await curl(address)).out;
    const dns = /\[(fdaa:.*)\]:53/.exec(String(node.events[0]?.["dns"]))?.[1];
    const load = await loadOn(`${address} 80`, "127.0.0.1 18080");
    for (const part of ["core", "serving", "core"] as const) {
      const lives = node.events.filter(({ event }) => event === "ready").length;
      await computer.kill("KILL", (await partsOf(node))[part]);
      const named = await computer.run("dig", "+short", "+tries=1", "+time=20", "AAAA", "web.flycast", `@${dns}`);
      expect([named.out.trim(), named.code]).toEqual([address, 0]);
      await eventually(
        () => node.events.filter(({ event }) => event === "ready").length,
        (count) => count > lives,
      );
      expect((await curl(address)).out).toBe(pid);
    }
    const { answers, errors } = await load.end();
    expect(Object.keys(answers)).toEqual([`200 ${pid}`]);
    // What was under way is cut; nobody is refused.
    expect(Object.keys(errors).filter((code) => code !== "ECONNRESET")).toEqual([]);
    expect(node.stderr.match(/new connections wait/g)).toHaveLength(3);
    // What is no longer served on purpose is refused.
    writeFileSync(join(folder, "flycast.toml"), config(["web"]));
    await node.signal("HUP");
    await node.until(({ event }) => event === "reload");
    expect((await computer.run("curl", "-s", "http://127.0.0.1:18080")).code).toBe(7);
    expect(await node.end("TERM")).toBe(0);
    expect((await curl(address)).code).toBe(7);
  });

  test("a program that is installed anew takes over at SIGUSR2: what is under way finishes, new connections wait", async () => {
    const node = await serve().ready();
    const address = node.address("web");
    const pid = (await curl(address)).out;
    const slow = await open(`[${address}]`);
    const before = await partsOf(node);
    await node.signal("USR2");
    const waiting = curl(address);
    writeFileSync(join(folder, "web/done"), "");
    expect((await slow.ended).out).toBe("began ended");
    expect((await waiting).out).toBe(pid);
    // It was accepted by the one that left, if it was quick; its successor comes all the same.
    await eventually(
      () => partsOf(node),
      (after) => after.core > 0 && after.core !== before.core && after.serving > 0 && after.serving !== before.serving,
    );
    expect((await curl(address)).out).toBe(pid);
    expect(node.stderr).toBe("");
  });

  test("what ends again and again is given up, and the service ends with a failure", async () => {
    const node = await serve().ready();
    await curl(node.address("web"));
    const ended = (async () => {
      let over = false;
      void node.exited.then(() => (over = true));
      while (!over) {
        const { core } = await partsOf(node);
        if (core > 0) await computer.kill("KILL", core);
      }
    })();
    expect(await node.exited).toBe(1);
    expect(node.stderr).toContain("given up");
    await ended;
    expect(await computer.processes()).toContainEqual(expect.stringContaining("server.mjs"));
    expect((await curl(node.address("web"))).code).toBe(7);
  });

  test("another state folder takes over nothing: Machines of which it knows nothing are ended", async () => {
    const first = await serve().ready();
    const pid = (await curl(first.address("web"))).out;
    await first.end("KILL");
    // It knows nothing of those Machines: they would run on without anybody to serve or end them.
    await serve(".", "--state-dir", join(folder, "elsewhere")).ready();
    expect((await computer.processes()).filter((line) => line.includes("server.mjs"))).toEqual([]);
    expect(pid).toMatch(/^\d+$/);
  });

  test("a release command runs before the first start, and not because the node started again", async () => {
    const release = `[deploy]\nrelease_command = "sh -c 'echo released >> released'"\n`;
    writeFileSync(join(folder, "web/fly.toml"), `${FLY_TOML("web")}${release}`);
    chmodSync(join(folder, "web"), 0o777);
    const first = await serve().ready();
    await curl(first.address("web"));
    const second = await first.end("KILL").then(() => serve().ready());
    await curl(second.address("web"));
    expect(first.events.filter(({ event }) => event === "release")).toHaveLength(1);
    expect(second.events.filter(({ event }) => event === "release")).toEqual([]);
    expect(readFileSync(join(folder, "web/released"), "utf8")).toBe("released\n");
  });

  test("SIGHUP reads the files again, and changes nothing when they have errors", async () => {
    const node = await serve().ready();
    writeFileSync(join(folder, "flycast.toml"), config(["web", "blog"]));
    await node.signal("HUP");
    await node.until((event) => event.event === "reload" && String(event["changed"]).includes("blog"));
    const list = JSON.parse((await node.cli("ips", "list", "-a", "blog", "--json")).out) as Record<string, string>[];
    expect((await curl(Object.values(list[0]!).find((value) => String(value).startsWith("fdaa:"))!)).out).toMatch(
      /^\d+$/,
    );
    writeFileSync(join(folder, "flycast.toml"), "[nodes]\n");
    await node.signal("HUP");
    await node.until((event) => event.event === "problem" && event["code"] === "config_invalid");
    expect((await curl(node.address("web"))).out).toMatch(/^\d+$/);
  });

  test("a suspended Machine keeps its memory over a restart, one that died meanwhile is woken anew", async () => {
    const first = await serve().ready();
    const address = first.address("web");
    await curl(address, "/count");
    const [machine] = JSON.parse((await first.cli("machines", "list", "-a", "web", "--json")).out) as { id: string }[];
    await first.cli("machines", "suspend", machine!.id, "-a", "web");
    await first.end("KILL");
    const second = await serve().ready();
    expect((await second.cli("machines", "list", "-a", "web", "--json")).out).toContain('"suspended"');
    expect((await curl(address, "/count")).out).toBe("2");

    const pid = Number((await curl(address)).out);
    await second.end("KILL");
    const [server] = (await computer.processes()).filter((line) => line.includes("server.mjs"));
    await computer.kill("KILL", Number(server!.split(" ")[0]));
    const third = await serve().ready();
    expect((await curl(address, "/count")).out).toBe("1");
    expect(pid).toBeGreaterThan(1);
    expect(third.events.filter(({ event }) => event === "wake")).toHaveLength(1);
  });

  test("a Machine whose app left the files while the node was away is ended at the next start", async () => {
    writeFileSync(join(folder, "flycast.toml"), config(["web", "blog"]));
    const first = await serve().ready();
    await curl(first.address("web"));
    await curl(first.address("blog"));
    expect((await computer.processes()).filter((line) => line.includes("server.mjs"))).toHaveLength(2);
    await first.end("KILL");
    writeFileSync(join(folder, "flycast.toml"), config(["web"]));
    await serve().ready();
    expect((await computer.processes()).filter((line) => line.includes("server.mjs"))).toHaveLength(1);
  });

  test("the computer is a client of its host networks alone, and leaves one that is no longer named", async () => {
    const wide = 'host_networks = ["personal/default", "other/default"]';
    writeFileSync(join(folder, "flycast.toml"), `${config(["web", "blog"], wide)}org = "other"\n`);
    const first = await serve().ready();
    const [web, blog] = [first.address("web"), first.address("blog")];
    expect((await curl(web)).out).toMatch(/^\d+$/);
    expect((await curl(blog)).out).toMatch(/^\d+$/);
    const dns = String(first.events[0]?.["dns"])
      .split(",")[0]!
      .replace(/^\[(.*)\]:53$/, "$1");
    expect((await computer.run("dig", "+short", "+time=2", "AAAA", "web.flycast", `@${dns}`)).out.trim()).toBe(web);

    writeFileSync(join(folder, "flycast.toml"), `${config(["web", "blog"])}org = "other"\n`);
    await first.signal("HUP");
    await first.until(({ event }) => event === "reload");
    expect((await curl(web)).out).toMatch(/^\d+$/);
    expect((await curl(blog)).code).toBe(7);
    expect((await computer.run("ip", "-6", "route")).out).not.toContain(blog.split(":").slice(0, 3).join(":"));

    // The same, found out at a start.
    writeFileSync(join(folder, "flycast.toml"), `${config(["web", "blog"], wide)}org = "other"\n`);
    await first.signal("HUP");
    await eventually(
      () => curl(blog),
      ({ code }) => code === 0,
    );
    await first.end("KILL");
    writeFileSync(join(folder, "flycast.toml"), `${config(["web", "blog"])}org = "other"\n`);
    await serve().ready();
    expect((await curl(web)).out).toMatch(/^\d+$/);
    expect((await curl(blog)).code).toBe(7);
  });

  test("where systemd-resolved is, it is told to ask the node for our names and for nothing else", async () => {
    await computer.run("mkdir", "-p", "/run/systemd/resolve");
    // What it is told, not what it does with it: that is its own affair.
    writeFileSync(join(folder, "resolvectl"), `#!/bin/sh\necho "$@" >> ${folder}/told\n`, { mode: 0o755 });
    const node = new Service(computer, folder, ["."], { PATH: `${folder}:${process.env["PATH"]}` });
    await node.ready();
    const dns = /\[(fdaa:.*)\]:53/.exec(String(node.events[0]?.["dns"]))?.[1];
    const told = await eventually(
      () => (existsSync(join(folder, "told")) ? readFileSync(join(folder, "told"), "utf8") : ""),
      (text) => text.split("\n").length === 4,
    );
    expect(told).toBe(`dns flycast0 ${dns}\ndomain flycast0 ~flycast ~internal\ndefault-route flycast0 no\n`);
  });

  test("a second node is refused, with the same state folder and with another", async () => {
    const first = await serve().ready();
    const pid = (await curl(first.address("web"))).out;
    for (const args of [["."], [".", "--state-dir", join(folder, "elsewhere")]]) {
      const second = serve(...args);
      expect(await second.exited).toBe(1);
      expect(second.stderr).toContain("state_locked");
    }
    expect((await curl(first.address("web"))).out).toBe(pid);
  });

  test("after a teardown nothing of it is left on the computer, and the next start begins anew", async () => {
    const before = await computer.look();
    const first = await serve().ready();
    const address = first.address("web");
    await curl(address);
    const refused = await first.cli("serve", "--teardown", "--yes");
    expect([refused.code, refused.err]).toEqual([1, expect.stringContaining("state_locked")]);
    await first.end("TERM");
    expect(await computer.look()).not.toBe(before);

    const torn = await first.cli("serve", "--teardown", "--yes");
    expect(torn.err).toBe("");
    expect(await computer.look()).toBe(before);
    // Where cgroup v2 is mounted: alone, or beside the first version's hierarchies.
    const group = `flycast-${createHash("sha256").update(join(folder, "state")).digest("hex").slice(0, 12)}`;
    for (const tree of [".", "unified"]) expect(existsSync(join("/sys/fs/cgroup", tree, group))).toBe(false);
    await eventually(
      () => computer.processes(),
      (left) => left.length === 0,
    );

    const second = await serve().ready();
    expect(second.address("web")).toBe(address);
    expect((await curl(address)).out).toMatch(/^\d+$/);
  });

  test("a Machine whose own PATH leads nowhere is started all the same", async () => {
    writeFileSync(join(folder, "web/fly.toml"), `${FLY_TOML("web")}[env]\nPATH = "/nonexistent"\n`);
    writeFileSync(join(folder, "flycast.toml"), config(["web"]).replace('"node ', `"${process.execPath} `));
    const node = await serve().ready();
    expect((await curl(node.address("web"))).out).toMatch(/^\d+$/);
  });

  test("without a file it serves what its state folder holds", async () => {
    const first = await serve().ready();
    const pid = (await curl(first.address("web"))).out;
    await first.end("TERM");
    const second = await serve("--state-dir", join(folder, "state")).ready();
    expect((await curl(second.address("web"))).out).toBe(pid);
  });
});

test("whoever is not root is told what to do instead", async () => {
  const folder = workspaceOf({}, "user");
  const asNobody = process.getuid?.() === 0 ? ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"] : [];
  const { FLYCAST } = await import("./support.ts");
  const ran = await run([...asNobody, process.execPath, FLYCAST, "serve", "--state-dir", join(folder, "state")]);
  expect(ran.code).toBe(1);
  expect(ran.err).toMatch(/no_privilege[^]*--network-mode lab/);
  rmSync(folder, { recursive: true, force: true });
});
