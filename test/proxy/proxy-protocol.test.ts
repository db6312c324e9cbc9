import { once } from "node:events";
import fc from "fast-check";
import { connect } from "node:net";
import { describe, expect, test } from "vitest";
import type { MachineId } from "../../src/core/ids.ts";
import { crc32c } from "../../src/proxy/handlers/crc32c.ts";
import { parseProxyHeader } from "../../src/proxy/handlers/proxy-protocol-parse.ts";
import { encodeV1, encodeV2, V2_SIGNATURE } from "../../src/proxy/handlers/proxy-protocol.ts";
import { seconds } from "../../src/core/units.ts";
import { echo, ending, open, read, readAll, upstream, world } from "./fixture.ts";
import { machine, service } from "./values.ts";

const M1 = "00000000000001" as MachineId;
const caller = { address: "fdaa:0:18:a7b:7d:0:a:102", port: 40_000 };
const flycast = { address: "fdaa:0:18:0:1::3", port: 5432 };
const four = { address: "192.0.2.7", port: 1234 };

describe("written", () => {
  test("version 1 is one line, IPv6 for a caller on the private network", () => {
    expect(encodeV1(caller, flycast).toString()).toBe(
      "PROXY TCP6 fdaa:0:18:a7b:7d:0:a:102 fdaa:0:18:0:1::3 40000 5432\r\n",
    );
  });

  test("an IPv4 caller of an IPv6 address is written as IPv6, since a header has one family", () => {
    expect(encodeV1(four, flycast).toString()).toBe("PROXY TCP6 ::ffff:192.0.2.7 fdaa:0:18:0:1::3 1234 5432\r\n");
    expect(encodeV1(four, { address: "192.0.2.8", port: 80 }).toString()).toBe(
      "PROXY TCP4 192.0.2.7 192.0.2.8 1234 80\r\n",
    );
  });

  test("version 2 is the signature, TCP over IPv6, both addresses and both ports", () => {
    expect(encodeV2(caller, flycast).toString("hex")).toBe(
      `${V2_SIGNATURE.toString("hex")}21210024` +
        "fdaa000000180a7b007d0000000a0102" +
        "fdaa0000001800000001000000000003" +
        "9c401538",
    );
  });

  test("version 2 tells what is known of TLS that ended here", () => {
    const header = encodeV2(caller, flycast, {
      tls: { serverName: "db.flycast", alpn: "postgresql", version: "TLSv1.3" },
      checksum: true,
    });
    const text = header.toString("latin1");
    expect(text).toContain("\x01\x00\x0apostgresql");
    expect(text).toContain("\x02\x00\x0adb.flycast");
    expect(text).toContain("\x20\x00\x0f\x01\x00\x00\x00\x01\x21\x00\x07TLSv1.3");
    expect(parseProxyHeader(header)).toMatchObject({ kind: "header", source: caller });
  });
});

test("the checksum is CRC-32C", () => {
  expect(crc32c(Buffer.from("123456789"))).toBe(0xe3069283);
});

describe("read", () => {
  const refused: [string, Buffer | string][] = [
    ["no header", "GET / HTTP/1.1\r\n\r\n"],
    ["a family that does not fit", "PROXY TCP4 fdaa::1 fdaa::2 1 2\r\n"],
    ["an address with a zone", "PROXY TCP6 fe80::1%eth0 fdaa::2 1 2\r\n"],
    ["a port with a leading zero", "PROXY TCP4 1.2.3.4 1.2.3.5 01 2\r\n"],
    ["a port that is too large", "PROXY TCP4 1.2.3.4 1.2.3.5 70000 2\r\n"],
    ["two spaces", "PROXY TCP4  1.2.3.4 1.2.3.5 1 2\r\n"],
    ["a trailing space", "PROXY TCP4 1.2.3.4 1.2.3.5 1 2 \r\n"],
    ["lower case", "proxy TCP4 1.2.3.4 1.2.3.5 1 2\r\n"],
    ["a bare line feed", `PROXY TCP4 1.2.3.4 1.2.3.5 1 2\n${"x".repeat(107)}`],
    ["a line without an end", `PROXY UNKNOWN ${"x".repeat(107)}`],
    ["a signature that breaks off", "\r\n\r\nhello"],
    ["version 3", patched(12, 0x31)],
    ["an unknown command", patched(12, 0x22)],
    ["UDP", patched(13, 0x22)],
    ["addresses that are cut short", patched(15, 12)],
    ["a header that is too long", patched(14, 0x20)],
    ["a wrong checksum", flipped(encodeV2(caller, flycast, { checksum: true }))],
    ["a field that is cut short", withField(Buffer.from([0x01, 0, 9, 1]))],
  ];
  test.each(refused)("%s is refused", (_name, bytes) => {
    expect(parseProxyHeader(typeof bytes === "string" ? Buffer.from(bytes, "latin1") : bytes).kind).toBe("invalid");
  });

  test("UNKNOWN and LOCAL are headers without a source", () => {
    expect(parseProxyHeader(Buffer.from("PROXY UNKNOWN\r\nrest"))).toEqual({
      kind: "header",
      length: 15,
      source: undefined,
    });
    expect(parseProxyHeader(patched(12, 0x20))).toMatchObject({ kind: "header", source: undefined });
  });

  const address = fc.oneof(fc.ipV4(), fc.constantFrom("fdaa:0:18:0:1::3", "::1", "fdaa:8000:18::2"));
  const end = fc.record({ address, port: fc.nat(65_535) });

  test("what was written is read, whatever comes after and however it is cut", () => {
    fc.assert(
      fc.property(end, end, fc.boolean(), fc.boolean(), fc.uint8Array(), (source, destination, two, checksum, rest) => {
        const header = two ? encodeV2(source, destination, { checksum }) : encodeV1(source, destination);
        for (let cut = 0; cut < header.length; cut++)
          expect(parseProxyHeader(header.subarray(0, cut)).kind).toBe("more");
        expect(parseProxyHeader(Buffer.concat([header, rest]))).toEqual({
          kind: "header",
          length: header.length,
          source,
        });
      }),
    );
  });

  test("any bytes are refused, or want more up to a limit, or are a header within them; nothing throws", () => {
    const start = fc.constantFrom("", "PROXY TCP4 ", "PROXY ", V2_SIGNATURE.toString("latin1"));
    fc.assert(
      fc.property(start, fc.uint8Array({ maxLength: 5000 }), (prefix, noise) => {
        const bytes = Buffer.concat([Buffer.from(prefix, "latin1"), noise]);
        const parsed = parseProxyHeader(bytes);
        if (parsed.kind === "header") expect(parsed.length).toBeLessThanOrEqual(bytes.length);
        if (bytes.length >= 4112) expect(parsed.kind).not.toBe("more");
      }),
    );
  });
});

describe("through the proxy", () => {
  test.each(["v1", "v2"] as const)(
    "a port with proxy_proto sends %s before the client's bytes",
    async (proxyProtocol) => {
      const w = await world();
      const address = await upstream((socket) => echo(socket));
      w.add(machine(M1, [service({ handlers: ["proxy_proto"], proxyProtocol })]), { start: async () => [address] });
      const client = w.dial();
      await once(client, "connect");
      const port = client.localPort;
      client.end("payload");
      const received = await readAll(client);
      const parsed = parseProxyHeader(received);
      expect(parsed).toMatchObject({ kind: "header", source: { address: "127.0.0.1", port } });
      expect(received.subarray(parsed.kind === "header" ? parsed.length : 0).toString()).toBe("payload");
      if (proxyProtocol === "v1") expect(received.toString()).toContain(` ${w.address} `);
    },
  );

  test("a trusted source's header is reported and passed on, and its network stays its own", async () => {
    const w = await world({ more: { trust: ["127.0.0.0/8"] } });
    const address = await upstream((socket) => echo(socket));
    w.add(machine(M1, [service({ handlers: ["proxy_proto"] })]), { start: async () => [address] });
    const client = w.dial();
    client.write("PROXY TCP6 2001:db8::7 ");
    client.end("2001:db8::8 1111 443\r\nhello");
    expect((await readAll(client)).toString()).toBe(`PROXY TCP6 2001:db8::7 ${w.address} 1111 5000\r\nhello`);
    const [settlement] = await w.whenSettled(1);
    expect(settlement?.work?.connection).toMatchObject({
      reported: { address: "2001:db8::7", port: 1111 },
      caller: { address: "127.0.0.1", via: "published" },
    });
  });

  test("a trusted source without a header is FP12, and wakes nobody", async () => {
    const w = await world({ more: { trust: ["127.0.0.1/32"] } });
    w.add(machine(M1, [service()]), { start: async () => [] });
    const client = w.dial();
    client.write("GET / HTTP/1.1\r\n");
    expect(await ending(client)).toBe("ECONNRESET");
    expect((await w.whenSettled(1))[0]?.code).toBe("FP12");
    expect(w.pool.starts).toEqual([]);
  });

  test("a trusted source that is slow with its header is FP12", async () => {
    const w = await world({ more: { trust: ["127.0.0.1"] }, limits: { headTimeout: seconds(0.1) } });
    w.add(machine(M1, [service()]), { start: async () => [] });
    expect(await ending(w.dial())).toBe("ECONNRESET");
    expect((await w.whenSettled(1))[0]?.code).toBe("FP12");
  });

  test("nobody else's bytes are taken for a header", async () => {
    const w = await world({ more: { trust: ["10.0.0.0/8"] } });
    const address = await upstream(echo);
    w.add(machine(M1, [service()]), { start: async () => [address] });
    const client = open(connect(w.publishedPort(), "127.0.0.1"));
    const header = "PROXY TCP4 1.2.3.4 1.2.3.5 1 2\r\n";
    client.write(header);
    expect((await read(client, header.length)).toString()).toBe(header);
  });
});

function patched(at: number, byte: number): Buffer {
  const header = encodeV2(caller, flycast);
  header[at] = byte;
  return header;
}

function flipped(header: Buffer): Buffer {
  header[20] = (header[20] ?? 0) ^ 1;
  return header;
}

function withField(field: Buffer): Buffer {
  const header = Buffer.concat([encodeV2(caller, flycast), field]);
  header.writeUInt16BE(36 + field.length, 14);
  return header;
}
