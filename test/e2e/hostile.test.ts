import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { cannotPlay, clean, curl, Up, workspaceOf, type Who } from "./support.ts";

// Does whatever it is told, with all the rights that a Machine has.
const PUPPET = `
const { execFile } = require("child_process");
require("http").createServer((request, response) => {
  let script = "";
  request.on("data", (chunk) => (script += chunk));
  request.on("end", () => {
    if (script === "") return response.end("untouched");
    execFile("sh", ["-c", script], { timeout: 8000 }, (error, out, err) =>
      response.end(JSON.stringify({ code: error === null ? 0 : 1, out, err })));
  });
}).listen(8080, "::");
`;
const FLY = (app: string): string => `app = "${app}"\n[http_service]\n  internal_port = 8080\n`;
const APP = (name: string, more = ""): string =>
  `[apps.${name}]\npath = "${name}"\ncommand = "node puppet.js"\n${more}`;

interface Done {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

for (const who of ["root", "user"] as const satisfies readonly Who[]) {
  const unable = cannotPlay(who);
  describe.skipIf(unable !== undefined && process.env["CI"] !== "true")(
    `a hostile Machine in a lab of ${who}${unable === undefined ? "" : ` (${unable})`}`,
    () => {
      let node: Up;
      let api = "";
      let core = 0;
      /** Addresses of Machines: 6PN and IPv4 link. */
      let own: readonly string[] = [];
      let neighbour: readonly string[] = [];
      let stranger: readonly string[] = [];

      const inside = async (app: string, script: string): Promise<Done> => {
        const { out } = await curl("--data-binary", script, `http://${await node.published(app, 80)}/`);
        return JSON.parse(out) as Done;
      };
      const addresses = async (app: string): Promise<readonly string[]> =>
        (await inside(app, "grep -E 'fly-local-6pn|fly-global-services' /etc/hosts")).out
          .trim()
          .split("\n")
          .map((line) => line.split(/\s/)[0] ?? "");
      /** Those of the scripts that came to something. */
      const succeed = async (scripts: readonly string[]): Promise<readonly string[]> => {
        const done = await Promise.all(scripts.map(async (script) => ({ script, ...(await inside("evil", script)) })));
        return done.filter(({ code }) => code === 0).map(({ script }) => script);
      };

      beforeAll(async () => {
        const files = Object.fromEntries(
          ["evil", "near", "far", "king"].flatMap((app) => [
            [`${app}/fly.toml`, FLY(app)],
            [`${app}/puppet.js`, PUPPET],
          ]),
        );
        // As root a Machine is an ordinary user by the owner of its folder; here it is named.
        const user = who === "root" ? 'user = "nobody"\n' : "";
        const king = who === "root" ? APP("king", 'user = "root"\n') : "";
        const toml = APP("evil", user) + APP("near", user) + APP("far", `org = "other"\n${user}`) + king;
        node = new Up(workspaceOf({ "flycast.toml": toml, ...files }, who), who, ["--network-mode", "lab"]);
        api = (await node.ready()).api;
        [own, neighbour, stranger] = (await Promise.all(["evil", "near", "far"].map(addresses))) as [
          string[],
          string[],
          string[],
        ];
        core = Number(
          (await inside("evil", "ps -eo pid,args | grep '[c]li/core.js' | awk '$1 > 1'")).out.trim().split(/\s/)[0],
        );
      }, 60_000);
      afterAll(async () => {
        await node.stop("SIGKILL");
        clean(node.folder);
      });

      test("sees the node's process, and gets neither into its namespaces nor at anything of it", async () => {
        expect(core).toBeGreaterThan(1);
        expect(
          await succeed([
            ...["1", String(core)].flatMap((pid) => [
              `nsenter --net=/proc/${pid}/ns/net true`,
              `nsenter --mount=/proc/${pid}/ns/mnt true`,
              `cat /proc/${pid}/environ`,
              `ls /proc/${pid}/root/`,
              `ls /proc/${pid}/cwd/`,
              `for fd in /proc/${pid}/fd/*; do readlink $fd && exit 0; done; exit 1`,
              `head -c1 /proc/${pid}/mem`,
              // A user's own processes may always signal each other: a Machine is no sandbox against its own user.
              ...(who === "root" ? [`kill -0 ${pid}`] : []),
            ]),
            "nsenter --target 1 --all true",
            "mount -t proc proc /proc",
            "umount -l /run",
            "unshare --mount true",
          ]),
        ).toEqual([]);
      });

      test.runIf(who === "root")(
        "does nothing to the computer even as root, by files that ask for root alone",
        async () => {
          expect((await inside("king", "id -u")).out).toBe("0\n");
          const done = await Promise.all(
            [
              // What it says already: were it allowed, it would do no harm.
              "cat /proc/sys/kernel/core_pattern > /tmp/$$ && cat /tmp/$$ > /proc/sys/kernel/core_pattern",
              "test -w /proc/sysrq-trigger && : >> /proc/sysrq-trigger",
              "mkdir /sys/fs/cgroup/flycast-hostile",
              "mkdir /sys/fs/cgroup/*/flycast-hostile",
              "mount -o remount,rw,bind /proc/sys",
              "umount /sys",
              `nsenter --mount=/proc/${core}/ns/mnt true`,
            ].map(async (script) => ({ script, ...(await inside("king", script)) })),
          );
          expect(done.filter(({ code }) => code === 0)).toEqual([]);
        },
      );

      test("finds no token, no catalogue and no other Machine's output", async () => {
        const state = join(node.folder, ".flycast");
        expect(readFileSync(join(state, "token"), "utf8").length).toBeGreaterThan(10);
        expect(
          await succeed([
            `cat ${state}/token`,
            `cat ${state}/catalogue/*`,
            `cat ${state}/machines/*/*`,
            `ls ${state}/keys`,
            `umount ${state} && cat ${state}/token`,
            `unshare --user --map-root-user --mount sh -c 'umount ${state} && cat ${state}/token'`,
            `[ -n "$(ls -A ${state})" ]`,
          ]),
        ).toEqual([]);
        for (const at of ["[fdaa::3]:4280", "_api.internal:4280"]) {
          const { out } = await inside(
            "evil",
            `curl -s -m 3 -o /dev/null -w '%{http_code}' http://${at}/v1/apps?org_slug=personal`,
          );
          expect(out).toMatch(/^(401|403)$/);
        }
        expect(api).toMatch(/^http:\/\/127\.0\.0\.1:/);
        expect((await inside("evil", `curl -s -m 3 ${api}/flycast/v1/status`)).code).toBe(1);
      });

      test("changes no address, link, route or rule, and has no raw socket", async () => {
        const raw = "import socket; socket.socket(socket.AF_INET6, socket.SOCK_RAW, 58)";
        const packet = "import socket; socket.socket(socket.AF_PACKET, socket.SOCK_RAW)";
        expect(
          await succeed([
            "nft flush ruleset",
            "nft list ruleset | grep -q flycast",
            `ip addr add ${stranger[0]}/128 dev eth0`,
            "ip link set eth0 down",
            "ip link set eth0 address 02:00:00:00:00:01",
            "ip route add default via fe80::2 dev eth0",
            "ip rule add pref 1 lookup main",
            "echo 1 > /proc/sys/net/ipv6/conf/all/forwarding",
            `python3 -c '${raw}'`,
            `python3 -c '${packet}'`,
            "unshare --net ip link set eth0 down",
          ]),
        ).toEqual([]);
        // In a user namespace of its own it may do as it likes: nothing there is joined to anything of ours.
        await inside(
          "evil",
          "unshare --user --map-root-user --net sh -c 'nsenter --net=/proc/$PPID/ns/net ip link set eth0 down'",
        );
        expect((await inside("evil", "ip -o link show eth0")).out).toContain("state UP");
      });

      test("reaches its own network only, under no other source, and no link but its own", async () => {
        const fetch = (target: string, ...how: string[]): string => `curl -s -m 2 ${how.join(" ")} http://${target}/`;
        const flycast = (app: string): string =>
          (
            node.events.find((event) => event.event === "ready") as unknown as {
              services: { app: string; address: string }[];
            }
          ).services.find((service) => service.app === app)?.address ?? "";
        expect(own[0]).toMatch(/^fdaa:/);
        expect((await inside("evil", fetch(`[${neighbour[0]}]:8080`))).out).toBe("untouched");
        expect((await inside("evil", fetch("near.flycast"))).out).toBe("untouched");
        const gateway = (link = ""): string => link.replace(/\d+$/, (last) => String(Number(last) - 1));
        expect(
          await succeed([
            fetch(`[${stranger[0]}]:8080`),
            fetch(`[${flycast("far")}]`),
            fetch("far.flycast"),
            fetch("far.internal:8080"),
            fetch(`[${neighbour[0]}]:8080`, "--interface", `${stranger[0]}`),
            fetch(`[${flycast("far")}]`, "--interface", `${stranger[0]}`),
            fetch(`${neighbour[1]}:8080`),
            fetch(`${stranger[1]}:8080`),
            ...[own, neighbour, stranger].flatMap(([, link]) =>
              [80, 53, 4280].map((port) => fetch(`${gateway(link)}:${port}`)),
            ),
            fetch("[fe80::1%25eth0]:80"),
          ]),
        ).toEqual([]);
      });
    },
  );
}
