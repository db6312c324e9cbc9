import { spawn, type ChildProcess } from "node:child_process";
import { writeFileSync } from "node:fs";
import { afterEach, describe, expect, test } from "vitest";
import { cannotServe, Computer, Service } from "../../e2e/serve-support.ts";
import { clean, eventually, FLYCAST, workspaceOf, type Ran } from "../../e2e/support.ts";

const FILES = {
  "flycast.toml": `[node]
region = "iad"
network_mode = "host"
state_dir = "state"
wireguard = "127.0.0.1:51820"
[apps.web]
org = "globex"
user = "root"
command = "${process.execPath} server.mjs"
`,
  "web/fly.toml": `app = "web"\n[http_service]\ninternal_port = 8080\nauto_stop_machines = "stop"\n`,
  "web/server.mjs": `import { createServer } from "node:http";
createServer((request, response) => response.end(process.pid + " called by " + request.headers["fly-client-ip"])).listen(8080, "::");
`,
};

let computer: Computer | undefined;
let folder = "";
const children: ChildProcess[] = [];
afterEach(async () => {
  for (const child of children.splice(0)) child.kill("SIGKILL");
  await computer?.off();
  clean(folder);
});

const unable = await cannotServe();
describe.skipIf(unable !== undefined && process.env["CI"] !== "true")("WireGuard into a node in host mode", () => {
  test("a tunnel goes into its own organisation, and on into the next life of the node", async () => {
    const here = (computer = await Computer.boot());
    folder = workspaceOf(FILES, "root");
    let node = await new Service(here, folder, ["flycast.toml"]).ready();
    const cli = (...args: string[]): Promise<Ran> =>
      here.run(process.execPath, FLYCAST, ...args, "--state-dir", `${folder}/state`);
    const made = await cli("wireguard", "create", "globex", "iad", "wg0", `${folder}/wg0.conf`);
    expect(made.code, made.err).toBe(0);

    // The computer itself is no client of globex; by the tunnel it becomes one.
    const address = node.address("web");
    const call = (): Promise<Ran> => here.run("curl", "-sS", "-m", "2", `http://[${address}]`);
    expect((await call()).code).not.toBe(0);
    const [file = "", ...args] = here.inside("/", "wireguard-go", "--foreground", "wg0");
    children.push(spawn(file, args, { stdio: "ignore" }));
    const join = `cd ${folder}; until wg show wg0 >/dev/null 2>&1; do sleep 0.05; done
      value() { sed -n "s/^$1 = //p" wg0.conf; }
      wg-quick strip ./wg0.conf > stripped && wg setconf wg0 stripped &&
      ip addr add "$(value Address)" dev wg0 nodad && ip link set wg0 mtu 1420 up && ip route add "$(value AllowedIPs)" dev wg0`;
    expect(await here.run("sh", "-c", join)).toMatchObject({ code: 0 });
    const again = `cd ${folder}; wg set wg0 peer "$(wg show wg0 peers)" remove; wg setconf wg0 stripped`;
    const served = (): Promise<Ran> =>
      eventually(
        async () => {
          await here.run("sh", "-c", again);
          return call();
        },
        ({ code }) => code === 0,
        30_000,
      );
    const first = await served();
    expect(first.out).toMatch(/^\d+ called by fdaa:.*:a7b::a:102$/);

    await node.end("KILL");
    await eventually(
      () => here.processes(),
      (all) => !all.some((line) => line.includes("flycast-wg")),
    );
    expect((await call()).code).not.toBe(0);
    node = await new Service(here, folder, ["flycast.toml"]).ready();
    // The Machine went on meanwhile: the same process, the same tunnel.
    expect((await served()).out).toBe(first.out);

    await cli("wireguard", "remove", "globex", "wg0");
    expect((await call()).code).not.toBe(0);
    await node.end("TERM");
    expect((await here.processes()).filter((line) => line.includes("flycast-wg"))).toEqual([]);
    const sockets = async (): Promise<string> => (await here.run("sh", "-c", "ls /run/wireguard")).out.trim();
    expect(await sockets()).toBe("wg0.sock");

    // Killed, it leaves the gateway's socket; a next life that lets nobody in tidies up.
    node = await new Service(here, folder, ["flycast.toml"]).ready();
    await node.end("KILL");
    const settings = `${folder}/flycast.toml`;
    writeFileSync(settings, FILES["flycast.toml"].replace(/^wireguard.*\n/m, ""));
    node = await new Service(here, folder, ["flycast.toml"]).ready();
    expect(await sockets()).toBe("wg0.sock");
    await node.end("TERM");
  }, 90_000);
});
