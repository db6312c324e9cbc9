import { execFileSync } from "node:child_process";
import { generateKeyPairSync, randomBytes, X509Certificate } from "node:crypto";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync, statSync, utimesSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { connect as connectTls, type ConnectionOptions, type TLSSocket } from "node:tls";
import { describe, expect, onTestFinished, test } from "vitest";
import type { AppName, MachineId } from "../../src/core/ids.ts";
import { seconds } from "../../src/core/units.ts";
import { loadAuthority, temporaryAuthority } from "../../src/proxy/tls/authority.ts";
import { makeCertificate } from "../../src/proxy/tls/x509.ts";
import { echo, ending, open, readAll, upstream, world, type World, type WorldOptions } from "./fixture.ts";
import { APP, machine, service } from "./values.ts";
import type { ServiceChoice } from "./values.ts";

const M1 = "00000000000001" as MachineId;
const NOW = new Date();

function folder(): string {
  const path = mkdtempSync(join(tmpdir(), "flycast-tls-"));
  onTestFinished(() => rmSync(path, { recursive: true, force: true }));
  return path;
}

describe("the local authority", () => {
  test("is made once, kept with a key that only its owner reads, and found again", () => {
    const path = folder();
    const made = loadAuthority(path, NOW);
    expect(loadAuthority(path, NOW).cert).toBe(made.cert);
    expect(statSync(join(path, "ca.key")).mode & 0o777).toBe(0o600);
    expect(readFileSync(join(path, "ca.crt"), "utf8")).toBe(made.cert);
  });

  test("lasts two years, and is replaced before it runs out", () => {
    const path = folder();
    const made = loadAuthority(path, NOW);
    const days = (made.notAfter.getTime() - NOW.getTime()) / 86_400_000;
    expect(Math.round(days)).toBe(730);
    const later = new Date(NOW.getTime() + 725 * 86_400_000);
    expect(loadAuthority(path, later).cert).not.toBe(made.cert);
  });

  test("a certificate without its key is replaced, and rubbish is reported", () => {
    const path = folder();
    const made = loadAuthority(path, NOW);
    writeFileSync(join(path, "ca.crt"), temporaryAuthority(NOW).cert);
    expect(loadAuthority(path, NOW).cert).not.toBe(made.cert);
    writeFileSync(join(path, "ca.crt"), "rubbish");
    expect(() => loadAuthority(path, NOW)).toThrow(expect.objectContaining({ code: "state_damaged" }));
  });

  test("OpenSSL accepts what it signs for .flycast and .internal, and nothing else of it", () => {
    const path = folder();
    const authority = loadAuthority(path, NOW);
    const verify = (names: readonly string[]): string => {
      writeFileSync(join(path, "leaf.crt"), authority.issue(names, NOW).cert);
      try {
        return execFileSync(
          "openssl",
          ["verify", "-x509_strict", "-CAfile", join(path, "ca.crt"), join(path, "leaf.crt")],
          {
            encoding: "utf8",
            stdio: "pipe",
          },
        );
      } catch (thrown) {
        return (thrown as { stderr: string }).stderr;
      }
    };
    expect(verify(["web.flycast", "web.internal", "*.web.internal"])).toContain("OK");
    expect(verify(["example.com"])).toContain("permitted subtree violation");
  });
});

/** A world with a `tls` port and an authority of its own. */
async function secureWorld(
  choice: ServiceChoice = {},
  options: WorldOptions = {},
): Promise<World & { readonly ca: string }> {
  const authority = temporaryAuthority(NOW);
  const w = await world({ ...options, more: { authority: () => authority } });
  const address = await upstream(echo);
  const handlers = choice.handlers ?? ["tls"];
  w.add(machine(M1, [service({ ...choice, handlers })]), { start: async () => [address] });
  return { ...w, ca: authority.cert };
}

function dialTls(w: World, options: ConnectionOptions): TLSSocket {
  return open(
    connectTls({ host: "127.0.0.1", port: w.publishedPort(), allowHalfOpen: true, ...options } as never),
  ) as TLSSocket;
}

describe("a port with tls", () => {
  test("default_self_signed: a client that trusts the authority reaches <app>.flycast, and the Machine sees plain bytes", async () => {
    const w = await secureWorld({ tls: { defaultSelfSigned: true } });
    const client = dialTls(w, { ca: w.ca, servername: "app.flycast" });
    await once(client, "secureConnect");
    expect(client.authorized).toBe(true);
    client.end("secret");
    expect((await readAll(client)).toString()).toBe("secret");
    const [settlement] = await w.whenSettled(1);
    expect(settlement?.work?.connection.tls).toEqual({
      serverName: "app.flycast",
      alpn: undefined,
      version: "TLSv1.3",
    });
  });

  test("megabytes and a half-close go through the encryption whole", async () => {
    const w = await secureWorld({ tls: { defaultSelfSigned: true } });
    const client = dialTls(w, { ca: w.ca, servername: "app.flycast" });
    await once(client, "secureConnect");
    const sent = randomBytes(8 * 1024 * 1024);
    client.end(sent);
    expect((await readAll(client)).equals(sent)).toBe(true);
    expect((await w.whenSettled(1))[0]).toMatchObject({ code: undefined, bytesIn: sent.length, bytesOut: sent.length });
  });

  test("a client that leaves inside the encryption while it waits is noticed", async () => {
    const authority = temporaryAuthority(NOW);
    const w = await world({ more: { authority: () => authority } });
    w.add(machine(M1, [service({ handlers: ["tls"], tls: { defaultSelfSigned: true } })]), {
      start: () => new Promise(() => {}),
    });
    const raw = w.dial();
    const client = open(connectTls({ socket: raw, ca: authority.cert, servername: "app.flycast" }));
    await once(client, "secureConnect");
    while (w.pool.claims(M1) === 0) await new Promise((resolve) => setTimeout(resolve, 2));
    raw.resetAndDestroy();
    expect((await w.whenSettled(1))[0]?.code).toBe("FP16");
    expect(w.pool.claims(M1)).toBe(0);
  });

  test("a Machine's reset inside the encryption is no proper end to the client", async () => {
    const authority = temporaryAuthority(NOW);
    const w = await world({ more: { authority: () => authority } });
    const address = await upstream((socket) => void socket.once("data", () => socket.resetAndDestroy()));
    w.add(machine(M1, [service({ handlers: ["tls"], tls: { defaultSelfSigned: true } })]), {
      start: async () => [address],
    });
    const client = dialTls(w, { ca: authority.cert, servername: "app.flycast" });
    await once(client, "secureConnect");
    client.write("x");
    await ending(client);
    expect((await w.whenSettled(1))[0]?.code).toBe("PC03");
  });

  test("a name that is not the app's is PT05, and wakes nobody", async () => {
    const w = await secureWorld({ tls: { defaultSelfSigned: true } });
    const client = dialTls(w, { ca: w.ca, servername: "example.com" });
    expect((await once(client, "error"))[0]).toMatchObject({ code: "ERR_SSL_TLSV1_UNRECOGNIZED_NAME" });
    expect(client.authorized).toBe(false);
    expect((await w.whenSettled(1))[0]?.code).toBe("PT05");
    expect(w.pool.starts).toEqual([]);
  });

  test("without any certificate it is PT06 at once", async () => {
    const w = await secureWorld();
    const [error] = await once(dialTls(w, { servername: "app.flycast" }), "error");
    // Its code differs between versions of OpenSSL.
    expect(String(error)).toMatch(/alert handshake failure/);
    expect((await w.whenSettled(1))[0]?.code).toBe("PT06");
  });

  test("bytes that are no handshake are PT04, and wake nobody", async () => {
    const w = await secureWorld({ tls: { defaultSelfSigned: true } });
    const client = w.dial();
    client.write("GET / HTTP/1.1\r\n\r\n");
    await ending(client);
    expect((await w.whenSettled(1))[0]?.code).toBe("PT04");
    expect(w.pool.starts).toEqual([]);
  });

  test("a handshake that does not end is PT08", async () => {
    const w = await secureWorld({ tls: { defaultSelfSigned: true } }, { limits: { headTimeout: seconds(0.2) } });
    await ending(w.dial());
    expect((await w.whenSettled(1))[0]?.code).toBe("PT08");
  });

  test("a client that leaves in the middle of it is PT03", async () => {
    const w = await secureWorld({ tls: { defaultSelfSigned: true } });
    const client = w.dial();
    client.write(Buffer.from([0x16, 3, 1]));
    await once(client, "ready");
    client.end();
    await ending(client);
    expect((await w.whenSettled(1))[0]?.code).toBe("PT03");
  });

  test("alpn and versions are as the port says", async () => {
    const w = await secureWorld({ tls: { defaultSelfSigned: true, alpn: ["mqtt"], versions: ["TLSv1.2"] } });
    const client = dialTls(w, { ca: w.ca, servername: "app.flycast", ALPNProtocols: ["h2", "mqtt"] });
    await once(client, "secureConnect");
    expect(client.alpnProtocol).toBe("mqtt");
    expect(client.getProtocol()).toBe("TLSv1.2");
    const newer = dialTls(w, { ca: w.ca, servername: "app.flycast", minVersion: "TLSv1.3" });
    expect(await ending(newer)).not.toBe("end");
  });

  test("with proxy_proto the header comes before the plain bytes and tells the name that was asked for", async () => {
    const w = await secureWorld({
      handlers: ["proxy_proto", "tls"],
      proxyProtocol: "v2",
      tls: { defaultSelfSigned: true },
    });
    const client = dialTls(w, { ca: w.ca, servername: "app.flycast" });
    await once(client, "secureConnect");
    client.end("payload");
    const received = (await readAll(client)).toString("latin1");
    expect(received.startsWith("\r\n\r\n\0\r\nQUIT\n")).toBe(true);
    expect(received).toContain("app.flycast");
    expect(received.endsWith("payload")).toBe(true);
  });

  test("the app's own certificate is used, and a renewed one from the next handshake on", async () => {
    const path = folder();
    const files = { cert: join(path, "web.crt"), key: join(path, "web.key") };
    const first = selfMade("one.example");
    writeFileSync(files.cert, first.cert);
    writeFileSync(files.key, first.key);
    const w = await secureWorld({}, { app: { name: APP as AppName, tls: files } });
    expect(await certificateOf(w, "one.example")).toBe(first.fingerprint);

    const second = selfMade("two.example");
    writeFileSync(files.cert, second.cert);
    writeFileSync(files.key, second.key);
    utimesSync(files.cert, new Date(), new Date(Date.now() + 5000));
    while ((await certificateOf(w, "two.example")) === first.fingerprint);
    expect(await certificateOf(w, "two.example")).toBe(second.fingerprint);

    // Half of a renewal: what was good stays.
    writeFileSync(files.cert, selfMade("three.example").cert);
    await new Promise((resolve) => setTimeout(resolve, 1100));
    expect(await certificateOf(w, "two.example")).toBe(second.fingerprint);
    expect(w.logged.join()).toContain("a certificate cannot be used");
  });
});

async function certificateOf(w: World, servername: string): Promise<string> {
  const client = dialTls(w, { servername, rejectUnauthorized: false });
  await once(client, "secureConnect");
  const { fingerprint256 } = client.getPeerCertificate();
  client.destroy();
  return fingerprint256;
}

function selfMade(name: string): { readonly cert: string; readonly key: string; readonly fingerprint: string } {
  const { privateKey, publicKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const cert = makeCertificate({
    subject: name,
    publicKey,
    notBefore: new Date(NOW.getTime() - 1000),
    notAfter: new Date(NOW.getTime() + 86_400_000),
    issuer: { subject: name, publicKey, privateKey },
    kind: { type: "server", names: [name] },
  });
  const key = privateKey.export({ type: "pkcs8", format: "pem" }).toString();
  return { cert, key, fingerprint: new X509Certificate(cert).fingerprint256 };
}
