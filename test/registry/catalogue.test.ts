import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { HostId, Ip6, MachineId, NetworkId } from "../../src/core/ids.ts";
import { port, type WallTime } from "../../src/core/units.ts";
import { flycastAddress, machineAddress, peerAddress } from "../../src/network/address.ts";
import { Catalogue } from "../../src/registry/catalogue.ts";
import { decodeRecord, encodeRecord, type CatalogueEvent } from "../../src/registry/events.ts";
import { canonicalConfig, runsTheSame } from "../../src/registry/machine-codec.ts";
import type { App, FlycastAddress, Machine, Peer } from "../../src/registry/model.ts";
import { UlidSource } from "../../src/registry/ulid.ts";
import { contentsOf } from "./store.contract.ts";
import { appName, iad, machineConfig, networkName, org, personal, service, servicePort } from "./support.ts";

const time = 1_700_000_000_000 as WallTime;
const NETWORKS = [0x8000_0001, 0xffff_ffff] as NetworkId[];
const anyNetwork = fc.constantFrom(...NETWORKS);
const small = fc.integer({ min: 0, max: 5 });

const app = (n: number, network: NetworkId): App => ({
  name: appName(`app-${n}`),
  number: n + 1,
  org: personal,
  network,
  primaryRegion: n % 2 === 0 ? iad : undefined,
  protocol: "auto",
  idleSessions: "keep",
  tls: undefined,
  replayFrom: n % 3 === 0 ? [{ org: personal, network: networkName("other") }] : undefined,
  createdAt: time,
});
// A Machine stays on its app's network and keeps its address for life; an address keeps its app and network.
const networkOfApp = (n: number): NetworkId => NETWORKS[n % 2]!;
const machine = (n: number, ports: readonly number[], instance: number): Machine => ({
  id: n.toString(16).padStart(14, "0") as MachineId,
  name: `machine-${n}`,
  app: appName(`app-${n % 3}`),
  network: networkOfApp(n % 3),
  region: iad,
  host: 0x0002_0000 as HostId,
  address: machineAddress(networkOfApp(n % 3), 0x0002_0000 as HostId, n + 100),
  config: machineConfig({ services: ports.map((p) => service(8000 + p, [servicePort(p + 1)])) }),
  instance: String(instance).padStart(26, "0"),
  version: 1,
  cordoned: false,
  createdAt: time,
  updatedAt: time,
});
const address = (n: number): FlycastAddress => ({
  address: flycastAddress(NETWORKS[n % 2]!, n + 1),
  app: appName(`app-${n % 3}`),
  network: NETWORKS[n % 2]!,
  createdAt: time,
});
const peer = (n: number, network: NetworkId): Peer => ({
  name: `peer-${n}`,
  org: personal,
  network,
  region: iad,
  address: peerAddress(network, 7, n),
  publicKey: "k",
  createdAt: time,
});

const anyEvent: fc.Arbitrary<CatalogueEvent> = fc.oneof(
  small.map((n) => ({ kind: "app", value: app(n, networkOfApp(n)) }) as const),
  small.map((n) => ({ kind: "app-gone", name: appName(`app-${n}`) }) as const),
  fc
    .tuple(small, fc.array(small, { maxLength: 3 }), fc.nat(1000))
    .map(([n, ports, instance]) => ({ kind: "machine", value: machine(n, ports, instance) }) as const),
  small.map((n) => ({ kind: "machine-gone", id: machine(n, [], 0).id }) as const),
  small.map((n) => ({ kind: "address", value: address(n) }) as const),
  small.map((n) => ({ kind: "address-gone", address: address(n).address }) as const),
  fc.tuple(small, anyNetwork).map(([n, network]) => ({ kind: "peer", value: peer(n, network) }) as const),
  fc.tuple(small, anyNetwork).map(([n, network]) => ({ kind: "peer-gone", network, name: `peer-${n}` }) as const),
  small.map(
    (n) => ({ kind: "token", value: { id: `t${n}`, name: "x", org: undefined, hash: "h", createdAt: time } }) as const,
  ),
  small.map((n) => ({ kind: "token-gone", id: `t${n}` }) as const),
  fc
    .tuple(anyNetwork, fc.nat(9), fc.nat(9))
    .map(([network, a, p]) => ({ kind: "network-numbers", network, address: a, peer: p }) as const),
  small.map((n) => ({ kind: "numbers", organisation: n, app: n }) as const),
  small.map(
    (n) =>
      ({
        kind: "organisation",
        value: { slug: org(`o${n}`), name: "o", number: n, user: undefined, createdAt: time },
      }) as const,
  ),
  anyNetwork.map(
    (id) => ({ kind: "network", value: { id, org: personal, name: networkName(`n${id}`), createdAt: time } }) as const,
  ),
);
const history = fc.array(anyEvent, { maxLength: 60 });

function replay(events: readonly CatalogueEvent[]): Catalogue {
  const catalogue = new Catalogue();
  for (const event of events) catalogue.apply(event);
  return catalogue;
}

/** Every answer that the catalogue can give about the things of this test. */
function everyAnswer(catalogue: Catalogue): unknown {
  const numbers = [0, 1, 2, 3, 4, 5];
  return {
    contents: sorted(contentsOf(catalogue)),
    last: catalogue.lastNumbers,
    networks: NETWORKS.map((n) => ({
      network: catalogue.network(n),
      numbers: catalogue.numbersOf(n),
      apps: sorted([...catalogue.appsOn(n)]),
      addresses: sorted([...catalogue.addressesOn(n)]),
      machines: sorted([...catalogue.machinesOn(n)]),
      peers: sorted([...catalogue.peersOn(n)]),
    })),
    routes: numbers.map((n) => catalogue.routesOf(appName(`app-${n}`))),
    ports: numbers.map((n) => numbers.map((p) => catalogue.route(appName(`app-${n}`), port(p + 1)))),
    machineAt: numbers.map((n) => catalogue.machineAt(machine(n, [], 0).address)),
    addressAt: numbers.map((n) => catalogue.addressAt(address(n).address)),
    peerAt: numbers.map((n) => NETWORKS.map((id) => catalogue.peerAt(peer(n, id).address))),
  };
}

function sorted(value: unknown): unknown {
  if (Array.isArray(value))
    return value.map(sorted).toSorted((a, b) => (JSON.stringify(a) < JSON.stringify(b) ? -1 : 1));
  if (typeof value !== "object" || value === null || value instanceof Set) return value;
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, sorted(item)]));
}

describe("the catalogue", () => {
  test("a snapshot of any history answers every question as the history does", () => {
    fc.assert(
      fc.property(history, (events) => {
        const catalogue = replay(events);
        expect(everyAnswer(replay(catalogue.toEvents()))).toEqual(everyAnswer(catalogue));
      }),
      { numRuns: 150 },
    );
  });

  test("every index agrees with a search through everything, whatever happened", () => {
    fc.assert(
      fc.property(history, (events) => {
        const catalogue = replay(events);
        const machines = [...catalogue.machines()];
        for (const n of [0, 1, 2, 3, 4, 5]) {
          const name = appName(`app-${n}`);
          expect(sorted([...catalogue.machinesOf(name)])).toEqual(sorted(machines.filter((m) => m.app === name)));
          const listing = machines
            .filter((m) => m.app === name)
            .toSorted((a, b) =>
              a.instance === b.instance ? (a.id < b.id ? 1 : -1) : a.instance < b.instance ? 1 : -1,
            );
          for (const p of [1, 2, 3, 4, 5, 6]) {
            const services = listing.flatMap((m) => m.config.services);
            const expected = services.find((s) => s.ports.some(({ start, end }) => start <= p && p <= end));
            expect(catalogue.route(name, port(p))?.service).toEqual(expected);
          }
        }
        for (const m of machines) expect(catalogue.machineAt(m.address)).toBe(m);
        for (const network of NETWORKS) {
          expect(sorted([...catalogue.machinesOn(network)])).toEqual(
            sorted(machines.filter((m) => m.network === network)),
          );
          const peers = [...catalogue.peers()].filter((p) => p.network === network);
          expect(sorted([...catalogue.peersOn(network)])).toEqual(sorted(peers));
        }
      }),
      { numRuns: 150 },
    );
  });

  test("an event that comes twice does no harm", () => {
    fc.assert(
      fc.property(history, anyEvent, (events, event) => {
        const once = replay([...events, event]);
        const twice = replay([...events, event, event]);
        expect(everyAnswer(twice)).toEqual(everyAnswer(once));
      }),
      { numRuns: 100 },
    );
  });

  test("a record is read back as it was written", () => {
    fc.assert(
      fc.property(fc.nat(), history, (seq, events) => {
        expect(decodeRecord(encodeRecord({ seq, events }))).toStrictEqual({ seq, events });
      }),
      { numRuns: 100 },
    );
  });

  test("questions about what does not exist leave nothing behind", () => {
    const catalogue = replay([{ kind: "app", value: app(0, networkOfApp(0)) }]);
    const before = JSON.stringify(catalogue.toEvents());
    for (let i = 0; i < 100; i++) {
      expect(catalogue.route(appName(`guess-${i}`), port(80))).toBeUndefined();
      expect(catalogue.peerAt(`fdaa::${i}` as Ip6)).toBeUndefined();
    }
    expect(JSON.stringify(catalogue.toEvents())).toBe(before);
  });
});

describe("a Machine's config", () => {
  const hostile = fc.dictionary(
    fc.oneof(fc.string({ unit: "binary" }), fc.constant("__proto__")),
    fc.string({ unit: "binary" }),
  );

  test("survives JSON with any text in it", () => {
    fc.assert(
      fc.property(hostile, fc.jsonValue(), (env, raw) => {
        const config = canonicalConfig(machineConfig({ env, raw }));
        expect(Object.entries(config.env)).toEqual(Object.entries(env));
        expect(canonicalConfig(config)).toStrictEqual(config);
        expect(({} as Record<string, unknown>)["polluted"]).toBeUndefined();
      }),
    );
  });

  test("is refused when something is missing, extra or of another type", () => {
    const good = JSON.parse(JSON.stringify(machineConfig({ services: [] }))) as Record<string, unknown>;
    expect(() => canonicalConfig(good as never)).not.toThrow();
    for (const key of Object.keys(good).filter((name) => name !== "raw")) {
      const { [key]: _, ...without } = good;
      expect(() => canonicalConfig(without as never), key).toThrow(`config.${key}`);
      expect(() => canonicalConfig({ ...good, [key]: null } as never), key).toThrow(`config.${key}`);
    }
    expect(() => canonicalConfig({ ...good, extra: 1 } as never)).toThrow("config.extra");
  });

  test("runs the same when only metadata differs, wherever it stands", () => {
    const config = machineConfig({ raw: { image: "x", metadata: { a: "1" } } });
    expect(runsTheSame(config, { ...config, metadata: {}, raw: { image: "x" } })).toBe(true);
    expect(runsTheSame(config, { ...config, raw: { image: "y" } })).toBe(false);
    expect(runsTheSame(config, { ...config, command: ["other"] })).toBe(false);
  });
});

describe("ULIDs", () => {
  test("sort in the order in which they were made, whatever the clock and the dice do", () => {
    const bytes = fc.uint8Array({ minLength: 10, maxLength: 10 });
    const saturated = fc.constant(new Uint8Array(10).fill(255));
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.nat(2 ** 45), fc.oneof(bytes, saturated)), { minLength: 2 }), (steps) => {
        let random: Uint8Array = new Uint8Array(10);
        const source = new UlidSource(() => random);
        const made = steps.map(([at, drawn]) => {
          random = drawn;
          return source.next(at as WallTime);
        });
        for (const ulid of made) expect(ulid).toMatch(/^[0-7][0-9A-HJKMNP-TV-Z]{25}$/);
        expect(made.toSorted()).toEqual(made);
        expect(new Set(made).size).toBe(made.length);
      }),
    );
  });

  test("are those of the specification", () => {
    const source = new UlidSource(() => new Uint8Array(10));
    expect(source.next(1469918176385 as WallTime)).toBe("01ARYZ6S410000000000000000");
    expect(new UlidSource(() => new Uint8Array(10).fill(255)).next((2 ** 48 - 1) as WallTime)).toBe(
      "7ZZZZZZZZZZZZZZZZZZZZZZZZZ",
    );
  });
});
