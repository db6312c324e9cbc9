import { readFileSync } from "node:fs";
import { afterEach, describe, expect, test } from "vitest";
import { COMPUTER, INTERNET, World } from "../network/linux/egress-world.ts";
import { NO_LAB, NO_ROOT } from "../network/support/possible.ts";
import { clean, type Ran, Up, type Who, workspaceOf } from "./support.ts";

const APP = `require("node:http").createServer((q, r) => r.end("hello")).listen(8080, "::")`;
const FILES = {
  "flycast.toml": `[apps.web]\npath = "web"\ncommand = "node app.cjs"\n`,
  "web/fly.toml": `app = "web"\n[http_service]\n  internal_port = 8080\n`,
  "web/app.cjs": APP,
};

const ends: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const end of ends.splice(0).toReversed()) await end();
});

async function up(
  who: Who,
  egress: string,
  on: (world: World) => readonly string[],
): Promise<{ world: World; node: Up }> {
  const world = await World.make();
  ends.push(() => world.end());
  const node = new Up(workspaceOf(FILES, who), who, ["--network-mode", "lab", "--egress", egress], on(world));
  ends.push(async () => {
    await node.stop("SIGKILL");
    clean(node.folder);
  });
  await node.ready();
  return { world, node };
}

const fromInside = (node: Up, url: string): Promise<Ran> =>
  node.cli("exec", "--", "curl", "-sg", "-m", "5", "-w", "%{http_code}", url);

describe.skipIf(NO_LAB || NO_ROOT)("the Internet from a lab", () => {
  test.each(["root", "user"] as const)(
    "is reached by Machines and clients, and the computer is not (%s)",
    async (who) => {
      const { world, node } = await up(who, "auto", ({ enter }) => enter);
      expect(node.stderr).not.toContain("Internet");
      expect((await fromInside(node, `http://${INTERNET}/`)).out).toBe("internet saw 192.0.2.2200");
      expect((await fromInside(node, "http://web.flycast/")).out).toBe("hello200");
      expect((await fromInside(node, `http://${COMPUTER[0]}/`)).code).toBe(7);
      await node.stop();
      expect(world.traces()).toEqual({ tables: [], links: [], forwarding: "0" });
    },
  );

  test("is not reached without a program for it, which one line says; with egress = none nobody asks", async () => {
    const bare = (world: World): readonly string[] => world.without("pasta", "slirp4netns");
    const { node } = await up("user", "auto", bare);
    expect(node.stderr.match(/note: Machines cannot reach the Internet/g)).toHaveLength(1);
    expect((await fromInside(node, `http://${INTERNET}/`)).code).toBe(7);
    const silent = await up("user", "none", bare);
    expect(silent.node.stderr).not.toContain("Internet");
  });

  test("that is lost, because the program for it ended, is said; the node goes on", async () => {
    const { node } = await up("user", "auto", ({ enter }) => enter);
    const [program = 0] = childrenOf(node.process.pid ?? 0)
      .flatMap(childrenOf)
      .filter((pid) => /^(pasta|slirp4netns)\0/.test(readFileSync(`/proc/${pid}/cmdline`, "utf8")));
    expect(program).toBeGreaterThan(0);
    process.kill(program, "SIGKILL");
    await expect.poll(() => node.stderr, { timeout: 10_000 }).toContain("cannot reach the Internet any more");
    expect((await fromInside(node, "http://web.flycast/")).out).toBe("hello200");
  });

  test.each(["root", "user"] as const)(
    "without nftables there is none, and addresses of the node itself answer on no port of a service (%s)",
    async (who) => {
      const { world, node } = await up(who, "auto", (made) => made.without("nft"));
      expect(node.stderr).toContain("Machines cannot reach the Internet (that needs nftables)");
      expect((await fromInside(node, "http://web.flycast/")).out).toBe("hello200");
      for (const host of ["fdaa::3", "fe80::1%25eth0"]) {
        const ran = await fromInside(node, `http://[${host}]/`);
        // Reset, before or after the handshake; neither an answer nor a wait.
        expect([7, 56], `${host}: ${ran.out}`).toContain(ran.code);
        expect(ran.out).toBe("000");
      }
      expect((await fromInside(node, `http://${INTERNET}/`)).code).toBe(7);
      expect(world.traces()).toEqual({ tables: [], links: [], forwarding: "0" });
    },
  );
});

function childrenOf(pid: number): readonly number[] {
  const listed = readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8");
  return listed.trim().split(" ").filter(Boolean).map(Number);
}
