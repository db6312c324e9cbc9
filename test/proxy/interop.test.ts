import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import type { MachineId } from "../../src/core/ids.ts";
import type { DialAddress } from "../../src/network/plane.ts";
import type { Settlement } from "../../src/proxy/context.ts";
import { closedPort, echo, open, readAll, upstream, world } from "./fixture.ts";
import { machine, service } from "./values.ts";

const M1 = "00000000000001" as MachineId;

function has(program: string, ...version: string[]): boolean {
  return spawnSync(program, version, { stdio: "ignore" }).error === undefined;
}
const isCi = process.env["CI"] === "true";
const noHaproxy = !isCi && !has("haproxy", "-v");
const noNginx = !isCi && !has("nginx", "-v");
const STREAM = "/usr/lib/nginx/modules/ngx_stream_module.so";

/** Runs a server with a configuration file until the test ends; resolves when its port answers. */
async function serve(
  text: (address: DialAddress, folder: string) => string,
  command: (path: string) => readonly string[],
): Promise<DialAddress> {
  const folder = mkdtempSync(join(tmpdir(), "flycast-interop-"));
  const address = await closedPort();
  const path = join(folder, "conf");
  writeFileSync(path, text(address, folder));
  const [file = "", ...args] = command(path);
  const child = spawn(file, args, { stdio: "ignore" });
  onTestFinished(async () => {
    child.kill("SIGTERM"); // killed, nginx would leave its worker behind
    if (child.exitCode === null && child.signalCode === null) await once(child, "exit");
    rmSync(folder, { recursive: true, force: true });
  });
  for (;;) {
    const socket = connect(address.port, address.host);
    const answers = await once(socket, "connect").then(
      () => true,
      () => false,
    );
    socket.destroy();
    if (answers) return address;
    if (child.exitCode !== null) throw new Error(`${file} ended with ${child.exitCode}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

const haproxy = (listen: (address: DialAddress) => string): Promise<DialAddress> =>
  serve(
    (address) => `defaults
  mode tcp
  timeout connect 5s
  timeout client 30s
  timeout server 30s
listen one
${listen(address)}
`,
    (path) => ["haproxy", "-db", "-f", path],
  );

describe("PROXY headers between us and others", () => {
  test.skipIf(noHaproxy).each(["v1", "v2"] as const)("HAProxy accepts our %s as a receiver", async (proxyProtocol) => {
    const behind = await upstream((socket) => echo(socket));
    // It passes on what it understood, in version 1.
    const receiver = await haproxy(
      (at) => `  bind ${at.host}:${at.port} accept-proxy\n  server s ${behind.host}:${behind.port} send-proxy`,
    );
    const w = await world();
    w.add(machine(M1, [service({ handlers: ["proxy_proto"], proxyProtocol })]), { start: async () => [receiver] });
    const client = w.dial();
    await once(client, "connect");
    const port = client.localPort;
    client.end("hello");
    expect((await readAll(client)).toString()).toBe(`PROXY TCP6 ::ffff:127.0.0.1 ${w.address} ${port} 5000\r\nhello`);
  });

  test.skipIf(noHaproxy).each(["send-proxy", "send-proxy-v2 proxy-v2-options crc32c,unique-id"])(
    "we accept HAProxy's %s as a trusted sender",
    async (options) => {
      const w = await world({ more: { trust: ["127.0.0.1/32"] } });
      const address = await upstream(echo);
      w.add(machine(M1, [service()]), { start: async () => [address] });
      const sender = await haproxy(
        (at) => `  bind ${at.host}:${at.port}\n  server s 127.0.0.1:${w.publishedPort()} ${options}`,
      );
      const client = open(connect({ ...sender, allowHalfOpen: true }));
      await once(client, "connect");
      const port = client.localPort;
      client.end("hello");
      expect((await readAll(client)).toString()).toBe("hello");
      // The look whether HAProxy listens came through, too, and said nothing.
      const isOurs = (s: Settlement): boolean => s.bytesIn === 5;
      for (let count = 1; !w.settled.some(isOurs); count++) await w.whenSettled(count);
      expect(w.settled.find(isOurs)?.work?.connection.reported).toEqual({ address: "127.0.0.1", port });
    },
  );

  test.skipIf(noNginx || (!isCi && !existsSync(STREAM)))("we accept nginx's header as a trusted sender", async () => {
    const w = await world({ more: { trust: ["127.0.0.1/32"] } });
    const address = await upstream(echo);
    w.add(machine(M1, [service()]), { start: async () => [address] });
    const sender = await serve(
      (at, folder) => `load_module ${STREAM}; daemon off; pid ${folder}/pid; error_log /dev/null; events {}
stream { server { listen ${at.host}:${at.port}; proxy_pass 127.0.0.1:${w.publishedPort()}; proxy_protocol on; } }
`,
      (path) => ["nginx", "-e", "/dev/null", "-c", path],
    );
    const client = open(connect({ ...sender, allowHalfOpen: true }));
    await once(client, "connect");
    const port = client.localPort;
    client.write("hello");
    expect(((await once(client, "data")) as [Buffer])[0].toString()).toBe("hello");
    client.destroy();
    const isOurs = (s: Settlement): boolean => s.bytesIn === 5;
    for (let count = 1; !w.settled.some(isOurs); count++) await w.whenSettled(count);
    expect(w.settled.find(isOurs)?.work?.connection.reported).toEqual({ address: "127.0.0.1", port });
  });

  test.skipIf(noNginx)("nginx accepts our header as a receiver, and knows the caller by it", async () => {
    const receiver = await serve(
      (at, folder) => `daemon off; pid ${folder}/pid; error_log /dev/null; events {}
http {
  access_log off;
  client_body_temp_path ${folder}; proxy_temp_path ${folder}; fastcgi_temp_path ${folder};
  uwsgi_temp_path ${folder}; scgi_temp_path ${folder};
  server {
    listen ${at.host}:${at.port} proxy_protocol;
    return 200 "$proxy_protocol_addr $proxy_protocol_port $proxy_protocol_server_addr $proxy_protocol_server_port";
  }
}
`,
      (path) => ["nginx", "-e", "/dev/null", "-c", path],
    );
    const w = await world();
    w.add(machine(M1, [service({ handlers: ["proxy_proto"], proxyProtocol: "v2" })]), {
      start: async () => [receiver],
    });
    const client = w.dial();
    await once(client, "connect");
    const port = client.localPort;
    client.write("GET / HTTP/1.0\r\n\r\n");
    const answer = (await readAll(client)).toString();
    expect(answer).toContain("200 OK");
    expect(answer.split("\r\n\r\n")[1]).toMatch(new RegExp(`^::ffff:127\\.0\\.0\\.1 ${port} fdaa:\\S+ 5000$`));
  });
});
