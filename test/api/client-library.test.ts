import { createRequire } from "node:module";
import type FlyClient from "fly-admin/dist/client.js";
import type { AddressType } from "fly-admin/dist/lib/network.js";
import type { MachineConfig, MachineState } from "fly-admin/dist/lib/machine.js";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { CONFIG, NODE_TOKEN, TestApi } from "./harness.ts";

/** A client library of somebody else's, as it is: what it sends and how it reads answers is the platform's API, not ours. */
const { default: Client } = createRequire(import.meta.url)("fly-admin/dist/client.js") as {
  default: typeof FlyClient.default;
};

let api: TestApi;
let fly: FlyClient.default;
beforeAll(async () => {
  api = await TestApi.start();
  const url = `http://127.0.0.1:${api.port()}`;
  fly = new Client(NODE_TOKEN, { apiUrl: url, graphqlUrl: url });
});
afterAll(() => api.close());

const config = CONFIG as unknown as MachineConfig;
const state = (name: string): never => name as MachineState as never;

describe("fly-admin", () => {
  test("an app, from its beginning to its end", async () => {
    const { organization } = await fly.Organization.getOrganization("personal");
    expect(organization).toMatchObject({ slug: "personal", type: "PERSONAL", viewerRole: "admin" });
    const { platform } = await fly.Regions.getRegions();
    expect(platform.regions.map(({ code }) => code)).toContain("iad");

    await fly.App.createApp({ org_slug: "personal", app_name: "shop" });
    await expect(fly.App.createApp({ org_slug: "personal", app_name: "shop" })).rejects.toThrow("taken");
    expect(await fly.App.listApps("personal")).toMatchObject({
      total_apps: 1,
      apps: [{ name: "shop", machine_count: 0 }],
    });
    expect(await fly.App.getApp("shop")).toMatchObject({
      name: "shop",
      status: "pending",
      organization: { slug: "personal" },
    });

    const { allocateIpAddress } = await fly.Network.allocateIpAddress({
      appId: "shop",
      type: "private_v6" as AddressType,
    });
    const address = allocateIpAddress.ipAddress!.address;
    expect(address).toMatch(/^fdaa:/);
    await expect(fly.Network.allocateIpAddress({ appId: "shop", type: "v4" as AddressType })).rejects.toThrow(
      "private",
    );
    expect((await fly.App.getAppDetailed("shop")).ipAddresses).toMatchObject([{ type: "private_v6", address }]);
    await fly.Network.releaseIpAddress({ appId: "shop", ip: address });
    expect((await fly.App.getAppDetailed("shop")).ipAddresses).toEqual([]);

    expect(await fly.Secret.setSecrets({ appId: "shop", secrets: [{ key: "KEY", value: "v" }] })).toHaveProperty(
      "setSecrets",
    );
    expect(await fly.Secret.unsetSecrets({ appId: "shop", keys: ["KEY"] })).toHaveProperty("unsetSecrets");
    expect(await fly.Volume.listVolumes("shop")).toEqual([]);
    await fly.App.deleteApp("shop");
    await expect(fly.App.getApp("shop")).rejects.toThrow("404");
  });

  test("a Machine, from its beginning to its end", async () => {
    await fly.App.createApp({ org_slug: "personal", app_name: "work" });
    const made = await fly.Machine.createMachine({ app_name: "work", config, region: "iad" });
    const it = { app_name: "work", machine_id: made.id };
    expect(await fly.Machine.waitMachine({ ...it, state: state("started"), timeout: "10" })).toMatchObject({
      ok: true,
    });
    expect(await fly.Machine.getMachine(it)).toMatchObject({
      id: made.id,
      state: "started",
      instance_id: made.instance_id,
    });
    for (const asked of ["work", { app_name: "work", region: "iad" }])
      expect(await fly.Machine.listMachines(asked)).toMatchObject([{ id: made.id }]);
    expect(await fly.Machine.listMachines({ app_name: "work", region: "ams" })).toEqual([]);
    expect((await fly.Machine.listEvents(it)).map(({ type }) => type)).toContain("start");
    expect(await fly.Machine.listVersions(it)).toMatchObject([{ version: made.instance_id }]);
    expect(await fly.Machine.listProcesses(it)).toMatchObject([{ pid: expect.any(Number) }]);

    expect(await fly.Machine.cordonMachine(it)).toMatchObject({ ok: true });
    expect(await fly.Machine.uncordonMachine(it)).toMatchObject({ ok: true });
    expect(await fly.Machine.signalMachine({ ...it, signal: state("SIGHUP") })).toMatchObject({ ok: true });
    expect(await fly.Machine.restartMachine({ ...it, timeout: "5s" })).toMatchObject({ ok: true });
    expect(await fly.Machine.stopMachine({ ...it, timeout: "5s" })).toMatchObject({ ok: true });
    const stopped = { ...it, instance_id: made.instance_id, state: state("stopped"), timeout: "10s" };
    expect(await fly.Machine.waitMachine(stopped)).toMatchObject({ ok: true });
    await fly.Machine.startMachine(it);
    const updated = await fly.Machine.updateMachine({ ...it, config: { ...config, env: { A: "2" } } });
    expect(updated.instance_id).not.toBe(made.instance_id);

    const lease = await fly.Machine.acquireLease({ ...it, ttl: 1, description: "mine" });
    expect(lease).toMatchObject({ status: "success", data: { description: "mine", nonce: expect.any(String) } });
    expect((await fly.Machine.getLease(it)).data.expires_at).toBe(lease.data.expires_at);
    await expect(fly.Machine.stopMachine(it)).rejects.toThrow("409");
    await expect
      .poll(
        () =>
          fly.Machine.stopMachine(it).then(
            ({ ok }) => ok,
            () => false,
          ),
        { timeout: 5000 },
      )
      .toBe(true);
    expect(await fly.Machine.deleteMachine({ ...it, force: true })).toMatchObject({ ok: true });
  });

  test("what it may not do, it is told", async () => {
    const stranger = new Client("fct_no-such-token", { apiUrl: fly.getApiUrl(), graphqlUrl: fly.getGraphqlUrl() });
    await expect(stranger.App.listApps("personal")).rejects.toThrow("401");
    await expect(stranger.Organization.getOrganization("personal")).rejects.toThrow("401");
  });
});
