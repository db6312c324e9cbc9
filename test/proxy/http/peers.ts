/** Real HAProxy and nginx, each in front of an origin of the test, as judges of what a stream means. */
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { type AddressInfo, connect, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";

export function hasProgram(name: string, versionFlag = "-v"): boolean {
  try {
    execFileSync(name, [versionFlag], { stdio: "ignore" });
    return true;
  } catch {
    return false;
  }
}

export interface Peer {
  readonly port: number;
  close(): Promise<void>;
}

/** Each request that it passes on carries the client's port in `X-Lane`. */
export async function startHaproxy(origin: number, http2 = false): Promise<Peer> {
  return startPeer((port) => ({
    name: "haproxy.cfg",
    text: `
global
  nbthread 1
  maxconn 4000
defaults
  mode http
  timeout connect 5s
  timeout client 1s
  timeout server 5s
  timeout http-request 1s
  timeout http-keep-alive 500ms
  http-reuse never
frontend f
  bind 127.0.0.1:${port}${http2 ? " proto h2" : ""}
  http-request set-header X-Lane %[src_port]
  default_backend b
backend b
  server s 127.0.0.1:${origin}
`,
    command: "haproxy",
    args: (file) => ["-db", "-q", "-f", file],
  }));
}

export async function startNginx(origin: number, http2 = false): Promise<Peer> {
  return startPeer((port, folder) => ({
    name: "nginx.conf",
    text: `
worker_processes 1;
daemon off;
pid ${folder}/pid;
error_log ${folder}/error.log crit;
events { worker_connections 4000; }
http {
  access_log off;
  client_body_temp_path ${folder}/body;
  proxy_temp_path ${folder}/proxy;
  fastcgi_temp_path ${folder}/fastcgi;
  uwsgi_temp_path ${folder}/uwsgi;
  scgi_temp_path ${folder}/scgi;
  client_header_timeout 1s;
  client_body_timeout 1s;
  keepalive_timeout 500ms;
  server {
    listen 127.0.0.1:${port}${http2 ? " http2" : ""};
    location / {
      proxy_pass http://127.0.0.1:${origin};
      proxy_http_version 1.1;
      proxy_ignore_client_abort on;
      proxy_set_header X-Lane $remote_port;
    }
  }
}
`,
    command: "nginx",
    args: (file) => ["-e", "stderr", "-c", file],
  }));
}

async function startPeer(
  describe: (
    port: number,
    folder: string,
  ) => { name: string; text: string; command: string; args: (file: string) => string[] },
): Promise<Peer> {
  const folder = mkdtempSync(join(tmpdir(), "flycast-peer-"));
  for (let attempt = 0; attempt < 5; attempt++) {
    const port = await freePort();
    const { name, text, command, args } = describe(port, folder);
    const file = join(folder, name);
    writeFileSync(file, text);
    const child = spawn(command, args(file), { stdio: ["ignore", "ignore", "ignore"] });
    if (await answers(port, child)) {
      return {
        port,
        async close() {
          const exited = once(child, "exit");
          child.kill("SIGTERM");
          await exited;
          rmSync(folder, { recursive: true, force: true });
        },
      };
    }
  }
  throw new Error("the peer did not start");
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, "close");
  return port;
}

/** Resolves true when the port is open, false when the program ended instead (somebody else took the port). */
async function answers(port: number, child: ChildProcess): Promise<boolean> {
  while (child.exitCode === null && child.signalCode === null) {
    const open = await new Promise<boolean>((resolve) => {
      const socket = connect(port, "127.0.0.1");
      socket.on("connect", () => {
        socket.destroy();
        resolve(true);
      });
      socket.on("error", () => resolve(false));
    });
    if (open) return true;
    await new Promise<void>((resolve) => setTimeout(resolve, 20)); // asked again, not waited for
  }
  return false;
}
