import { connect } from "node:net";
import { describe, expect, test, type TestContext } from "vitest";
import { cannotPlay, clean, curl, eventually, Up, workspaceOf, type UpEvent, type Who } from "./support.ts";

const WHO: Who = "user";

/** A node for one test, which runs beside others: most of its time is waiting. */
function up({ onTestFinished }: TestContext, files: Readonly<Record<string, string>>, mode = "lab"): Up {
  const folder = workspaceOf(files, WHO);
  const node = new Up(folder, WHO, ["--network-mode", mode]);
  onTestFinished(async () => {
    await node.stop("SIGKILL");
    clean(folder);
  });
  return node;
}

const HTTP = `app = "a"\nprimary_region = "dev"\n[http_service]\n  internal_port = 8080\n  auto_stop_machines = "stop"\n`;
const TCP = `app = "a"\nprimary_region = "dev"\n[[services]]\n  protocol = "tcp"\n  internal_port = 8080\n  auto_stop_machines = "stop"\n  [[services.ports]]\n    port = 7\n`;
const app = (flyToml: string, program: string): Readonly<Record<string, string>> => ({
  "flycast.toml": `[apps.a]\npath = "a"\ncommand = "node app.js"\n`,
  "a/fly.toml": flyToml,
  "a/app.js": program,
});
const is =
  (event: string) =>
  (candidate: UpEvent): boolean =>
    candidate.event === event;
const status = async (at: string): Promise<string> =>
  (await curl("-o", "/dev/null", "-w", "%{http_code}", `http://${at}/`)).out;

interface Receipt {
  readonly waiters: number;
  readonly claimed: number;
  readonly driverStarted: number;
  readonly portOpen: number;
  readonly firstByte: number;
  readonly ownShare: number;
  readonly appShare: number;
}

/** What a connection brings until it ends, and the milliseconds from its beginning to the first byte. */
function hear(at: string, say = ""): Promise<{ readonly text: string; readonly first: number }> {
  const [host = "", port = ""] = at.split(":");
  const began = performance.now();
  return new Promise((resolve, reject) => {
    let text = "";
    let first = 0;
    const socket = connect(Number(port), host, () => socket.write(say));
    socket.once("data", () => (first = performance.now() - began));
    socket.setEncoding("utf8").on("data", (chunk: string) => (text += chunk));
    socket.on("error", reject);
    socket.on("end", () => resolve({ text, first }));
  });
}
const GET = "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";

const unable = cannotPlay(WHO);
describe.skipIf(unable !== undefined && process.env["CI"] !== "true")(
  `Machines that make it difficult${unable === undefined ? "" : ` (${unable})`}`,
  { concurrent: true },
  () => {
    test("one that listens only after 5 s: its clients wait and are served, and the receipt says whose time it was", async (context) => {
      const late = `setTimeout(() => require("http").createServer((q, r) => r.end("late")).listen(8080, "::"), 5000);`;
      const node = up(context, app(HTTP, late));
      const at = await node.published("a", 80);
      const answers = await Promise.all(Array.from({ length: 5 }, () => curl("-w", " %{http_code}", `http://${at}/`)));
      expect(new Set(answers.map(({ out }) => out))).toEqual(new Set(["late 200"]));
      expect(node.count(is("wake"))).toBe(1);
      const { receipt } = (await node.until(is("started"))) as unknown as { receipt: Receipt };
      expect(receipt.waiters).toBe(5);
      expect(receipt.portOpen).toBeGreaterThanOrEqual(5000);
      expect(receipt.appShare).toBeGreaterThanOrEqual(5000);
    });

    // The kernel counts the resets by which it refuses, for each network namespace of its own.
    const REFUSES = `
const { readFileSync } = require("fs");
const refused = () => {
  const [names, values] = readFileSync("/proc/net/snmp", "latin1").split("\\n").filter((line) => line.startsWith("Tcp:"));
  return Number(values.split(" ")[names.split(" ").indexOf("OutRsts")]);
};
const timer = setInterval(() => {
  if (refused() < 2) return;
  clearInterval(timer);
  require("net").createServer((socket) => socket.end("refused " + refused())).listen(8080, "::");
}, 1);
`;
    test("one that refuses connections twice and then accepts: its client notices nothing", async (context) => {
      const node = up(context, app(TCP, REFUSES));
      const { text } = await hear(await node.published("a", 7));
      expect(text).toMatch(/^refused \d+$/);
      expect(Number(text.split(" ")[1])).toBeGreaterThanOrEqual(2);
      expect(node.count(is("wake"))).toBe(1);
    });

    test("one that aborts connections twice and then accepts: each is told in clear, and it is not started again", async (context) => {
      const aborts = `
let connections = 0;
require("net").createServer((socket) => {
  if (++connections <= 2) return socket.once("data", () => socket.resetAndDestroy());
  socket.on("error", () => {}).once("data", () => socket.end("HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\nConnection: close\\r\\n\\r\\nok"));
}).listen(8080, "::");
`;
      const node = up(context, app(HTTP, aborts));
      const at = await node.published("a", 80);
      for (let i = 0; i < 2; i++)
        expect((await curl("-i", `http://${at}/`)).out).toMatch(/^HTTP\/1\.1 502 [\s\S]*PC03/);
      expect((await curl(`http://${at}/`)).out).toBe("ok");
      expect([node.count(is("wake")), node.count(is("failed"))]).toEqual([1, 0]);
    });

    test("one that exits at once has failed and was never started; it says why, and is not asked again and again", async (context) => {
      const node = up(context, app(HTTP, `console.error("no database"); process.exit(7);`));
      const at = await node.published("a", 80);
      expect(await status(at)).toBe("502");
      const failed = await node.until(is("failed"));
      expect(failed["message"]).toMatch(/exit code 7[\s\S]*no database/);
      const told = node.events.map(({ event }) => event).filter((event) => event !== "ready");
      expect(told.slice(0, 2)).toEqual(["wake", "failed"]);
      expect(node.count(is("started"))).toBe(0);
      const shown = await node.cli("machines", "status", failed.machine ?? "");
      expect(shown.out).toMatch(/Last wake[\s\S]*process exists[\s\S]*of that, Flycast/);
      expect((await node.cli("why", failed.machine ?? "")).out).toMatch(/is failed[\s\S]*exit code 7/);
    });

    test("a client that leaves in the middle of a wake costs nobody else anything", async (context) => {
      const slow = `setTimeout(() => require("http").createServer((q, r) => r.end("up")).listen(8080, "::"), 1000);`;
      const node = up(context, app(HTTP, slow));
      const at = await node.published("a", 80);
      const [host = "", port = ""] = at.split(":");
      const left = connect(Number(port), host, () => left.write(GET));
      const wake = await node.until(is("wake"));
      left.resetAndDestroy();
      const stays = await hear(at, GET);
      expect(stays.text).toMatch(/^HTTP\/1\.1 200[\s\S]*up$/);
      expect(node.count(is("wake"))).toBe(1);
      await eventually(
        async () => (await node.cli("why", wake.machine ?? "")).out,
        (out) => out.includes("Nothing is in use"),
      );
    });

    for (const mode of ["lab", "loopback"])
      test(`in ${mode} mode the receipt accounts for every moment from accept to first byte, and for nearly all that the client waited`, async (context) => {
        const serves = `require("http").createServer((q, r) => r.end("up")).listen(process.env.PORT ?? 8080, process.env.HOST ?? "::");`;
        const node = up(context, app(HTTP, serves), mode);
        const at = await node.published("a", 80);
        for (let wake = 1; wake <= 3; wake++) {
          const from = node.events.length;
          const { text, first } = await hear(at, GET);
          expect(text).toMatch(/^HTTP\/1\.1 200/);
          const started = await node.until(is("started"), from);
          const { receipt } = started as unknown as { receipt: Receipt };
          const { claimed, driverStarted, portOpen, firstByte, ownShare, appShare } = receipt;
          expect(ownShare).toBe(driverStarted);
          expect(ownShare + appShare).toBeCloseTo(firstByte, 2); // each is told to the microsecond
          // Both clocks are the kernel's one: what we saw lies within what the client saw.
          const steps = [0, claimed, driverStarted, portOpen, firstByte, first];
          expect(steps).toEqual(steps.toSorted((a, b) => a - b));
          // Before it: the kernel's handshake until we are told. After it: the way to a client that waits for a processor.
          expect(first - firstByte).toBeLessThan(5000);
          await node.cli("machines", "stop", started.machine ?? "");
        }
      });
  },
);
