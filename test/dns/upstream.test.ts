import { describe, expect, test } from "vitest";
import { parseResolvConf } from "../../src/dns/system-upstreams.ts";
import { canonicalHost, parseUpstream } from "../../src/dns/upstream.ts";

describe("resolv.conf", () => {
  test("gives at most three resolvers, in order, each once", () => {
    const text = `# made by hand
search example.com
nameserver 192.0.2.1
nameserver   2001:db8::1  # trailing
\tnameserver 192.0.2.1
options edns0
nameserver fe80::1%eth0
nameserver 192.0.2.4
`;
    expect(parseResolvConf(text)).toEqual(["192.0.2.1", "2001:db8::1", "fe80::1%eth0"]);
  });

  test("never gives ourselves, nor what is no address", () => {
    const text =
      "nameserver fdaa::3\nnameserver FDAA:8000:18::3\n#nameserver 192.0.2.9\n;nameserver 192.0.2.9\nnameserver dns.example\nnameserver\nnameservers 192.0.2.9\nnameserver 192.0.2.2";
    expect(parseResolvConf(text)).toEqual(["192.0.2.2"]);
    expect(parseResolvConf("")).toEqual([]);
    expect(parseResolvConf("nameserver 192.0.2.2\r\nnameserver 192.0.2.3\r\n")).toEqual(["192.0.2.2", "192.0.2.3"]);
  });
});

test.each([
  ["192.0.2.1", { host: "192.0.2.1", port: 53, family: 4 }],
  ["192.0.2.1:5353", { host: "192.0.2.1", port: 5353, family: 4 }],
  ["2001:db8::1", { host: "2001:db8::1", port: 53, family: 6 }],
  ["[2001:db8::1]", { host: "2001:db8::1", port: 53, family: 6 }],
  ["[2001:db8::1]:5353", { host: "2001:db8::1", port: 5353, family: 6 }],
  ["fe80::1%eth0", { host: "fe80::1%eth0", port: 53, family: 6 }],
  ["dns.example", undefined],
  ["192.0.2.1:0", undefined],
  ["192.0.2.1:65536", undefined],
  ["192.0.2", undefined],
  ["[192.0.2.1]:x", undefined],
  ["", undefined],
])("the upstream %s", (text, expected) => {
  expect(parseUpstream(text)).toEqual(expected);
});

test("equal addresses are equal however a socket reports them", () => {
  expect(canonicalHost("::ffff:192.0.2.1")).toBe("192.0.2.1");
  expect(canonicalHost("2001:DB8:0:0::1")).toBe("2001:db8::1");
  expect(canonicalHost("fe80::1%eth0")).toBe("fe80::1");
});
