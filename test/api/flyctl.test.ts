import { buildSchema, isObjectType } from "graphql";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { SDL } from "../../src/api/graphql/schema.ts";
import {
  APPS,
  IPS,
  MACHINES,
  ORGS,
  PLATFORM,
  REFUSED,
  SECRETS,
  TOKENS,
  VIEWER,
  WIREGUARD,
  type FlyctlDocument,
} from "./flyctl-documents.ts";
import { DECODED, misfits } from "./flyctl-values.ts";
import { CONFIG, TestApi, type Answer, type Json } from "./harness.ts";

const schema = buildSchema(SDL);
let api: TestApi;
let machine: string;
beforeAll(async () => {
  api = await TestApi.start();
  await api.call("/flycast/v1/orgs", { body: { slug: "acme", name: "Acme" } });
  await api.call("/v1/apps?wait=true", { body: { name: "web", org_slug: "personal", network: "", app_role_id: "" } });
  machine = (await api.call("/v1/apps/web/machines", { body: { config: CONFIG, region: "iad" } })).json.id;
  await api.call(`/v1/apps/web/machines/${machine}/wait?timeout=10&state=started`);
});
afterAll(() => api.close());

const HEADERS = {
  accept: "application/json; charset=utf-8",
  "content-type": "application/json; charset=utf-8",
  "user-agent": "flyctl/0.4.50",
  "fly-force-trace": "true",
};

function post({ query, operationName }: FlyctlDocument, variables: object): Promise<Answer> {
  // Hand-written queries lose their white space on the way; generated ones keep it, comments included.
  const body =
    operationName === undefined
      ? { query: query.trim().replaceAll(/\s+/g, " "), variables }
      : { query, variables, operationName };
  return api.call("/graphql", { body, headers: HEADERS });
}

/** Asks as flyctl does. Whatever it selects is there, with a value of its type. */
async function ask(document: FlyctlDocument, variables: object = {}): Promise<Json> {
  const { status, json } = await post(document, variables);
  expect(status).toBe(200);
  expect(json.errors).toBeUndefined();
  expect(misfits(schema, document.query, json.data)).toEqual([]);
  return json.data;
}

async function refusalOf(document: FlyctlDocument, variables: object = {}): Promise<Json> {
  const { status, json } = await post(document, variables);
  expect(status).toBe(200);
  return json.errors[0];
}

test("the schema has the types that flyctl decodes answers into", () => {
  for (const [place, expected] of Object.entries(DECODED)) {
    const [type = "", field = ""] = place.split(".");
    const found = schema.getType(type);
    expect.soft(isObjectType(found) ? String(found.getFields()[field]?.type) : undefined, place).toBe(expected);
  }
});

describe("who and where", () => {
  test("auth whoami", async () => {
    expect((await ask(VIEWER)).viewer).toMatchObject({ email: "flycast@localhost" });
  });

  test("orgs list, show and create", async () => {
    const { organizations } = await ask(ORGS.list, { admin: false });
    expect(organizations.nodes.map((org: Json) => org.slug)).toEqual(["personal", "acme"]);
    expect((await ask(ORGS.details, { slug: "acme" })).organizationdetails).toMatchObject({
      slug: "acme",
      type: "SHARED",
    });
    expect((await ask(ORGS.bySlug, { slug: "personal" })).organization.internalNumericId).toBe("1");
    expect((await ask(ORGS.generated, { slug: "acme" })).organization.provisionsBetaExtensions).toBe(false);
    expect((await ask(ORGS.apps, { orgSlug: "personal" })).organization.apps.nodes).toMatchObject([{ id: "web" }]);
    await ask(ORGS.replays, { slug: "personal" });
    const made = await ask(ORGS.create, { input: { name: "Made here" } });
    expect(made.createOrganization.organization).toMatchObject({ slug: "made-here", name: "Made here" });
    expect(await refusalOf(ORGS.bySlug, { slug: "nobody" })).toMatchObject({ extensions: { code: "NOT_FOUND" } });
  });

  test("orgs by its newer API", async () => {
    const list = await api.call("/api/v1/organizations?admin=false", { headers: HEADERS });
    expect(list.json.organizations[0]).toMatchObject({ id: "personal", internal_numeric_id: 1, personal: true });
    expect((await api.call("/api/v1/organizations/acme")).json.organization).toMatchObject({ slug: "acme" });
    expect((await api.call("/api/v1/organizations/nobody")).status).toBe(404);
  });

  test("platform regions and vm-sizes", async () => {
    expect((await ask(PLATFORM.regions)).platform.regions.length).toBeGreaterThan(15);
    for (const document of [PLATFORM.nearest, PLATFORM.nearestGenerated])
      expect((await ask(document)).nearestRegion.code).toBe("iad");
    expect((await ask(PLATFORM.vmSizes)).platform.vmSizes[0]).toMatchObject({ name: "shared-cpu-1x", memoryMb: 256 });
    const { json } = await api.call("/v1/platform/regions?size=shared-cpu-1x", { headers: HEADERS });
    expect(json).toMatchObject({ Nearest: "iad", Regions: expect.any(Array) });
  });
});

describe("apps", () => {
  test("list, by each of the ways there were", async () => {
    const { apps } = await ask(APPS.list, { after: "" });
    expect(apps.nodes).toMatchObject([{ name: "web", deployed: true, currentRelease: { status: "complete" } }]);
    const times = await api.call("/api/v1/releases/all_current");
    expect(Date.parse(times.json.web)).toBeGreaterThan(0);
    expect((await api.call("/v1/apps?org_slug=personal")).json.apps).toMatchObject([
      { name: "web", network: "default", internal_numeric_id: expect.any(Number), app_role: "" },
    ]);
    expect((await ask(APPS.byRole, { role: "postgres_cluster", organizationId: "personal" })).apps.nodes).toEqual([]);
    expect((await ask(APPS.list, { role: "postgres_cluster", after: "" })).apps.nodes).toEqual([]);
  });

  test("one app, as each command asks for it", async () => {
    const variables = { appName: "web" };
    for (const document of [
      APPS.compact,
      APPS.basic,
      APPS.network,
      APPS.hostIssues,
      APPS.long,
      APPS.remoteBuilder,
      APPS.lock,
    ])
      await ask(document, variables);
    expect((await ask(APPS.compact, variables)).appcompact).toMatchObject({ id: "web", status: "deployed" });
    expect((await ask(APPS.long, variables)).app).toMatchObject({
      services: [{ protocol: "tcp", internalPort: 8080, ports: [{ port: 80, handlers: ["http"] }] }],
      machines: { nodes: [{ id: machine, config: { image: CONFIG.image }, ips: { nodes: [{ maskSize: 112 }] } }] },
    });
    await ask(APPS.generated, { name: "web" });
    expect((await ask(APPS.withAddOns, { name: "web", addOnType: "tigris" })).app.addOns.nodes).toEqual([]);
    expect(await refusalOf(APPS.compact, { appName: "none" })).toMatchObject({
      message: 'Could not find App "none"',
      extensions: { code: "NOT_FOUND" },
    });
  });

  test("create and destroy", async () => {
    expect((await ask(APPS.nameAvailable, { appName: "short" })).appNameAvailable).toBe(true);
    await ask(APPS.create, { input: { organizationId: "acme", name: "short", machines: true } });
    const again = { input: { organizationId: "acme", name: "short", machines: true } };
    expect((await refusalOf(APPS.createGenerated, again)).message).toMatch(/^Name has already been taken/);
    await ask(APPS.destroy, { appId: "short" });
    expect((await ask(APPS.createGenerated, again)).createApp.app.regions).toEqual([]);
    expect((await api.call("/v1/apps/short", { method: "DELETE" })).status).toBe(202);
  });
});

describe("ips", () => {
  test("list, allocate-v6 --private and release, by GraphQL", async () => {
    const input = { appId: "web", type: "private_v6", region: "", organizationId: "acme", network: "default" };
    const { ipAddress } = (await ask(IPS.allocate, { input })).allocateIpAddress;
    expect((await ask(IPS.list, { appName: "web" })).app).toMatchObject({
      ipAddresses: { nodes: [{ address: ipAddress.address, network: { organization: { slug: "acme" } } }] },
      sharedIpAddress: null,
    });
    await ask(IPS.release, { input: { appId: "web", ip: ipAddress.address, ipAddressId: null } });
    expect((await ask(IPS.egress, { appName: "web" })).app.machines.nodes).toHaveLength(1);
  });

  test("the same by REST, with the network that the address lives on", async () => {
    const body = { type: "private_v6", region: "", org_slug: "acme", network: "", service_name: "" };
    const { json } = await api.call("/v1/apps/web/ip_assignments", { body });
    expect(json).toMatchObject({ network: { name: "", org_slug: "acme" }, egress: false, shared: false });
    expect((await api.call("/v1/apps/web/ip_assignments")).json.ips).toMatchObject([json]);
    expect((await api.call(`/v1/apps/web/ip_assignments/${json.ip}`, { method: "DELETE" })).status).toBe(200);
  });

  test("public ones are refused in words that say what to do", async () => {
    const input = { appId: "web", type: "shared_v4", region: "" };
    for (const document of [IPS.allocate, IPS.allocateShared])
      expect(await refusalOf(document, { input })).toMatchObject({
        message: expect.stringContaining("--no-public-ips"),
        extensions: { code: "UNPROCESSABLE" },
      });
  });
});

describe("wireguard", () => {
  test("create, list, validate and remove", async () => {
    const pubkey = Buffer.alloc(32, 9).toString("base64");
    const input = { organizationId: "personal", region: "iad", name: "laptop", pubkey, nats: false };
    const { peerip } = (await ask(WIREGUARD.create, { input })).addWireGuardPeer;
    expect((await ask(WIREGUARD.list, { slug: "personal" })).organization.wireGuardPeers.nodes).toMatchObject([
      { peerip },
    ]);
    await ask(WIREGUARD.one, { slug: "personal", name: "laptop" });
    const { validateWireGuardPeers } = await ask(WIREGUARD.validate, { input: { peerIps: [peerip, "fdaa::9"] } });
    expect(validateWireGuardPeers.invalidPeerIps).toEqual(["fdaa::9"]);
    await ask(WIREGUARD.nearest);
    expect((await ask(WIREGUARD.tokens, { slug: "personal" })).organization.delegatedWireGuardTokens.nodes).toEqual([]);
    await ask(WIREGUARD.remove, { input: { organizationId: "personal", name: "laptop" } });
  });
});

describe("machines", () => {
  test("one without its app, its events, and what the agent wants to know", async () => {
    expect((await ask(MACHINES.one, { machineId: machine })).gqlmachine.app.name).toBe("web");
    const { events } = (await ask(MACHINES.events, { machineId: machine })).gqlmachine;
    expect(events.nodes.map((event: Json) => event.kind)).toContain("launch");
    expect((await ask(MACHINES.instances, { appName: "web" })).app.machines.nodes).toMatchObject([
      { state: "started", ips: { nodes: [{ kind: "privatenet", family: "v6" }] } },
    ]);
  });
});

describe("logs", () => {
  test("are polled: the last lines, then what came since", async () => {
    const first = await api.call("/api/v1/apps/web/logs?next_token=", { headers: HEADERS });
    expect(first.json.data).toMatchObject([
      {
        id: expect.any(String),
        attributes: { timestamp: "2026-01-01T00:00:00.000Z", message: "hello", instance: machine, region: "iad" },
      },
    ]);
    const token = encodeURIComponent(first.json.meta.next_token);
    const next = await api.call(`/api/v1/apps/web/logs?next_token=${token}&instance=${machine}&region=iad`);
    expect(next.json).toEqual({ data: [], meta: { next_token: first.json.meta.next_token } });
    expect((await api.call("/api/v1/apps/web/logs?next_token=&region=ams")).json.data).toEqual([]);
    expect((await api.call("/api/v1/apps/web/logs?next_token=other")).status).toBe(400);
    expect((await api.call("/api/v1/apps/none/logs?next_token=")).status).toBe(404);
  });
});

describe("secrets", () => {
  test("set, list and unset, by GraphQL and by REST", async () => {
    const input = {
      appId: "web",
      secrets: [
        { key: "ONE", value: "hunter2" },
        { key: "TWO", value: "x" },
      ],
    };
    expect((await ask(SECRETS.set, { input })).setSecrets.release).toMatchObject({ version: 1 });
    const { secrets } = (await ask(SECRETS.list, { appName: "web" })).app;
    expect(secrets.map((secret: Json) => secret.name)).toEqual(["ONE", "TWO"]);
    expect(JSON.stringify(secrets)).not.toContain("hunter2");
    await ask(SECRETS.unset, { input: { appId: "web", keys: ["ONE"] } });
    const rest = await api.call("/v1/apps/web/secrets?show_secrets=true", { headers: HEADERS });
    expect(rest.json.secrets).toMatchObject([{ name: "TWO" }]);
    expect((await api.call("/v1/apps/web/secrets", { body: { values: { TWO: null } } })).json.secrets).toEqual([]);
    expect(
      await refusalOf(SECRETS.set, { input: { appId: "web", secrets: [{ key: "A-B", value: "" }] } }),
    ).toMatchObject({
      extensions: { code: "INVALID" },
    });
  });
});

describe("tokens", () => {
  test("create org, list and revoke: the token is told once, and works", async () => {
    const variables = {
      name: "ci",
      organizationId: "acme",
      profile: "deploy_organization",
      profileParams: {},
      expiry: "175200h0m0s",
    };
    const { tokenHeader } = (await ask(TOKENS.create, variables)).createLimitedAccessToken.limitedAccessToken;
    expect(tokenHeader).toMatch(/^FlyV1 flycast_/);
    const seen = await api.call("/v1/tokens/current", { token: null, headers: { authorization: tokenHeader } });
    expect(seen.json.tokens).toMatchObject([{ org_slug: "acme" }]);
    const { nodes } = (await ask(TOKENS.ofOrg, { slug: "acme" })).orgLimitedAccessTokens.limitedAccessTokens;
    expect(nodes).toMatchObject([{ name: "ci", revokedAt: null }]);
    expect((await ask(TOKENS.ofApp, { appName: "web" })).appLimitedAccessTokens.limitedAccessTokens.nodes).toEqual([]);
    await ask(TOKENS.revoke, { input: { id: nodes[0].id } });
    expect((await api.call("/v1/apps", { token: null, headers: { authorization: tokenHeader } })).status).toBe(401);
  });

  test.each([
    ["of one app", { profile: "deploy", expiry: "175200h0m0s" }],
    ["that ends", { profile: "deploy_organization", expiry: "1h0m0s" }],
  ])("one %s is refused: it would be more than was asked for", async (_what, change) => {
    const variables = { name: "ci", organizationId: "acme", profileParams: { app_id: "web" }, ...change };
    expect((await refusalOf(TOKENS.create, variables)).extensions).toEqual({
      code: "UNPROCESSABLE",
      flycast: "unsupported",
    });
  });
});

describe("what this node does not do", () => {
  test.each(REFUSED)("%s is refused by its name, with what to do instead", async (name, query) => {
    const { message } = await refusalOf({ query }, { input: {} });
    expect(message).toMatch(new RegExp(`^this node does not support the (query|mutation) "${name}": .{20}`));
  });

  test.each([
    ["POST", "/v1/apps/web/volumes"],
    ["GET", "/v1/apps/web/volumes/vol_1"],
    ["POST", "/v1/apps/web/secretkeys/k/generate"],
    ["POST", "/v1/apps/web/certificates/acme"],
    ["POST", "/v1/apps/web/deploy_token"],
    ["POST", "/v1/tokens/oidc"],
    ["GET", "/v1/postgres"],
    ["POST", "/api/v1/builds/depot_builder"],
  ])("%s %s too", async (method, path) => {
    const { status, json } = await api.call(path, { method, ...(method === "POST" ? { body: {} } : {}) });
    expect(status).toBe(422);
    expect(json).toMatchObject({ status: "unknown", code: "unsupported", error: expect.stringMatching(/.{20}/) });
  });
});

test("the personal organisation's other slug is taken wherever a slug is", async () => {
  const { data } = (await api.call("/graphql", { body: { query: `{ personalOrganization { slug rawSlug } }` } })).json;
  const { slug, rawSlug } = data.personalOrganization;
  expect([slug, rawSlug]).toEqual(["personal", "personal_org"]);
  const body = { query: `query($s: String!) { organization(slug: $s) { slug } }`, variables: { s: rawSlug } };
  expect((await api.call("/graphql", { body })).json.data.organization.slug).toBe("personal");
  const uiex = await api.call(`/api/v1/organizations/${rawSlug}`);
  expect(uiex.json.organization).toMatchObject({ slug, raw_slug: rawSlug, personal: true });
  expect((await api.call("/v1/apps", { body: { name: "by-raw-slug", org_slug: rawSlug } })).status).toBe(201);
  for (const org of [slug, rawSlug]) {
    const { apps } = (await api.call(`/v1/apps?org_slug=${org}`)).json;
    expect(apps.map(({ name }: { name: string }) => name)).toContain("by-raw-slug");
    expect((await api.call(`/v1/orgs/${org}/machines`)).status).toBe(200);
  }
  const ip = { type: "private_v6", org_slug: rawSlug };
  expect((await api.call("/v1/apps/by-raw-slug/ip_assignments", { body: ip })).status).toBe(200);
  expect((await api.call("/flycast/v1/orgs", { body: { slug: rawSlug } })).json.status).toBe("name_taken");
  expect((await api.call("/v1/apps/by-raw-slug", { method: "DELETE" })).status).toBe(202);
});
