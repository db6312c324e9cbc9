import { spawn } from "node:child_process";
import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";
import { describe, expect, test, type TestContext } from "vitest";
import {
  cannotPlay,
  clean,
  curl,
  eventually,
  FLYCAST,
  asWho,
  Up,
  workspaceOf,
  type UpEvent,
  type Who,
} from "./support.ts";
import { standsStill } from "../support/stands-still.ts";

// Answers what the tests ask about: who it is, how long it counts, what it was given; and is sick or slow when told to.
const APP = `
const http = require("http"), fs = require("fs"), id = process.env.FLY_MACHINE_ID;
let count = 0, asked = 0;
setInterval(() => count++, 5);
http.createServer((request, response) => {
  switch (request.url) {
    case "/health": asked++; response.statusCode = fs.existsSync("sick-" + id) ? 503 : 200; return response.end();
    case "/count": return response.end(JSON.stringify({ pid: process.pid, count }));
    case "/asked": return response.end(String(asked));
    case "/env": return response.end(JSON.stringify(process.env));
    case "/open": return response.write("begin ");
    case "/crash": process.exit(3);
  }
  if (request.url.startsWith("/write")) {
    const folder = process.env.FLY_VOLUME_DATA ?? "/data";
    fs.appendFileSync(folder + "/notes", request.url.slice(7) + "\\n");
    return response.end(fs.readFileSync(folder + "/notes", "utf8") + process.getuid());
  }
  response.end(id);
}).listen(Number(process.env.PORT ?? 8080), process.env.HOST ?? "::", () => console.log("listening " + id));
`;
const QUICK = `[autostop]\ninterval = "100ms"\nidle = "500ms"\n`;
const service = (app: string, mode: string, more = ""): string =>
  `app = "${app}"\nprimary_region = "dev"\n[http_service]\n  internal_port = 8080\n  auto_stop_machines = "${mode}"\n${more}`;
const CHECK = `[[http_service.checks]]\n  interval = "2s"\n  timeout = "1s"\n  grace_period = "1s"\n  method = "GET"\n  path = "/health"\n`;

/** A place of one shape: mode and user. */
interface Where {
  readonly who: Who;
  readonly mode: "lab" | "loopback";
}
const PLACES: readonly Where[] = [
  { who: "root", mode: "lab" },
  { who: "user", mode: "lab" },
  { who: "user", mode: "loopback" },
];

/** A node for one test, which runs beside others: most of its time is waiting. */
function up({ onTestFinished }: TestContext, where: Where, files: Readonly<Record<string, string>>): Up {
  const folder = workspaceOf({ "app/app.js": APP, ...files }, where.who);
  const node = new Up(folder, where.who, ["--network-mode", where.mode]);
  onTestFinished(async () => {
    await node.stop("SIGKILL");
    clean(folder);
  });
  return node;
}

/** Beside others on two cores, a command may take seconds. */
const soon = <T>(what: () => T | Promise<T>, good: (value: T) => boolean): Promise<T> => eventually(what, good, 40_000);
const ask = async (at: string, path = "/"): Promise<string> => (await curl(`http://${at}${path}`)).out;
const is =
  (event: string, app: string) =>
  (candidate: UpEvent): boolean =>
    candidate.event === event && candidate.app === app;

interface MachineStatus {
  readonly id: string;
  readonly state: string;
  readonly checks: readonly { readonly name: string; readonly status: string; readonly output: string }[];
}
async function machinesOf(node: Up, app: string): Promise<readonly MachineStatus[]> {
  const { out } = await node.cli("status", "-a", app, "--json");
  return (JSON.parse(out) as { machines: MachineStatus[] }).machines;
}
const stateOf = async (node: Up, app: string): Promise<string | undefined> => (await machinesOf(node, app))[0]?.state;

/** Whether they stand still, of the processes that carry a Machine's id. */
function processStates(machine: string): readonly boolean[] {
  return readdirSync("/proc").flatMap((pid) => {
    if (!/^\d+$/.test(pid)) return [];
    try {
      if (!readFileSync(`/proc/${pid}/environ`, "latin1").includes(`FLY_MACHINE_ID=${machine}`)) return [];
      return [standsStill(pid)];
    } catch {
      return [];
    }
  });
}

for (const where of PLACES) {
  const unable = cannotPlay(where.who);
  describe.skipIf(unable !== undefined && process.env["CI"] !== "true")(
    `in ${where.mode} mode as ${where.who}${unable === undefined ? "" : ` (${unable})`}`,
    { concurrent: true },
    () => {
      test("a Machine that fails its service's check takes no new traffic within an interval, and takes it again when it passes", async (context) => {
        const node = up(context, where, {
          "flycast.toml": `[apps.a]\npath = "app"\ncommand = "node app.js"\nmachines = { dev = 2 }\n`,
          "app/fly.toml": service("a", "stop", `  min_machines_running = 2\n${CHECK}`),
        });
        const at = await node.published("a", 80);
        await soon(
          () => machinesOf(node, "a"),
          (machines) => machines.every(({ checks }) => checks[0]?.status === "passing"),
        );
        const answers = async (): Promise<ReadonlySet<string>> =>
          new Set(await Promise.all(Array.from({ length: 8 }, () => ask(at))));
        await soon(answers, (ids) => ids.size === 2);
        const sick = (await machinesOf(node, "a"))[0]?.id ?? "";
        const sickness = join(node.folder, "app", `sick-${sick}`);
        writeFileSync(sickness, "");
        const critical = await soon(
          () => machinesOf(node, "a"),
          (machines) => machines.some(({ checks }) => checks[0]?.status === "critical"),
        );
        expect(critical.find(({ id }) => id === sick)?.checks[0]).toMatchObject({
          status: "critical",
          output: "HTTP 503",
        });
        const others = await answers();
        expect(others.size).toBe(1);
        expect(others).not.toContain(sick);
        // Checks never stop a Machine: it runs on, and is asked again.
        expect((await node.cli("machines", "status", sick)).out).toMatch(/State: started[\s\S]*critical/);
        rmSync(sickness);
        await soon(answers, (ids) => ids.has(sick));
      });

      test("checks neither keep a Machine awake nor wake it, and a suspended one goes on counting where it stood", async (context) => {
        const node = up(context, where, {
          "flycast.toml": `[autostop]\ninterval = "100ms"\nidle = "2500ms"\n[apps.a]\npath = "app"\ncommand = "sh -c 'sleep 1000 & exec node app.js'"\n`,
          "app/fly.toml": service("a", "suspend", CHECK),
        });
        const at = await node.published("a", 80);
        expect(node.events.filter((event) => event.event === "wake")).toEqual([]);
        const before = JSON.parse(await ask(at, "/count")) as { pid: number; count: number };
        const { machine = "" } = await node.until(is("suspended", "a"));
        expect(processStates(machine).length).toBeGreaterThan(1);
        expect(new Set(processStates(machine))).toEqual(new Set([true]));
        expect(await stateOf(node, "a")).toBe("suspended");
        const from = node.events.length;
        const after = JSON.parse(await ask(at, "/count")) as { pid: number; count: number };
        expect(after.pid).toBe(before.pid);
        expect(after.count).toBeGreaterThan(before.count);
        const wake = await node.until(is("started", "a"), from);
        expect(wake["receipt"]).toMatchObject({ resumed: true, waiters: 1 });
        expect(Number(await ask(at, "/asked"))).toBeGreaterThan(1);
        // It sleeps for good, and each wake was a request's: on a slow computer the third one found it asleep again.
        await soon(
          () => node.count(is("wake", "a")) - node.count(is("suspended", "a")),
          (awake) => awake === 0,
        );
        expect([2, 3]).toContain(node.count(is("wake", "a")));
        expect(node.count(is("stopped", "a"))).toBe(0);
      });

      // What follows is the driver's, which knows two modes; the user makes no difference to it.
      if (where.who === "root") return;

      test("volumes keep what was written, env_file is handed over, and the receipt covers what the client waited for", async (context) => {
        const node = up(context, where, {
          "flycast.toml": `${QUICK}[apps.a]\npath = "app"\ncommand = "node app.js"\nenv_file = ".env"\nenv = { OWN = "1" }\n`,
          "app/fly.toml": `${service("a", "stop")}[env]\n  OWN = "0"\n  FROM_TOML = "yes"\n[mounts]\n  source = "data"\n  destination = "/data"\n`,
          ".env": "SECRET='a b'\nOWN=2\n",
        });
        const at = await node.published("a", 80);
        expect(await ask(at, "/write?one")).toMatch(/^one\n\d+$/);
        const { machine = "" } = await node.until(is("stopped", "a"));
        const from = node.events.length;
        const began = performance.now();
        expect(await ask(at, "/write?two")).toMatch(/^one\ntwo\n\d+$/);
        const waited = performance.now() - began;
        const { receipt } = (await node.until(is("started", "a"), from)) as unknown as {
          receipt: Record<"claimed" | "driverStarted" | "portOpen" | "firstByte" | "ownShare" | "appShare", number>;
        };
        const { claimed, driverStarted, portOpen, firstByte, ownShare, appShare } = receipt;
        const steps = [0, claimed, driverStarted, portOpen, firstByte, waited];
        expect(steps).toEqual(steps.toSorted((a, b) => a - b));
        expect(ownShare + appShare).toBeCloseTo(firstByte, 2);
        const shown = await node.cli("machines", "status", machine);
        expect(shown.out).toMatch(
          /Last wake[\s\S]*waiters +1[\s\S]*first byte[\s\S]*of that, Flycast[\s\S]*of that, the app/,
        );
        const env = JSON.parse(await ask(at, "/env")) as Record<string, string>;
        expect(env).toMatchObject({
          SECRET: "a b",
          OWN: "2",
          FROM_TOML: "yes",
          FLY_APP_NAME: "a",
          FLY_MACHINE_ID: machine,
          FLY_REGION: "dev",
          FLY_PROCESS_GROUP: "app",
        });
        expect(env["FLYCAST_STATE_DIR"]).toBeUndefined();
        const state = readdirSync(node.folder, { recursive: true, encoding: "utf8" });
        expect(state.some((path) => path.endsWith("notes"))).toBe(true);
      });

      test("each [[restart]] policy does what it says, and a Machine that is done is not started for nobody", async (context) => {
        const worker = (app: string, restart: string): string =>
          `app = "${app}"\nprimary_region = "dev"\n[[restart]]\n${restart}\n`;
        const run = (app: string, code: number): string =>
          `[apps.${app}]\npath = "${app}"\ncommand = "sh -c 'echo a run; exit ${code}'"\n`;
        const node = up(context, where, {
          "flycast.toml": run("always", 0) + run("failing", 4) + run("finished", 0) + run("never", 5),
          "always/fly.toml": worker("always", '  policy = "always"'),
          "failing/fly.toml": worker("failing", '  policy = "on-failure"\n  retries = 1'),
          "finished/fly.toml": worker("finished", '  policy = "on-failure"\n  retries = 1'),
          "never/fly.toml": worker("never", '  policy = "never"'),
        });
        await node.ready();
        const runs = async (app: string): Promise<number> =>
          (await node.cli("logs", "-a", app)).out.split("\n").filter((line) => line.includes("a run")).length;
        await soon(
          () => runs("always"),
          (count) => count >= 3,
        );
        // Its one retry has a backoff of its own.
        await soon(
          () => runs("failing"),
          (count) => count >= 2,
        );
        expect(await runs("failing")).toBe(2);
        expect(await runs("finished")).toBe(1);
        expect(await runs("never")).toBe(1);
        expect(await stateOf(node, "never")).toMatch(/stopped|failed/);
        const { out } = await node.cli("why", (await machinesOf(node, "failing"))[0]?.id ?? "");
        expect(out).toMatch(/exit code 4/);
      });

      test("logs -f gives each line as it comes, and ends with Ctrl-C", async (context) => {
        const node = up(context, where, {
          "flycast.toml": `${QUICK}[apps.a]\npath = "app"\ncommand = "node app.js"\n`,
          "app/fly.toml": service("a", "stop"),
        });
        const at = await node.published("a", 80);
        const args = [FLYCAST, "logs", "-a", "a", "-f"];
        const [file, ...rest]: readonly string[] = [...asWho(where.who), process.execPath, ...args];
        const follower = spawn(file ?? "", rest, { cwd: node.folder, stdio: ["ignore", "pipe", "inherit"] });
        let text = "";
        follower.stdout.setEncoding("utf8").on("data", (chunk: string) => (text += chunk));
        const lines = (): number => text.split("\n").filter((line) => line.includes("listening")).length;
        for (const wakes of [1, 2]) {
          const from = node.events.length;
          await ask(at);
          await soon(lines, (count) => count === wakes);
          await node.until(is("stopped", "a"), from);
        }
        const ended = new Promise((resolve) => follower.once("exit", resolve));
        follower.kill("SIGINT");
        await ended;
      });
    },
  );
}

const SOME: Where = { who: "user", mode: "lab" };
const unable = cannotPlay(SOME.who);
describe.skipIf(unable !== undefined && process.env["CI"] !== "true")(
  "whatever clients and Machines do",
  { concurrent: true },
  () => {
    test("a Machine that crashes in the middle of a request is told in clear, and the next request is served by a new one", async (context) => {
      const node = up(context, SOME, {
        "flycast.toml": `[apps.a]\npath = "app"\ncommand = "node app.js"\n`,
        "app/fly.toml": service("a", "stop"),
      });
      const at = await node.published("a", 80);
      const id = await ask(at);
      const open = curl(`http://${at}/open`);
      await soon(
        () => node.cli("why", id),
        ({ out }) => out.includes("In use by"),
      );
      expect((await curl("-i", `http://${at}/crash`)).out).toMatch(/^HTTP\/1\.1 502 [\s\S]*PC03/);
      // Half an answer was sent already, so only its end can tell: curl's codes 18 and 56 are "closed early" and "reset".
      const { code, out } = await open;
      expect([18, 56]).toContain(code);
      expect(out).toBe("begin ");
      expect(await ask(at)).toBe(id);
      expect(node.count(is("wake", "a"))).toBe(2);
      expect((await node.until(is("stopped", "a")))["exit"]).toMatchObject({ code: 3 });
    });

    test("a thousand clients at once on a sleeping Machine: one start, no error", async (context) => {
      const node = up(context, SOME, {
        "flycast.toml": `[apps.a]\npath = "app"\ncommand = "node app.js"\n`,
        "app/fly.toml": service("a", "stop", '[http_service.concurrency]\n  type = "requests"\n  soft_limit = 2000\n'),
      });
      const [host = "", port = ""] = (await node.published("a", 80)).split(":");
      const answers = await Promise.all(
        Array.from(
          { length: 1000 },
          () =>
            new Promise<string>((resolve, reject) => {
              let text = "";
              const socket = connect(Number(port), host, () =>
                socket.write("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"),
              );
              socket.setEncoding("latin1").on("data", (chunk: string) => (text += chunk));
              socket.on("end", () => resolve(text.slice(0, 12)));
              socket.on("error", reject);
            }),
        ),
      );
      expect(answers.filter((answer) => answer !== "HTTP/1.1 200")).toEqual([]);
      expect(node.count(is("wake", "a"))).toBe(1);
      const { receipt } = (await node.until(is("started", "a"))) as unknown as { receipt: { waiters: number } };
      // How many come before the app listens is the computer's to decide; more than one did.
      expect(receipt.waiters).toBeGreaterThan(1);
    });

    test("requests that arrive while their Machine is being suspended are all served", async (context) => {
      const node = up(context, SOME, {
        "flycast.toml": `[autostop]\ninterval = "20ms"\nidle = "30ms"\n[apps.a]\npath = "app"\ncommand = "node app.js"\n`,
        "app/fly.toml": service("a", "suspend"),
      });
      const at = await node.published("a", 80);
      const codes: string[] = [];
      while (node.count(is("suspended", "a")) < 12) {
        const from = node.events.length;
        codes.push((await curl("-o", "/dev/null", "-w", "%{http_code}", `http://${at}/`)).out);
        // Half of the requests come in the very moment of the suspension.
        if (codes.length % 2 === 0) await node.until(is("stopping", "a"), from);
      }
      expect(codes.filter((code) => code !== "200")).toEqual([]);
    });

    test("machines start, stop, suspend, cordon, uncordon, destroy and scale do what they say", async (context) => {
      const node = up(context, SOME, {
        "flycast.toml": `[apps.a]\npath = "app"\ncommand = "node app.js"\n`,
        "app/fly.toml": service("a", "stop"),
      });
      const at = await node.published("a", 80);
      const id = (await machinesOf(node, "a"))[0]?.id ?? "";
      const does = async (...args: string[]): Promise<void> => {
        const { code, err } = await node.cli(...args);
        expect([code, err], args.join(" ")).toEqual([0, ""]);
      };
      for (const [verb, state] of [
        ["start", "started"],
        ["suspend", "suspended"],
        ["start", "started"],
        ["stop", "stopped"],
      ] as const) {
        await does("machines", verb, id);
        expect(await stateOf(node, "a")).toBe(state);
      }
      await does("machines", "cordon", id);
      expect((await curl("-o", "/dev/null", "-w", "%{http_code}", `http://${at}/`)).out).toBe("503");
      expect((await node.cli("why", id)).out).toMatch(/cordoned/);
      await does("machines", "uncordon", id);
      expect(await ask(at)).toBe(id);
      await does("scale", "count", "2", "-a", "a", "--yes");
      expect((await node.cli("machines", "list", "-a", "a", "-q")).out.trim().split("\n")).toHaveLength(2);
      await does("scale", "count", "1", "-a", "a", "--yes");
      expect(await machinesOf(node, "a")).toHaveLength(1);
      const last = (await machinesOf(node, "a"))[0]?.id ?? "";
      await does("machines", "destroy", last, "--force");
      expect(await machinesOf(node, "a")).toHaveLength(0);
      expect(existsSync(join(node.folder, ".flycast", "machines", last))).toBe(false);
    });
  },
);

const isRoot = cannotPlay("root") === undefined;
describe.skipIf(!isRoot && process.env["CI"] !== "true")("as root", { concurrent: true }, () => {
  const files = (volumes: string): Readonly<Record<string, string>> => ({
    "flycast.toml": `[apps.a]\npath = "app"\ncommand = "node app.js"\nuser = "daemon"\n${volumes}`,
    "app/fly.toml": `${service("a", "stop")}[mounts]\n  source = "data"\n  destination = "/data"\n`,
  });

  test("a Machine runs as the user that flycast.toml names, and writes to its volume", async (context) => {
    const lab = up(context, { who: "root", mode: "lab" }, files(""));
    expect(await ask(await lab.published("a", 80), "/write?it")).toBe("it\n1");
    const loopback = up(context, { who: "root", mode: "loopback" }, files('volumes = "volumes"\n'));
    expect(await ask(await loopback.published("a", 80), "/write?it")).toBe("it\n1");
  });

  test("a volume that its user could not reach is refused with the line to write", async (context) => {
    const node = up(context, { who: "root", mode: "loopback" }, files(""));
    expect(await ask(await node.published("a", 80), "/write?it")).toContain("PM02");
    expect((await node.until(is("failed", "a")))["message"]).toMatch(/volumes = "\.\.?\/?.*" under \[apps\.a\]/);
  });
});
