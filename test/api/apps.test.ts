import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { CONFIG, TestApi } from "./harness.ts";

let api: TestApi;
beforeAll(async () => {
  api = await TestApi.start();
});
afterAll(() => api.close());

describe("apps", () => {
  test("are made by either name of the field, and have every field that clients read", async () => {
    const made = await api.call("/v1/apps?wait=true", {
      body: { name: "one", org_slug: "personal", network: "", app_role_id: "" },
    });
    expect(made.status).toBe(201);
    expect(made.json).toMatchObject({
      id: "one",
      name: "one",
      network: "default",
      status: "pending",
      machine_count: 0,
      volume_count: 0,
      organization: { slug: "personal" },
      cname_target: "",
      app_role: "",
    });
    const other = await api.call("/v1/apps", { body: { app_name: "two", org_slug: "personal", network: "n1" } });
    expect(other.json).toMatchObject({ name: "two", network: "n1" });
    expect((await api.call("/v1/apps/two")).json).toEqual(other.json);
    // Nothing here has one of the platform's roles.
    expect((await api.call("/v1/apps?org_slug=personal&app_role=postgres_cluster")).json.apps).toEqual([]);
    expect((await api.call("/v1/apps?org_slug=personal")).json).toMatchObject({ total_apps: 2 });
    expect((await api.call("/v1/apps?org_slug=nobody")).json).toEqual({ total_apps: 0, apps: [] });
  });

  test("whose name is taken answer 422 with the status that clients know", async () => {
    const again = await api.call("/v1/apps", { body: { name: "one", org_slug: "personal" } });
    expect(again).toMatchObject({ status: 422, json: { status: "name_taken", code: "name_taken" } });
  });

  test("with Machines are deployed, and go with them", async () => {
    await api.call("/v1/apps", { body: { name: "busy", org_slug: "personal" } });
    const machine = (await api.call("/v1/apps/busy/machines", { body: { config: CONFIG } })).json;
    await api.call(`/v1/apps/busy/machines/${machine.id}/wait?state=started&timeout=5`);
    expect((await api.call("/v1/apps/busy")).json).toMatchObject({ status: "deployed", machine_count: 1 });
    expect((await api.call("/api/v1/apps/busy/releases/current")).json).toMatchObject({ id: machine.instance_id });
    expect((await api.call("/api/v1/releases/all_current")).json).toHaveProperty("busy");
    expect(await api.call("/v1/apps/busy", { method: "DELETE" })).toMatchObject({ status: 202, text: "" });
    expect((await api.call("/v1/apps/busy")).status).toBe(404);
    expect(api.driver.live.has(machine.id)).toBe(false);
  });

  test.each(["", "Upper", "a.b", "-a", "a".repeat(64), "../x", "a/b"])("the name %j is refused", async (name) => {
    expect((await api.call("/v1/apps", { body: { name, org_slug: "personal" } })).status).toBe(400);
  });
});

describe("addresses", () => {
  test("are allocated on the default network unless another is named, listed and released", async () => {
    await api.call("/v1/apps", { body: { name: "addressed", org_slug: "personal", network: "own" } });
    const path = "/v1/apps/addressed/ip_assignments";
    const body = { type: "private_v6", region: "", org_slug: "", network: "", service_name: "" };
    const plain = (await api.call(path, { body })).json;
    expect(plain).toMatchObject({ region: "global", service_name: "", shared: false });
    const own = (await api.call(path, { body: { ...body, network: "own" } })).json;
    expect(plain.ip.startsWith("fdaa:")).toBe(true);
    expect(own.ip.split(":").slice(0, 3)).not.toEqual(plain.ip.split(":").slice(0, 3));
    expect((await api.call(path)).json).toEqual({ ips: [plain, own] });
    expect(await api.call(`${path}/${plain.ip}`, { method: "DELETE" })).toMatchObject({ status: 200, text: "" });
    expect((await api.call(`${path}/${plain.ip}`, { method: "DELETE" })).status).toBe(404);
    expect(await api.call(`${path}/nonsense`, { method: "DELETE" })).toMatchObject({
      status: 400,
      json: { error: "Invalid IP address: 'nonsense'" },
    });
    expect((await api.call(path)).json).toEqual({ ips: [own] });
  });

  test.each(["v4", "v6", "shared_v4"])("of type %s are refused: there are no public ones", async (type) => {
    const answer = await api.call("/v1/apps/addressed/ip_assignments", { body: { type } });
    expect(answer).toMatchObject({ status: 422, json: { code: "unsupported" } });
  });
});

describe("the rest of what clients ask", () => {
  test("regions have capital names, and placements put everything where it is asked for", async () => {
    const regions = (await api.call("/v1/platform/regions")).json;
    expect(regions.Nearest).toBe("iad");
    expect(regions.Regions.find((one: { code: string }) => one.code === "ams")).toMatchObject({
      name: expect.any(String),
      latitude: expect.any(Number),
      deprecated: false,
      requires_paid_plan: false,
    });
    const placed = await api.call("/v1/platform/placements", { body: { region: "ams,fra,any", count: 3 } });
    expect(placed.json.Regions).toMatchObject([
      { Region: "ams", Count: 3 },
      { Region: "fra", Count: 0 },
    ]);
    const anywhere = await api.call("/v1/platform/placements", { body: { region: "", count: 0 } });
    expect(anywhere.json.Regions).toMatchObject([{ Region: "iad" }]);
  });

  test("what there is not is refused with the reason, and lists of it are empty", async () => {
    expect((await api.call("/v1/apps/one/volumes")).json).toEqual([]);
    const answer = await api.call("/v1/apps/one/volumes", { body: { name: "data", size_gb: 1 } });
    expect(answer).toMatchObject({ status: 422, json: { code: "unsupported" } });
    for (const path of ["volumes/vol_1/extend", "secretkeys", "certificates", "network_policies/x"])
      expect((await api.call(`/v1/apps/one/${path}`, { method: "PUT", body: {} })).status, path).toBe(422);
    expect((await api.call("/v1/postgres/clusters")).status).toBe(422);
    expect((await api.call("/v1/apps/none/volumes")).status).toBe(404);
  });

  test("an app without Machines has no release yet", async () => {
    expect((await api.call("/api/v1/apps/one/releases")).json).toEqual({ releases: [] });
    expect((await api.call("/api/v1/apps/one/releases/current")).status).toBe(404);
  });

  test("organizations have what the second API tells of them", async () => {
    const { organization } = (await api.call("/api/v1/organizations/personal?admin=true")).json;
    expect(organization).toMatchObject({ slug: "personal", raw_slug: "personal_org", personal: true, billable: true });
  });
});
