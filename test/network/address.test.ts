import { BlockList, isIPv6 } from "node:net";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { HostId, Ip6, NetworkId } from "../../src/core/ids.ts";
import * as address from "../../src/network/address.ts";

const group = fc.integer({ min: 0, max: 0xffff });
/** Zeros often, so that runs of them are. */
const groups = fc.array(fc.oneof({ weight: 2, arbitrary: fc.constant(0) }, group), { minLength: 8, maxLength: 8 });
const u32 = fc.integer({ min: 0, max: 0xffff_ffff });
const network = fc.integer({ min: 1, max: 0xffff_ffff }).map((id) => id as NetworkId);
/** As the registry draws them: not 0:…, which is DNS and Flycast, and not a7b:…, which is peers. */
const host = u32.filter((id) => id >>> 16 !== 0 && id >>> 16 !== 0x0a7b).map((id) => id as HostId);

/** The form that Node's URL parser, which follows WHATWG and so RFC 5952, gives. */
const byUrl = (text: string): string => new URL(`http://[${text}]/`).hostname.slice(1, -1);

const parsed = (text: string): Ip6 | undefined => {
  const result = address.parseIp6(text);
  return result.ok ? result.value : undefined;
};

describe("the text of an address (RFC 4291 2.2, RFC 5952)", () => {
  test("is what Node's own URL parser makes of it", () => {
    fc.assert(
      fc.property(groups, (all) => {
        const text = all.map((g) => g.toString(16)).join(":");
        expect(parsed(text)).toBe(byUrl(text));
      }),
      { numRuns: 1000 },
    );
  });

  test("comes back from groups, from bytes and from itself", () => {
    fc.assert(
      fc.property(groups, (all) => {
        const text = address.formatGroups(all as unknown as address.Groups);
        expect(address.groupsOf(text)).toEqual(all);
        expect(parsed(text)).toBe(text);
        expect(address.fromBytes(address.toBytes(text))).toBe(text);
        expect(text).toBe(text.toLowerCase());
      }),
      { numRuns: 1000 },
    );
  });

  test("may be spelt in any case, with zeros in front, and shortened anywhere", () => {
    const spelling = fc.record({
      all: groups,
      upper: fc.boolean(),
      pad: fc.boolean(),
      from: fc.nat(7),
      count: fc.nat(8),
    });
    fc.assert(
      fc.property(spelling, ({ all, upper, pad, from, count }) => {
        const zeroed = all.map((g, i) => (i >= from && i < from + count ? 0 : g));
        const hex = zeroed.map((g) => g.toString(16).padStart(pad ? 4 : 1, "0"));
        const end = Math.min(8, from + count);
        const text = end > from ? `${hex.slice(0, from).join(":")}::${hex.slice(end).join(":")}` : hex.join(":");
        expect(parsed(upper ? text.toUpperCase() : text)).toBe(
          address.formatGroups(zeroed as unknown as address.Groups),
        );
      }),
      { numRuns: 1000 },
    );
  });

  test.each([
    ["::", "::"],
    ["0:0:0:0:0:0:0:0", "::"],
    ["::1", "::1"],
    ["1::", "1::"],
    ["2001:0db8::0001", "2001:db8::1"],
    ["2001:db8:0:0:0:0:2:1", "2001:db8::2:1"],
    ["2001:db8:0:1:1:1:1:1", "2001:db8:0:1:1:1:1:1"],
    ["2001:0:0:1:0:0:0:1", "2001:0:0:1::1"],
    ["2001:db8:0:0:1:0:0:1", "2001:db8::1:0:0:1"],
    ["2001:DB8::ABCD", "2001:db8::abcd"],
    ["::ffff:192.0.2.1", "::ffff:c000:201"],
    ["64:ff9b::192.0.2.33", "64:ff9b::c000:221"],
    ["1:2:3:4:5:6:1.2.3.4", "1:2:3:4:5:6:102:304"],
    ["1:2:3:4:5:6:7::", "1:2:3:4:5:6:7:0"],
    ["::2:3:4:5:6:7:8", "0:2:3:4:5:6:7:8"],
  ])("%s is %s", (text, expected) => {
    expect(parsed(text)).toBe(expected);
    expect(byUrl(text)).toBe(expected);
  });

  test.each([
    "",
    ":",
    ":::",
    "1",
    "1:2",
    "1:2:3:4:5:6:7",
    "1:2:3:4:5:6:7:8:9",
    "1::2::3",
    "1:2:3:4:5:6:7:8::",
    "::1:2:3:4:5:6:7:8",

    "1:2:3:4::5:6:7:8",
    ":1:2:3:4:5:6:7",
    "1:2:3:4:5:6:7:",
    "::1:",
    ":1::",
    "g::",
    "12345::",
    "::00001",
    "-1::",
    "+1::",

    "::1%lo",
    "::1%",
    "::1/128",
    "[::1]",
    " ::1",
    "::1 ",
    "::1\n",
    "::\u0661",
    "0x1::",
    "1e1::.",
    "::1.2.3",
    "::1.2.3.4.5",
    "::1.2.3.256",
    "::01.2.3.4",
    "::1.2.3.4:5",
    "1.2.3.4",
    "1.2.3.4::",
    "::ffff:1.2.3.-4",
    "1:2:3:4:5:6:7:1.2.3.4",
    "::" + "0".repeat(44),
    ":".repeat(40),
    "0:".repeat(30),
  ])("%j is refused", (text) => {
    expect(parsed(text)).toBeUndefined();
  });

  test("is judged as Node judges it, whatever the text", () => {
    const pieces = fc.constantFrom(
      "0",
      "00",
      "1",
      "fdaa",
      "ffff",
      "12345",
      ":",
      "::",
      ".",
      "1.2.3.4",
      "255",
      "%",
      "g",
      " ",
      "A",
    );
    const text = fc.oneof(
      fc.array(pieces, { maxLength: 16 }).map((all) => all.join("")),
      fc.string({ unit: "binary" }),
      fc.ipV6(),
    );
    fc.assert(
      fc.property(text, (candidate) => {
        const ours = parsed(candidate);
        // Node accepts zones; we have no use for them.
        expect(ours !== undefined).toBe(isIPv6(candidate) && !candidate.includes("%"));
        if (ours !== undefined) expect(ours).toBe(byUrl(candidate));
      }),
      { numRuns: 5000 },
    );
  });

  test("has exactly 16 bytes", () => {
    expect(() => address.fromBytes(new Uint8Array(15))).toThrow(RangeError);
    expect(() => address.fromBytes(new Uint8Array(17))).toThrow(RangeError);
  });

  test.each([
    ["fdaa::1%eth0", "fdaa::1"],
    ["::ffff:127.0.0.1", "127.0.0.1"],
    ["127.0.0.1", "127.0.0.1"],
    ["fdaa::1", "fdaa::1"],
  ])("as a socket reports it, %s is %s", (reported, expected) => {
    expect(address.plainAddress(reported)).toBe(expected);
  });
});

describe("the layout of the private network", () => {
  const inside = (cidr: string, ip: Ip6): boolean => {
    const [base = "", prefix = ""] = cidr.split("/");
    const list = new BlockList();
    list.addSubnet(base, Number(prefix), "ipv6");
    return list.check(ip, "ipv6");
  };

  test("matches the platform's published samples", () => {
    // superfly/docs networking/private-networking, networking/flycast, 2026-08-07.
    const samples: readonly [string, address.AddressKind, number][] = [
      ["fdaa:0:18:a7b:7d:f066:b83b:2", "machine", 0x18],
      ["fdaa:0:22b7:0:1::3", "flycast", 0x22b7],
      ["fdaa:3:9018:0:1::7", "flycast", 0x3_9018],
      ["fdaa:2:45b:0:1::11", "flycast", 0x2_045b],
      ["fdaa:0:18:a7b:d6b:0:a:2", "peer", 0x18],
      ["fdaa:0:4:a7b:ab6:0:a:102", "peer", 4],
    ];
    for (const [text, kind, id] of samples) {
      expect(address.kindOf(text as Ip6)).toBe(kind);
      expect(address.networkOf(text as Ip6)).toBe(id);
    }
    expect(address.flycastAddress(0x2_045b as NetworkId, 0x11)).toBe("fdaa:2:45b:0:1::11");
    expect(address.machineAddress(0x18 as NetworkId, 0x0a7b_007d as HostId, 0xf066_b83b)).toBe(
      "fdaa:0:18:a7b:7d:f066:b83b:2",
    );
    expect(address.peerAddress(4 as NetworkId, 0xab6, 1)).toBe("fdaa:0:4:a7b:ab6:0:a:102");
  });

  test("every address tells its network and what it is", () => {
    fc.assert(
      fc.property(
        network,
        host,
        u32,
        fc.integer({ min: 1, max: 0xffff_ffff }),
        fc.nat(0xffff),
        fc.nat(255),
        (...all) => {
          const [id, hostId, part, number, gateway, peer] = all;
          const flycast = address.flycastAddress(id, number);
          expect(address.kindOf(flycast)).toBe("flycast");
          expect(address.flycastNumber(flycast)).toBe(number);
          expect(address.kindOf(address.peerAddress(id, gateway, peer))).toBe("peer");
          expect(address.kindOf(address.dnsAddress(id))).toBe("dns");
          const machine = address.machineAddress(id, hostId, part);
          expect(address.kindOf(machine)).toBe("machine");
          expect(address.flycastNumber(machine)).toBeUndefined();
          for (const ip of [flycast, machine, address.dnsAddress(id), address.peerAddress(id, gateway, peer)]) {
            expect(address.networkOf(ip)).toBe(id);
            expect(inside(address.networkCidr(id), ip)).toBe(true);
            expect(inside(address.flycastCidr(id), ip)).toBe(ip === flycast);
            expect(parsed(ip)).toBe(ip);
          }
        },
      ),
      { numRuns: 500 },
    );
  });

  test("two networks share no address", () => {
    fc.assert(
      fc.property(network, network, groups, (a, b, all) => {
        fc.pre(a !== b);
        const ip = address.formatGroups([0xfdaa, a >>> 16, a & 0xffff, ...all.slice(3)] as unknown as address.Groups);
        expect(inside(address.networkCidr(b), ip)).toBe(false);
        expect(address.networkOf(ip)).toBe(a);
      }),
      { numRuns: 300 },
    );
  });

  test.each([
    ["fdaa::3", "dns"],
    ["fdaa::2", "other"],
    ["fdaa::", "other"],
    ["fdaa:1:2::3", "dns"],
    ["fdaa:1:2::", "other"],
    ["fdaa:1:2:0:1::", "other"],
    ["fdaa:1:2:0:1:1:0:1", "other"],
    ["fdaa:1:2:0:1::ffff:ffff", "flycast"],
    ["fdaa:0:0:0:1::1", "other"],
    ["fdab:1:2:0:1::1", "other"],
    ["::1", "other"],
    ["fdaa:1:2:3:4:5:6:7", "other"],
    ["fdaa:1:2:3:4:5:6:2", "machine"],
  ])("%s is of kind %s", (text, kind) => {
    expect(address.kindOf(text as Ip6)).toBe(kind);
  });

  test("addresses outside, and those of everybody, belong to no network", () => {
    expect(address.networkOf(address.ANY_DNS)).toBeUndefined();
    expect(address.networkOf("::1" as Ip6)).toBeUndefined();
    expect(address.networkOf("fdab:1:2::1" as Ip6)).toBeUndefined();
    expect(address.flycastNumber("fdaa:1:2::3" as Ip6)).toBeUndefined();
  });
});
