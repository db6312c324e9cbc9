import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { CONFIG, TestApi } from "../api/harness.ts";
import { environment, FLYCAST } from "./run.ts";

const hasTmux = spawnSync("tmux", ["-V"]).status === 0;

/** A shell in a terminal that tmux plays, 160 by 50. */
class Terminal {
  readonly #socket: string;
  #runs = 0;

  constructor(socket: string, env: Readonly<Record<string, string>>) {
    this.#socket = socket;
    const shell = ["env", "PS1=$ ", "TERM=xterm-256color", "sh"];
    this.#tmux(["-f", "/dev/null", "new-session", "-d", "-x", "160", "-y", "50", ...shell], env);
  }

  type(text: string): void {
    this.#tmux(["send-keys", "-l", text]);
  }

  /** `Enter`, `C-c`, `C-d`… */
  press(key: string): void {
    this.#tmux(["send-keys", key]);
  }

  /** What stands on the screen once it shows this, colours as escape sequences if wanted. */
  async shows(what: RegExp, colours = false): Promise<string> {
    for (const end = Date.now() + 10_000; ;) {
      const screen = this.#tmux(["capture-pane", "-p", ...(colours ? ["-e"] : [])]);
      if (what.test(screen)) return screen;
      if (Date.now() > end) throw new Error(`the screen does not show ${what}:\n${screen}`);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }

  /** Runs a command on an empty screen; its exit code is shown as `ends N.` when it has ended. */
  async run(line: string, before = ""): Promise<void> {
    this.#runs++;
    this.type(`printf '\\033[H\\033[2Jrun %s:\\n' ${this.#runs}`);
    this.press("Enter");
    // What stands there from the last command would be taken for this one's.
    await this.shows(new RegExp(`run ${this.#runs}:`));
    this.type(`${before} '${process.execPath}' '${FLYCAST}' ${line}; echo "ends $?."`);
    this.press("Enter");
  }

  close(): void {
    this.#tmux(["kill-server"]);
  }

  #tmux(args: readonly string[], env?: Readonly<Record<string, string>>): string {
    const { stdout } = spawnSync("tmux", ["-S", this.#socket, ...args], {
      encoding: "utf8",
      ...(env === undefined ? {} : { env }),
    });
    return stdout;
  }
}

describe.skipIf(!hasTmux && process.env["CI"] !== "true")("on a terminal", () => {
  let api: TestApi;
  let folder: string;
  let terminal: Terminal;
  let machine: string;
  beforeAll(async () => {
    api = await TestApi.start();
    folder = mkdtempSync(join(tmpdir(), "flycast-tmux-"));
    await api.call("/v1/apps", { body: { name: "web", org_slug: "personal" } });
    machine = (await api.call("/v1/apps/web/machines", { body: { config: CONFIG } })).json.id;
    await api.call(`/v1/apps/web/machines/${machine}/wait?timeout=5`);
    terminal = new Terminal(join(folder, "s"), environment(api));
    await terminal.shows(/\$/);
  });
  afterAll(async () => {
    terminal.close();
    await api.close();
    rmSync(folder, { recursive: true, force: true });
  });

  test("what would be lost is asked for, and only yes means yes", async () => {
    for (const [answer, code] of [
      ["n", 1],
      ["", 1],
      ["yes", 0],
    ] as const) {
      await api.call("/v1/apps", { body: { name: "goner", org_slug: "personal" } });
      await terminal.run("apps destroy goner");
      await terminal.shows(/Destroy app goner with its Machines and addresses\? \(y\/N\) *$/m);
      terminal.type(answer);
      terminal.press("Enter");
      await terminal.shows(new RegExp(`ends ${code}\\.`));
      expect((await api.call("/v1/apps/goner")).status).toBe(code === 0 ? 404 : 200);
    }
  });

  test.each(["C-c", "C-d"])("%s at a question ends the command and does nothing", async (key) => {
    await terminal.run("apps destroy web");
    await terminal.shows(/\(y\/N\)/);
    terminal.press(key);
    await terminal.shows(/ends 130\./);
    expect((await api.call("/v1/apps/web")).status).toBe(200);
  });

  test("a name that is missing is asked for", async () => {
    await terminal.run("apps create");
    await terminal.shows(/App name: *$/m);
    terminal.type("asked");
    terminal.press("Enter");
    await terminal.shows(/New app created: asked[\s\S]*ends 0\./);
  });

  test("what takes long shows that it goes on, and leaves no trace of that", async () => {
    api.driver.behaviour.stopDelay = () => 1500;
    await terminal.run(`machines stop ${machine}`);
    await terminal.shows(/[⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏] Waiting for [0-9a-f]{14} \(stop\)/);
    const screen = await terminal.shows(/successfully stopped[\s\S]*ends 0\./);
    expect(screen).not.toContain("Waiting for");
    api.driver.behaviour.stopDelay = () => 0;
  });

  test("Ctrl-C ends the waiting, not the command", async () => {
    await api.call(`/v1/apps/web/machines/${machine}/start`, { method: "POST" });
    api.driver.behaviour.stopDelay = () => 1500;
    await terminal.run(`machines stop ${machine}`);
    await terminal.shows(/Waiting for/);
    terminal.press("C-c");
    await terminal.shows(/\^C[\s\S]*\$ *$/m);
    expect((await api.call(`/v1/apps/web/machines/${machine}/wait?state=stopped&timeout=10`)).status).toBe(200);
    api.driver.behaviour.stopDelay = () => 0;
  });

  test("status --watch shows changes until Ctrl-C, which is how it is meant to end", async () => {
    await terminal.run("status --watch");
    await terminal.shows(/ stopped /);
    await api.call(`/v1/apps/web/machines/${machine}/start`, { method: "POST" });
    await terminal.shows(/ started /);
    terminal.press("C-c");
    await terminal.shows(/ends 0\./);
  });

  test("colours are used, and not where NO_COLOR asks for none", async () => {
    await terminal.run("doctor");
    expect(await terminal.shows(/ends \d\./, true)).toContain("\u001b[32m");
    await terminal.run("doctor", "NO_COLOR=1");
    expect(await terminal.shows(/Node\.js[\s\S]*ends \d\./, true)).not.toContain("\u001b[32m");
  });
});
