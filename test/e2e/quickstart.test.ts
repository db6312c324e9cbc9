import { connect } from "node:net";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, describe, expect, test } from "vitest";
import {
  asWho,
  cannotPlay,
  clean,
  copyOf,
  curl,
  eventually,
  FLYCAST,
  leftovers,
  QUICKSTART,
  run,
  Up,
  type Who,
} from "./support.ts";

const WHOS: readonly { who: Who; mode: string }[] = [
  { who: "root", mode: "lab" },
  { who: "user", mode: "lab" },
  { who: "denied", mode: "loopback" },
];

for (const { who, mode } of WHOS) {
  const unable = cannotPlay(who);
  describe.skipIf(unable !== undefined && process.env["CI"] !== "true")(
    `quickstart as ${who}${unable === undefined ? "" : ` (${unable})`}`,
    () => {
      const running: Up[] = [];
      const up = (args: readonly string[] = []): Up => {
        const node = new Up(copyOf(QUICKSTART, who), who, args);
        running.push(node);
        return node;
      };
      afterEach(async () => {
        for (const node of running.splice(0)) {
          await node.stop("SIGKILL");
          clean(node.folder);
        }
      });

      test(`runs in ${mode} mode; the first curl wakes web and api and answers 200; both stop when idle; the next curl wakes them again`, async () => {
        const node = up();
        const ready = await node.ready();
        expect(ready.mode).toBe(mode);
        const web = await node.published("web", 80);
        expect(node.count((event) => event.event === "wake")).toBe(0);

        const first = await curl("-w", "%{http_code}", `http://${web}/`);
        expect(first.out).toMatch(/Hello from web[\s\S]*"app":"api"[\s\S]*200$/);
        expect(node.count((event) => event.event === "wake" && event.app === "web")).toBe(1);
        expect(node.count((event) => event.event === "wake" && event.app === "api")).toBe(1);

        const stopped = await node.until((event) => event.event === "stopped" && event.app === "web");
        await node.until((event) => event.event === "stopped" && event.app === "api");
        const stopping = node.events.find((event) => event.event === "stopping" && event.app === "web");
        expect(stopping?.["because"]).toMatch(/idle/);
        expect(Date.parse(stopped.time)).toBeGreaterThan(0);

        const second = await curl("-w", "%{http_code}", `http://${web}/`);
        expect(second.out).toMatch(/200$/);
        expect(node.count((event) => event.event === "wake" && event.app === "web")).toBe(2);
      });

      test("echo answers raw lines, and a half-closed client still gets its answer", async () => {
        const node = up();
        const [host = "", port = ""] = (await node.published("echo", 7)).split(":");
        const answer = await new Promise<string>((resolve, reject) => {
          let text = "";
          const socket = connect({ host, port: Number(port), allowHalfOpen: true });
          socket.setEncoding("utf8").on("data", (chunk: string) => (text += chunk));
          socket.on("end", () => resolve(text));
          socket.on("error", reject);
          socket.end("one\ntwo\n");
        });
        expect(answer).toBe("one\ntwo\n");
      });

      test("promise 2, one wake: 200 clients at once on the sleeping api make one start and get 200 answers", async () => {
        const node = up();
        const api = await node.published("api", 80);
        const codes = await Promise.all(
          Array.from({ length: 200 }, () => curl("-o", "/dev/null", "-w", "%{http_code}", `http://${api}/`)),
        );
        expect(codes.filter(({ out }) => out === "200")).toHaveLength(200);
        expect(node.count((event) => event.event === "wake")).toBe(1);
        const started = await node.until((event) => event.event === "started");
        expect(started["receipt"]).toMatchObject({ resumed: false });
      });

      test("Ctrl-C ends everything, and so does SIGKILL of the node: nothing is left but the state folder", async () => {
        for (const signal of ["SIGINT", "SIGKILL"] as const) {
          const node = up();
          const web = await node.published("web", 80);
          expect((await curl("-o", "/dev/null", "-w", "%{http_code}", `http://${web}/`)).out).toBe("200");
          expect(leftovers(node.folder).length).toBeGreaterThan(0);
          const exit = await node.stop(signal);
          if (signal === "SIGINT") expect(exit.code).toBe(0);
          await eventually(
            () => leftovers(node.folder),
            (left) => left.length === 0,
          );
        }
      });

      test("status, dig, why, logs and doctor speak to the running node", async () => {
        const node = up();
        const ready = await node.ready();
        const address = ready.services.find((service) => service.app === "web")?.address ?? "";
        await curl(`http://${await node.published("web", 80)}/`);

        const status = await node.cli("status", "--json");
        expect(status.code).toBe(0);
        const parsed = JSON.parse(status.out) as {
          mode: string;
          apps: { name: string; machines: { id: string; state: string }[] }[];
        };
        expect(parsed.mode).toBe(mode);
        const machine = parsed.apps.find((app) => app.name === "web")?.machines[0];
        expect(machine?.state).toMatch(/^(?:started|stopp)/);
        expect((await node.cli("status")).out).toMatch(/APP\s+ADDRESS\s+PORT/);

        expect((await node.cli("dig", "--short", "web.flycast")).out.trim()).toBe(address);
        const [dnsHost = "", dnsPort = ""] = (ready.dns.at(-1) ?? "").split(":");
        const dug = await run(["dig", "+short", "+time=5", "-p", dnsPort, `@${dnsHost}`, "web.flycast", "AAAA"]);
        expect(dug.out.trim()).toBe(address);
        const missing = await node.cli("dig", "--short", "nobody.flycast");
        expect(missing.code).toBe(1);
        expect(missing.err).toContain("lookup failed: NXDOMAIN");

        const why = await node.cli("why", machine?.id ?? "");
        expect(why.out).toMatch(/Machine [0-9a-f]{14} of web is (?:started|stopp)/);
        expect((await node.cli("doctor")).code).toBe(0);
        const unknown = await node.cli("status", "--token", "wrong");
        expect(unknown.code).toBe(1);
        expect(unknown.err).toMatch(/\[unauthorized\]/);
      });

      test("a second up on the same state is refused and leaves the first one alone", async () => {
        const node = up();
        await node.ready();
        const second = await run([...asWho(who), process.execPath, FLYCAST, "up", node.folder]);
        expect(second.code).toBe(1);
        expect(second.err).toMatch(/\[state_locked\]/);
        expect(
          (await curl("-o", "/dev/null", "-w", "%{http_code}", `http://${await node.published("web", 80)}/`)).out,
        ).toBe("200");
      });

      test("addresses are the same after a restart, and after SIGKILL", async () => {
        const node = up();
        const before = (await node.ready()).services.map((service) => service.address);
        await node.stop("SIGKILL");
        const again = new Up(node.folder, who);
        running.push(again);
        expect((await again.ready()).services.map((service) => service.address)).toEqual(before);
      });

      if (mode === "lab")
        test("inside, names resolve, exec is a client of the network, and other names are answered from outside", async () => {
          const node = up();
          await node.ready();
          const inside = await node.cli("exec", "--", "curl", "-s", "-m", "20", "http://web.flycast/");
          expect(inside.out).toContain("Hello from web");
          const internal = await node.cli("exec", "--", "dig", "+short", "AAAA", "web.internal");
          expect(internal.out.trim()).toMatch(/^fdaa:[0-9a-f:]+:2$/);
          const code = await node.cli("exec", "--", "sh", "-c", "exit 7");
          expect(code.code).toBe(7);
          expect(readFileSync(join(node.folder, ".flycast", "token"), "utf8").trim().length).toBeGreaterThan(20);
        });
    },
  );
}
