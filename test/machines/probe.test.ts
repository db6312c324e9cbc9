import { execFileSync } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createServer as createHttpServer, type IncomingMessage, type RequestListener } from "node:http";
import { createServer as createHttpsServer } from "node:https";
import { createServer, type AddressInfo, type Server } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import type { HttpCheck } from "../../src/config/model.ts";
import { ms } from "../../src/core/units.ts";
import { probe } from "../../src/machines/probe.ts";
import type { DialAddress } from "../../src/network/plane.ts";
import { check } from "./world.ts";

const NEVER = new AbortController().signal;

async function listen(server: Server): Promise<DialAddress> {
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  onTestFinished(() => void server.close());
  return { host: "127.0.0.1", port: (server.address() as AddressInfo).port };
}

async function app(answer: RequestListener): Promise<DialAddress> {
  const server = createHttpServer(answer);
  onTestFinished(() => server.closeAllConnections());
  return listen(server);
}

/** An address where nobody listens: it was just given back. */
async function nobody(): Promise<DialAddress> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = { host: "127.0.0.1", port: (server.address() as AddressInfo).port };
  server.close();
  await once(server, "close");
  return address;
}

function http(change: Partial<HttpCheck> = {}): ReturnType<typeof check> {
  const settings: HttpCheck = {
    method: "get",
    path: "/health",
    protocol: "http",
    tlsSkipVerify: false,
    tlsServerName: undefined,
    headers: [],
    ...change,
  };
  return check({ type: "http", http: settings });
}

describe("a TCP check", () => {
  test("passes when the port accepts", async () => {
    const address = await listen(createServer((socket) => socket.on("error", () => {})));
    expect(await probe(check(), [address], NEVER)).toEqual({ passed: true, output: "connected" });
  });

  test("fails when nobody listens, and says so", async () => {
    expect(await probe(check(), [await nobody()], NEVER)).toEqual({ passed: false, output: "connection refused" });
    expect((await probe(check(), [], NEVER)).passed).toBe(false);
  });

  test("tries the second address where the first one refuses", async () => {
    const address = await listen(createServer((socket) => socket.on("error", () => {})));
    expect((await probe(check(), [await nobody(), address], NEVER)).passed).toBe(true);
  });
});

describe("an HTTP check", () => {
  test.each([
    [200, true],
    [204, true],
    [299, true],
    [301, false],
    [404, false],
    [500, false],
  ])("with status %i passes: %s", async (status, passed) => {
    const address = await app((_, response) => response.writeHead(status, { location: "/elsewhere" }).end());
    expect(await probe(http(), [address], NEVER)).toEqual({ passed, output: `HTTP ${status}` });
  });

  test("sends method, path and headers as configured", async () => {
    let seen: IncomingMessage | undefined;
    const address = await app((request, response) => {
      seen = request;
      response.end();
    });
    const headers = [
      { name: "X-Forwarded-Proto", value: "https" },
      { name: "Host", value: "app.example" },
    ];
    await probe(http({ method: "head", path: "/up?deep=1", headers }), [address], NEVER);
    expect([seen?.method, seen?.url]).toEqual(["HEAD", "/up?deep=1"]);
    expect(seen?.headers).toMatchObject({ "x-forwarded-proto": "https", host: "app.example" });
  });

  test("ends at its timeout when the app accepts and says nothing", async () => {
    const address = await app(() => {});
    const silent = { ...http(), timeout: ms(50) };
    expect(await probe(silent, [address], NEVER)).toEqual({ passed: false, output: "no answer within 50 ms" });
  });

  test("does not read a body without end", async () => {
    const address = await app((_, response) => {
      response.on("error", () => {});
      const pour = (): void => {
        while (!response.destroyed && response.write(Buffer.alloc(65_536)));
      };
      response.on("drain", pour);
      pour();
    });
    expect((await probe(http(), [address], NEVER)).passed).toBe(true);
  });

  test("survives an app that speaks no HTTP", async () => {
    const address = await listen(
      createServer((socket) => {
        socket.on("error", () => {});
        socket.end("-ERR what?\r\n");
      }),
    );
    const { passed, output } = await probe(http(), [address], NEVER);
    expect(passed).toBe(false);
    expect(output.length).toBeLessThan(300);
  });

  test("checks the certificate unless told not to", async () => {
    const folder = mkdtempSync(join(tmpdir(), "flycast-probe-"));
    onTestFinished(() => rmSync(folder, { recursive: true }));
    const [key, cert] = [join(folder, "key.pem"), join(folder, "cert.pem")];
    const curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"];
    const names = ["-subj", "/CN=app.test", "-addext", "subjectAltName=DNS:app.test"];
    execFileSync("openssl", ["req", "-x509", ...curve, "-nodes", "-keyout", key, "-out", cert, ...names], {
      stdio: "ignore",
    });
    let name: unknown;
    const options = { key: readFileSync(key), cert: readFileSync(cert) };
    const server = createHttpsServer(options, (_, response) => response.end());
    server.on("secureConnection", (socket) => (name = socket.servername));
    server.on("tlsClientError", () => {});
    onTestFinished(() => server.closeAllConnections());
    const address = await listen(server);
    const secure = { protocol: "https", tlsServerName: "app.test" } as const;
    expect((await probe(http(secure), [address], NEVER)).passed).toBe(false);
    expect((await probe(http({ ...secure, tlsSkipVerify: true }), [address], NEVER)).passed).toBe(true);
    expect(name).toBe("app.test");
  });
});
