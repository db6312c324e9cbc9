import { describe, expect, test } from "vitest";
import type { RegionCode } from "../../src/core/ids.ts";
import { keyOf } from "../../src/dns/codec.ts";
import { isUnder, lookUp, zoneOf, type Asker, type Node } from "../../src/dns/zone.ts";
import { dnsAddress } from "../../src/network/address.ts";
import { HOME, IAD, Landscape, OTHER, machineId } from "./landscape.ts";

const HERE: Asker = { network: HOME, region: IAD };
const THERE: Asker = { network: OTHER, region: IAD };
const DISTANCES: Record<string, number> = { iad: 0, ewr: 7, ams: 80, syd: 200 };
const closeness = (_from: RegionCode, to: RegionCode): number => DISTANCES[to] ?? 1000;

function ask(landscape: Landscape, name: string, asker: Asker = HERE): Node | undefined | "not ours" {
  const key = keyOf(name.split("."));
  const zone = zoneOf(key);
  return zone === undefined ? "not ours" : lookUp(landscape.view, asker, zone, key, closeness);
}

/** The addresses that a name has, sorted; `undefined` for no such name, `"empty"` for a name without addresses. */
function addresses(landscape: Landscape, name: string, asker: Asker = HERE): readonly string[] | string | undefined {
  const node = ask(landscape, name, asker);
  if (node === undefined || node === "not ours") return node;
  if (node.kind !== "addresses") return node.kind;
  return node.order === "kept" ? node.addresses : node.addresses.toSorted();
}

function text(landscape: Landscape, name: string, asker: Asker = HERE): string | undefined {
  const node = ask(landscape, name, asker);
  if (node === undefined || node === "not ours") return node;
  return node.kind === "text" ? node.text : node.kind;
}

describe("an app's Machines", () => {
  const l = new Landscape().app("web").app("quiet").app("secret", OTHER);
  const iad = l.machine("web", "148e21dad76781", { group: "web", metadata: { role: "Primary", "x.y": "a.b" } });
  const ams = l.machine("web", "148e21dad76782", { region: "ams", group: "web", metadata: { role: "replica" } });
  const worker = l.machine("web", "148e21dad76783", { region: "ams", group: "Worker", state: "draining" });
  l.machine("web", "148e21dad76784", { region: "syd", state: "stopped", metadata: { role: "asleep" } });
  l.machine("web", "148e21dad76785", { region: "ewr", state: "suspended", group: "cron" });
  l.machine("web", "148e21dad76786", { region: "nrt", state: "destroyed" });
  l.machine("web", "148e21dad76787", { region: "lhr", skipDns: true, group: "hidden" });
  const secret = l.machine("secret", "248e21dad76781");
  const running = [iad, ams, worker].toSorted();

  test.each<[string, readonly string[] | string | undefined]>([
    ["web.internal", running],
    ["global.web.internal", running],
    ["iad.web.internal", [iad]],
    ["ams.web.internal", [ams, worker].toSorted()],
    // Known places without a running Machine are empty; what is no place is no name.
    ["syd.web.internal", []],
    ["fra.web.internal", []],
    ["lhr.web.internal", []],
    ["nowhere.web.internal", undefined],
    ["web.process.web.internal", [iad, ams].toSorted()],
    ["worker.process.web.internal", [worker]],
    ["cron.process.web.internal", []],
    ["hidden.process.web.internal", undefined],
    ["none.process.web.internal", undefined],
    ["148e21dad76781.vm.web.internal", [iad]],
    ["148e21dad76784.vm.web.internal", []],
    ["148e21dad76786.vm.web.internal", undefined],
    ["148e21dad76787.vm.web.internal", undefined],
    ["248e21dad76781.vm.web.internal", undefined],
    ["top1.nearest.of.web.internal", [iad]],
    ["top3.nearest.of.web.internal", [iad, ams, worker]],
    ["top99.nearest.of.web.internal", [iad, ams, worker]],
    ["top0.nearest.of.web.internal", undefined],
    ["top.nearest.of.web.internal", undefined],
    ["top12345.nearest.of.web.internal", undefined],
    ["primary.role.kv._metadata.web.internal", [iad]],
    ["asleep.role.kv._metadata.web.internal", []],
    ["a.b.x.y.kv._metadata.web.internal", [iad]],
    ["none.role.kv._metadata.web.internal", undefined],
    ["worker.fly_process_group.kv._metadata.web.internal", [worker]],
    ["quiet.internal", []],
    ["iad.quiet.internal", []],
    ["nope.internal", undefined],
    ["www.iad.web.internal", undefined],
    ["www.global.web.internal", undefined],
    // What exists only because something lies below it is empty: a resolver that asks downwards must not turn back.
    ["internal", "empty"],
    ["process.web.internal", "empty"],
    ["vm.web.internal", "empty"],
    ["of.web.internal", "empty"],
    ["nearest.of.web.internal", "empty"],
    ["_metadata.web.internal", "empty"],
    ["kv._metadata.web.internal", "empty"],
    ["role.kv._metadata.web.internal", "empty"],
    ["none.kv._metadata.web.internal", undefined],
    ["all.web.internal", "empty"],
  ])("%s", (name, expected) => {
    expect(addresses(l, name)).toEqual(expected);
  });

  test("another network's app has no name here, and this one's has none there", () => {
    expect(addresses(l, "secret.internal")).toBeUndefined();
    expect(addresses(l, "248e21dad76781.vm.secret.internal")).toBeUndefined();
    expect(addresses(l, "web.internal", THERE)).toBeUndefined();
    expect(addresses(l, "secret.internal", THERE)).toEqual([secret]);
  });

  test.each<[string, string | undefined]>([
    ["vms.web.internal", "148e21dad76781 iad,148e21dad76782 ams,148e21dad76783 ams"],
    [
      "all.vms.web.internal",
      "148e21dad76781 iad,148e21dad76782 ams,148e21dad76783 ams,148e21dad76784 syd,148e21dad76785 ewr",
    ],
    ["regions.web.internal", "ams,iad"],
    ["all.regions.web.internal", "ams,ewr,iad,syd"],
    ["vms.quiet.internal", ""],
    ["vms.nope.internal", undefined],
    ["x.vms.web.internal", undefined],
    ["_apps.internal", "quiet,web"],
    ["x._apps.internal", undefined],
    ["_nothing.internal", undefined],
  ])("%s says %s", (name, expected) => {
    expect(text(l, name)).toBe(expected);
  });

  test("_instances lists the running ones with commas inside and semicolons between", () => {
    expect(text(l, "_instances.internal")).toBe(
      [
        `instance=148e21dad76781,app=web,ip=${iad},region=iad`,
        `instance=148e21dad76782,app=web,ip=${ams},region=ams`,
        `instance=148e21dad76783,app=web,ip=${worker},region=ams`,
      ].join(";"),
    );
    expect(text(l, "all._instances.internal")?.split(";")).toHaveLength(5);
    expect(text(l, "_instances.internal", THERE)).toBe(`instance=248e21dad76781,app=secret,ip=${secret},region=iad`);
    expect(text(l, "x._instances.internal")).toBeUndefined();
  });

  test("a Machine is out of every answer as soon as it stops, and back as soon as it runs", () => {
    const own = new Landscape().app("db");
    const address = own.machine("db", machineId(1));
    expect(addresses(own, "db.internal")).toEqual([address]);
    for (const state of ["stopping", "stopped", "starting", "suspending", "suspended", "failed"] as const) {
      own.state(machineId(1), state);
      expect(addresses(own, "db.internal"), state).toEqual([]);
      expect(text(own, "all.vms.db.internal"), state).toBe(`${machineId(1)} iad`);
    }
    own.state(machineId(1), "started");
    expect(addresses(own, "db.internal")).toEqual([address]);
  });
});

describe("Flycast names", () => {
  const l = new Landscape().app("web").app("plain").app("secret", OTHER).app("shared", OTHER);
  const first = l.flycast("web", HOME, 3);
  const second = l.flycast("web", HOME, 7);
  const abroad = l.flycast("web", OTHER, 9);
  const shared = l.flycast("shared", HOME, 4);
  l.flycast("secret", OTHER, 5);

  test.each<[string, readonly string[] | string | undefined]>([
    ["web.flycast", [first, second]],
    ["shared.flycast", [shared]],
    // It is an app of this network, so it is no secret that it has no address.
    ["plain.flycast", []],
    ["secret.flycast", undefined],
    ["nope.flycast", undefined],
    ["iad.web.flycast", undefined],
    ["flycast", "empty"],
  ])("%s", (name, expected) => {
    expect(addresses(l, name)).toEqual(expected);
  });

  test("the answer is the addresses on the asker's network, whoever owns the app and whether or not it runs", () => {
    expect(addresses(l, "web.flycast", THERE)).toEqual([abroad]);
    expect(addresses(l, "shared.flycast", THERE)).toEqual([]);
    expect(addresses(l, "shared.internal")).toBeUndefined();
  });
});

describe("peers and the API", () => {
  const l = new Landscape();
  const laptop = l.peer("Laptop");
  const agent = l.peer("interactive-agent");
  l.peer("elsewhere", OTHER);

  test("a peer's name leads to its address, in any case", () => {
    expect(addresses(l, "laptop._peer.internal")).toEqual([laptop]);
    expect(addresses(l, "interactive-agent._peer.internal")).toEqual([agent]);
    expect(addresses(l, "elsewhere._peer.internal")).toBeUndefined();
  });

  test("the list of peers leaves interactive ones out", () => {
    expect(text(l, "_peer.internal")).toBe("Laptop");
    expect(text(l, "_peer.internal", THERE)).toBe("elsewhere");
  });

  test("_api.internal is the network's own DNS and API address", () => {
    expect(addresses(l, "_api.internal")).toEqual([dnsAddress(HOME)]);
    expect(addresses(l, "_api.internal", THERE)).toEqual([dnsAddress(OTHER)]);
    expect(addresses(l, "x._api.internal")).toBeUndefined();
  });
});

describe("whose name it is", () => {
  test.each<[string, string | undefined]>([
    ["web.internal", "internal"],
    ["internal", "internal"],
    ["web.flycast", "flycast"],
    ["3.0.0.0.a.a.d.f.ip6.arpa", "reverse"],
    ["example.com", undefined],
    ["internal.example", undefined],
    ["notinternal", undefined],
    ["8.8.8.8.in-addr.arpa", undefined],
    ["d.f.ip6.arpa", undefined],
  ])("%s", (name, zone) => {
    expect(zoneOf(keyOf(name.split(".")))?.name).toBe(zone);
  });

  test("bytes inside a label are no boundary", () => {
    // One label of nine bytes that holds the wire form of `internal`, length byte and all.
    const key = `\x09\x08internal`;
    expect(isUnder(key, "\x08internal")).toBe(false);
    expect(zoneOf(key)).toBeUndefined();
    expect(zoneOf(keyOf(["a\x08internal".slice(0, 3), "com"]))).toBeUndefined();
  });

  test("a label with a dot in it is not two labels", () => {
    const l = new Landscape().app("web");
    l.machine("web", machineId(1));
    expect(lookUp(l.view, HERE, zoneOf("\x08internal")!, "\x07iad.web\x08internal", closeness)).toBeUndefined();
    expect(zoneOf("\x0cweb.internal")).toBeUndefined();
  });
});
