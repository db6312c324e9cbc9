import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { AppError } from "../../src/core/errors.ts";
import type { AppName, Ip6, MachineId, NetworkId } from "../../src/core/ids.ts";
import { port } from "../../src/core/units.ts";
import { flycastNumber, kindOf, networkOf } from "../../src/network/address.ts";
import type { Registry } from "../../src/registry/commands.ts";
import { NEVER_STARTED } from "../../src/registry/model.ts";
import type { RegistryChange, RegistryView } from "../../src/registry/view.ts";
import {
  appName,
  defaultNetwork,
  iad,
  machineConfig,
  networkName,
  org,
  personal,
  service,
  servicePort,
} from "./support.ts";

/** One place that can be opened, closed and opened again, and that remembers in between. */
export interface StoreHarness {
  open(): Promise<Registry>;
  /** Removes what was kept. Whoever opened closes first. */
  destroy(): Promise<void>;
}

const KEY = Buffer.alloc(32, 7).toString("base64");
const HASH = "ab".repeat(32);

/** Everything durable that a view shows, as plain data. */
export function contentsOf(view: RegistryView): unknown {
  return {
    organisations: [...view.organisations()],
    networks: [...view.networks()],
    apps: [...view.apps()].map((app) => ({
      app,
      addresses: view.addressesOf(app.name),
      machines: view.machinesOf(app.name),
    })),
    machines: [...view.machines()],
    peers: [...view.peers()],
    tokens: [...view.tokens()],
  };
}

async function refusal(promise: Promise<unknown>): Promise<string> {
  return await promise.then(
    () => "no refusal",
    (error: AppError) => error.code,
  );
}

/** What every store must do. The file store and the Redis store both pass it. */
export function describeStore(name: string, makeHarness: () => Promise<StoreHarness>): void {
  describe(name, () => {
    let harness: StoreHarness;
    let registry: Registry;
    let home: NetworkId;

    beforeEach(async () => {
      harness = await makeHarness();
      registry = await harness.open();
      home = registry.view.networkNamed(personal, defaultNetwork)!.id;
    });
    afterEach(async () => {
      await registry.close();
      await harness.destroy();
    });

    async function reopen(): Promise<void> {
      await registry.close();
      registry = await harness.open();
    }

    async function makeApp(name: string, network = "default"): Promise<AppName> {
      return (await registry.commands.createApp({ name: appName(name), org: personal, network: networkName(network) }))
        .name;
    }

    test("the first open makes the organisation personal with a default network", () => {
      expect([...registry.view.organisations()].map(({ slug, number }) => ({ slug, number }))).toEqual([
        { slug: "personal", number: 1 },
      ]);
      expect([...registry.view.networks()]).toHaveLength(1);
      expect(home).toBeGreaterThanOrEqual(0x8000_0000);
      expect(home).toBeLessThanOrEqual(0xffff_ffff);
    });

    test("everything that was acknowledged is there after reopening, and equal", async () => {
      const { commands, view } = registry;
      await commands.createOrganisation({ slug: org("acme"), name: "Acme Inc.", user: "acme" });
      const other = await commands.ensureNetwork(org("acme"), networkName("Blue-1"));
      await commands.createApp({
        name: appName("web"),
        org: personal,
        network: networkName("custom"),
        primaryRegion: iad,
        protocol: "postgres",
        idleSessions: "end",
        tls: { cert: "/c", key: "/k" },
        replayFrom: [{ org: org("acme"), network: networkName("default") }],
      });
      await makeApp("gone");
      await commands.destroyApp(appName("gone"));
      await commands.allocateAddress(appName("web"), home);
      await commands.allocateAddress(appName("web"), other.id);
      const machine = await commands.createMachine({ app: appName("web"), region: iad, config: machineConfig() });
      await commands.updateMachine(machine.id, { cordoned: true, name: "renamed" });
      await commands.createPeer({ name: "laptop", network: home, region: iad, publicKey: KEY });
      await commands.createToken({ name: "ci", org: org("acme"), hash: HASH });
      const before = contentsOf(view);
      await reopen();
      expect(contentsOf(registry.view)).toStrictEqual(before);
      expect(registry.view.machine(machine.id)?.config).toStrictEqual(machineConfig());
    });

    test("names are taken once", async () => {
      const { commands } = registry;
      await makeApp("web");
      expect(await refusal(makeApp("web"))).toBe("name_taken");
      expect(await refusal(commands.createOrganisation({ slug: personal }))).toBe("name_taken");
      const input = { app: appName("web"), region: iad, config: machineConfig(), name: "one" };
      await commands.createMachine(input);
      expect(await refusal(commands.createMachine(input))).toBe("name_taken");
      const other = await commands.createMachine({ ...input, name: "two" });
      expect(await refusal(commands.updateMachine(other.id, { name: "one" }))).toBe("name_taken");
      await commands.updateMachine(other.id, { name: "two" });
      const peer = { name: "laptop", network: home, region: iad, publicKey: KEY };
      await commands.createPeer(peer);
      expect(await refusal(commands.createPeer(peer))).toBe("name_taken");
    });

    test("what does not exist is not found", async () => {
      const { commands } = registry;
      await makeApp("web");
      const nowhere = 1 as NetworkId;
      const nobody = "00000000000000" as MachineId;
      const codes = await Promise.all(
        [
          commands.ensureNetwork(org("nobody"), defaultNetwork),
          commands.createApp({ name: appName("x"), org: org("nobody"), network: defaultNetwork }),
          commands.updateApp(appName("nope"), {}),
          commands.destroyApp(appName("nope")),
          commands.allocateAddress(appName("nope"), home),
          commands.allocateAddress(appName("web"), nowhere),
          commands.releaseAddress(appName("web"), "fdaa::1:2" as Ip6),
          commands.releaseAddress(appName("nope"), "fdaa::1:2" as Ip6),
          commands.createMachine({ app: appName("nope"), region: iad, config: machineConfig() }),
          commands.updateMachine(nobody, {}),
          commands.removeMachine(nobody),
          commands.createPeer({ name: "a", network: nowhere, region: iad, publicKey: KEY }),
          commands.removePeer(home, "nope"),
          commands.createToken({ name: "a", org: org("nobody"), hash: HASH }),
          commands.revokeToken("nope"),
        ].map(refusal),
      );
      expect(new Set(codes)).toEqual(new Set(["not_found"]));
    });

    test("what is malformed is invalid", async () => {
      const { commands } = registry;
      await makeApp("web");
      const peer = { name: "a", network: home, region: iad, publicKey: KEY };
      const machine = { app: appName("web"), region: iad, config: machineConfig() };
      const codes = await Promise.all(
        [
          commands.createPeer({ ...peer, name: "A.b" }),
          commands.createPeer({ ...peer, name: "" }),
          commands.createPeer({ ...peer, publicKey: "x".repeat(44) }),
          commands.createPeer({ ...peer, publicKey: `${KEY}\n` }),
          commands.createToken({ name: "line\nfeed", org: undefined, hash: HASH }),
          commands.createToken({ name: "a", org: undefined, hash: "secret" }),
          commands.createOrganisation({ slug: org("acme"), name: "\u001b[31m" }),
          commands.createMachine({ ...machine, name: "-a" }),
          commands.createMachine({ ...machine, name: "a/../b" }),
          commands.createMachine({ ...machine, config: machineConfig({ command: [1] as never }) }),
          commands.createMachine({ ...machine, config: machineConfig({ services: undefined as never }) }),
        ].map(refusal),
      );
      expect(new Set(codes)).toEqual(new Set(["invalid"]));
    });

    test("a network is made once and keeps its id", async () => {
      const [a, b] = await Promise.all([
        registry.commands.ensureNetwork(personal, networkName("blue")),
        registry.commands.ensureNetwork(personal, networkName("blue")),
      ]);
      expect(a).toEqual(b);
      await reopen();
      expect(await registry.commands.ensureNetwork(personal, networkName("blue"))).toEqual(a);
      expect(registry.view.networkNamed(personal, networkName("blue"))).toEqual(a);
      expect(registry.view.network(a.id)).toEqual(a);
    });

    test("Flycast numbers count up on each network and are never given twice, released or not", async () => {
      const app = await makeApp("web");
      const other = await registry.commands.ensureNetwork(personal, networkName("other"));
      const first = await registry.commands.allocateAddress(app, home);
      const second = await registry.commands.allocateAddress(app, home);
      expect([first, second].map(({ address }) => flycastNumber(address))).toEqual([1, 2]);
      expect(flycastNumber((await registry.commands.allocateAddress(app, other.id)).address)).toBe(1);
      await registry.commands.releaseAddress(app, second.address);
      await reopen();
      const third = await registry.commands.allocateAddress(app, home);
      expect(flycastNumber(third.address)).toBe(3);
      await registry.commands.destroyApp(app);
      await reopen();
      const fourth = await registry.commands.allocateAddress(await makeApp("next"), home);
      expect(flycastNumber(fourth.address)).toBe(4);
      expect(networkOf(fourth.address)).toBe(home);
    });

    test("an address is the app's that holds it, and only that app can release it", async () => {
      const web = await makeApp("web");
      const api = await makeApp("api");
      const { address } = await registry.commands.allocateAddress(web, home);
      expect(await refusal(registry.commands.releaseAddress(api, address))).toBe("not_found");
      expect(registry.view.addressAt(address)).toMatchObject({ app: "web", network: home });
      expect(registry.view.addressesOf(web).map((a) => a.address)).toEqual([address]);
      expect([...registry.view.addressesOn(home)].map((a) => a.address)).toEqual([address]);
      await registry.commands.releaseAddress(web, address);
      expect(registry.view.addressAt(address)).toBeUndefined();
      expect(registry.view.addressesOf(web)).toEqual([]);
      expect([...registry.view.addressesOn(home)]).toEqual([]);
    });

    test("an app with Machines is not destroyed; without, its addresses go with it", async () => {
      const app = await makeApp("web");
      const { address } = await registry.commands.allocateAddress(app, home);
      const machine = await registry.commands.createMachine({ app, region: iad, config: machineConfig() });
      expect(await refusal(registry.commands.destroyApp(app))).toBe("conflict");
      await registry.commands.removeMachine(machine.id);
      await registry.commands.destroyApp(app);
      expect(registry.view.app(app)).toBeUndefined();
      expect(registry.view.addressAt(address)).toBeUndefined();
      expect([...registry.view.appsOn(home)]).toEqual([]);
      // The number is not given again either: it may stand in somebody's records.
      const again = await registry.commands.createApp({ name: app, org: personal, network: defaultNetwork });
      expect(again.number).toBe(2);
    });

    test("a Machine has an id, a name and an address of its own, on its app's network", async () => {
      const app = await makeApp("web", "custom");
      const machines = await Promise.all(
        Array.from({ length: 20 }, () =>
          registry.commands.createMachine({ app, region: iad, config: machineConfig() }),
        ),
      );
      for (const machine of machines) {
        expect(machine.id).toMatch(/^[0-9a-f]{14}$/);
        expect(machine.instance).toMatch(/^[0-9A-HJKMNP-TV-Z]{26}$/);
        expect(kindOf(machine.address)).toBe("machine");
        expect(networkOf(machine.address)).toBe(registry.view.app(app)?.network);
        expect(registry.view.machineAt(machine.address)).toEqual(machine);
        expect(machine).toMatchObject({ version: 1, cordoned: false, region: "iad" });
      }
      for (const key of ["id", "name", "address", "instance"] as const) {
        expect(new Set(machines.map((machine) => machine[key])).size).toBe(20);
      }
      expect(new Set(machines.map((machine) => machine.host)).size).toBe(1);
      expect(registry.view.machinesOf(app).toSorted(byId)).toEqual(machines.toSorted(byId));
    });

    test("an update makes a new version, unless it changes metadata alone", async () => {
      const app = await makeApp("web");
      const first = await registry.commands.createMachine({ app, region: iad, config: machineConfig() });
      const same = await registry.commands.updateMachine(first.id, {
        config: machineConfig({
          metadata: { role: "replica" },
          raw: { image: "x", nested: [1, null, { a: true }], metadata: {} },
        }),
        cordoned: true,
      });
      expect(same).toMatchObject({ version: 1, instance: first.instance, cordoned: true, address: first.address });
      expect(same.config.metadata).toEqual({ role: "replica" });
      const next = await registry.commands.updateMachine(first.id, { config: machineConfig({ env: { A: "2" } }) });
      expect(next).toMatchObject({ version: 2, cordoned: true, createdAt: first.createdAt, address: first.address });
      expect(next.instance > first.instance).toBe(true);
    });

    test("an update to what is there already changes nothing and tells nobody", async () => {
      const app = await makeApp("web");
      const machine = await registry.commands.createMachine({ app, region: iad, config: machineConfig(), name: "one" });
      const told: string[] = [];
      registry.changes.subscribe((change) => told.push(change.kind));
      const change = { config: machineConfig(), name: "one", cordoned: false };
      expect(await registry.commands.updateMachine(machine.id, change)).toBe(registry.view.machine(machine.id));
      expect(await registry.commands.updateApp(app, { protocol: "auto" })).toBe(registry.view.app(app));
      expect(told).toEqual([]);
    });

    test("what the caller does to its own object later changes nothing", async () => {
      const app = await makeApp("web");
      const env: Record<string, string> = { A: "1" };
      const machine = await registry.commands.createMachine({ app, region: iad, config: machineConfig({ env }) });
      env["A"] = "changed";
      expect(registry.view.machine(machine.id)?.config.env).toEqual({ A: "1" });
    });

    test("routes come from the newest Machine that lists the port", async () => {
      const app = await makeApp("web");
      const old = machineConfig({ services: [service(8080, [servicePort(80), servicePort(5000, 5010)])] });
      const first = await registry.commands.createMachine({ app, region: iad, config: old });
      expect(registry.view.route(app, port(80))?.service.internalPort).toBe(8080);
      expect(registry.view.route(app, port(5005))?.service.internalPort).toBe(8080);
      expect(registry.view.route(app, port(81))).toBeUndefined();
      const young = machineConfig({ services: [service(9090, [servicePort(80), servicePort(5005)])] });
      const second = await registry.commands.createMachine({ app, region: iad, config: young });
      expect(registry.view.route(app, port(80))?.service.internalPort).toBe(9090);
      expect(registry.view.route(app, port(5005))?.service.internalPort).toBe(9090);
      expect(registry.view.route(app, port(5006))?.service.internalPort).toBe(8080);
      expect(registry.view.routesOf(app).map((r) => [r.port.start, r.port.end])).toEqual([
        [80, 80],
        [5000, 5010],
        [5005, 5005],
      ]);
      await registry.commands.updateMachine(first.id, {
        config: machineConfig({ services: [service(7070, [servicePort(80)])] }),
      });
      expect(registry.view.route(app, port(80))?.service.internalPort).toBe(7070);
      expect(registry.view.route(app, port(5006))).toBeUndefined();
      await registry.commands.removeMachine(first.id);
      await registry.commands.removeMachine(second.id);
      expect(registry.view.route(app, port(80))).toBeUndefined();
      expect(registry.view.routesOf(app)).toEqual([]);
      expect(registry.view.route(appName("nope"), port(80))).toBeUndefined();
    });

    test("a peer owns the /120 around its address, and no address is given twice", async () => {
      const input = { name: "laptop", network: home, region: iad, publicKey: KEY };
      const peer = await registry.commands.createPeer(input);
      expect(kindOf(peer.address)).toBe("peer");
      expect(registry.view.peerAt(peer.address)).toEqual(peer);
      expect(registry.view.peerAt(peer.address.replace(/02$/, "ff") as Ip6)).toEqual(peer);
      expect(registry.view.peer(home, "laptop")).toEqual(peer);
      expect([...registry.view.peersOn(home)]).toEqual([peer]);
      await registry.commands.removePeer(home, "laptop");
      expect(registry.view.peerAt(peer.address)).toBeUndefined();
      await reopen();
      expect((await registry.commands.createPeer(input)).address).not.toBe(peer.address);
    });

    test("tokens come and go", async () => {
      const token = await registry.commands.createToken({ name: "ci", org: undefined, hash: HASH });
      expect([...registry.view.tokens()]).toEqual([token]);
      await registry.commands.revokeToken(token.id);
      expect([...registry.view.tokens()]).toEqual([]);
    });

    test("updating an app changes what is named and nothing else", async () => {
      const app = await makeApp("web");
      const changed = await registry.commands.updateApp(app, { protocol: "tcp", tls: { cert: "/c", key: "/k" } });
      expect(changed).toMatchObject({ protocol: "tcp", idleSessions: "keep", tls: { cert: "/c", key: "/k" } });
      const back = await registry.commands.updateApp(app, { tls: undefined, primaryRegion: iad });
      expect(back).toMatchObject({ protocol: "tcp", tls: undefined, primaryRegion: "iad" });
      const replayFrom = [{ org: org("acme"), network: networkName("default") }];
      expect(await registry.commands.updateApp(app, { replayFrom })).toEqual({ ...back, replayFrom });
      expect(await registry.commands.updateApp(app, { replayFrom: [] })).toEqual({ ...back, replayFrom: [] });
      expect(registry.view.app(app)).toEqual({ ...back, replayFrom: [] });
    });

    test("changes are told in order, after they can be read, and before the command answers", async () => {
      const told: string[] = [];
      registry.changes.subscribe((change) => {
        if (change.kind === "app") expect(registry.view.app(change.name) !== undefined).toBe(told.length === 0);
        told.push(describeChange(change));
      });
      const app = await makeApp("web");
      expect(told).toEqual(["app web"]);
      const { address } = await registry.commands.allocateAddress(app, home);
      const machine = await registry.commands.createMachine({ app, region: iad, config: machineConfig() });
      registry.setStatus(machine.id, { ...NEVER_STARTED, state: "started" });
      await registry.commands.removeMachine(machine.id);
      await registry.commands.destroyApp(app);
      expect(told).toEqual([
        "app web",
        `address ${address}`,
        `machine ${machine.id}`,
        `status started`,
        `machine ${machine.id} gone`,
        `address ${address} gone`,
        "app web",
      ]);
    });

    test("a listener that throws hurts nobody, and one that unsubscribed hears no more", async () => {
      const heard: string[] = [];
      registry.changes.subscribe(() => {
        throw new Error("boom");
      });
      const stop = registry.changes.subscribe((change) => {
        heard.push(change.kind);
        stop();
      });
      await makeApp("a");
      await makeApp("b");
      expect(heard).toEqual(["app"]);
    });

    test("statuses are memory: they are read at once, forgotten with the Machine and with the process", async () => {
      const app = await makeApp("web");
      const machine = await registry.commands.createMachine({ app, region: iad, config: machineConfig() });
      expect(registry.view.status(machine.id)).toBe(NEVER_STARTED);
      const started = { ...NEVER_STARTED, state: "started", generation: 3 } as const;
      registry.setStatus(machine.id, started);
      expect(registry.view.status(machine.id)).toBe(started);
      registry.setStatus("ffffffffffffff" as MachineId, started);
      expect(registry.view.status("ffffffffffffff" as MachineId)).toBe(NEVER_STARTED);
      await reopen();
      expect(registry.view.status(machine.id)).toBe(NEVER_STARTED);
    });

    test("a thousand commands at once all get what is theirs alone", async () => {
      const app = await makeApp("web");
      const addresses = await Promise.all(
        Array.from({ length: 1000 }, () => registry.commands.allocateAddress(app, home)),
      );
      const numbers = addresses.map(({ address }) => flycastNumber(address)!);
      expect(numbers.toSorted((a, b) => a - b)).toEqual(Array.from({ length: 1000 }, (_, i) => i + 1));
      await reopen();
      expect(registry.view.addressesOf(app)).toHaveLength(1000);
    });

    test("of two that want one name, exactly one gets it", async () => {
      const outcomes = await Promise.all([makeApp("web"), makeApp("web"), makeApp("web")].map(refusal));
      expect(outcomes.toSorted()).toEqual(["name_taken", "name_taken", "no refusal"]);
    });

    test("closing waits for what was asked, and refuses what comes later", async () => {
      const last = makeApp("last");
      const closed = registry.close();
      const late = refusal(makeApp("late"));
      await last;
      await closed;
      expect(await late).toBe("conflict");
      registry = await harness.open();
      expect(registry.view.app(appName("last"))).toBeDefined();
      expect(registry.view.app(appName("late"))).toBeUndefined();
    });
  });
}

function byId(a: { readonly id: string }, b: { readonly id: string }): number {
  return a.id < b.id ? -1 : 1;
}

function describeChange(change: RegistryChange): string {
  switch (change.kind) {
    case "app":
      return `app ${change.name}`;
    case "address":
      return `address ${change.address}${change.gone ? " gone" : ""}`;
    case "machine":
      return `machine ${change.id}${change.gone ? " gone" : ""}`;
    case "status":
      return `status ${change.status.state}`;
    default:
      return change.kind;
  }
}
