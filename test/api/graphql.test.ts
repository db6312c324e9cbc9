import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { CONFIG, TestApi, type Json } from "./harness.ts";

let api: TestApi;
let token: string;
beforeAll(async () => {
  api = await TestApi.start();
  await api.call("/flycast/v1/orgs", { body: { slug: "acme", name: "Acme" } });
  await api.call("/v1/apps", { body: { name: "web", org_slug: "personal" } });
  await api.call("/v1/apps", { body: { name: "hidden", org_slug: "acme" } });
  const { id } = (await api.call("/v1/apps/web/machines", { body: { config: CONFIG } })).json;
  await api.call(`/v1/apps/web/machines/${id}/wait?timeout=5`);
  token = (await api.call("/flycast/v1/tokens", { body: { org: "personal" } })).json.token;
});
afterAll(() => api.close());

const raw = async (query: string, variables: object = {}, operationName?: string): Promise<Json> => {
  // flyctl squeezes the white space of its queries.
  const body = {
    query: query.replaceAll(/\s+/g, " "),
    variables,
    ...(operationName === undefined ? {} : { operationName }),
  };
  const answer = await api.call("/graphql", { body });
  expect(answer.status).toBe(200);
  return answer.json;
};
const ask = async (query: string, variables: object = {}, operationName?: string): Promise<Json> => {
  const { data, errors } = await raw(query, variables, operationName);
  expect(errors).toBeUndefined();
  return data;
};

describe("the queries of the platform's command line", () => {
  test("whoami", async () => {
    const data = await ask(`query { viewer { ... on User { id email enablePaidHobby } ... on Macaroon { email } } }`);
    expect(data.viewer.email).toContain("@");
  });

  test("apps list, page by page", async () => {
    const query = `query($org: ID, $after: String) { apps(type: "container", first: 1, after: $after, organizationId: $org) {
      pageInfo { hasNextPage endCursor }
      nodes { id name deployed hostname platformVersion network organization { slug name } currentRelease { createdAt status } status } } }`;
    const first = await ask(query);
    expect(first.apps).toMatchObject({
      pageInfo: { hasNextPage: true },
      nodes: [{ name: "hidden", currentRelease: null }],
    });
    const { apps } = await ask(query, { after: first.apps.pageInfo.endCursor });
    expect(apps).toMatchObject({
      pageInfo: { hasNextPage: false },
      nodes: [{ name: "web", deployed: true, platformVersion: "machines", network: "default", status: "deployed" }],
    });
    expect(Date.parse(apps.nodes[0].currentRelease.createdAt)).toBeGreaterThan(0);
    expect((await ask(query, { org: "acme" })).apps.nodes).toMatchObject([{ name: "hidden" }]);
  });

  test("an app by each of the names that flyctl gives its queries", async () => {
    const data = await ask(
      `query ($appName: String!) {
        appcompact:app(name: $appName) { id internalNumericId name hostname cnameTarget deployed network status appUrl platformVersion
          organization { id internalNumericId slug paidPlan } postgresAppRole: role { name } }
        appbasic:app(name: $appName) { id name platformVersion organization { id internalNumericId slug rawSlug paidPlan } }
        apphostissues:app(name: $appName) { hostIssues { nodes { internalId message createdAt updatedAt } } }
        app(name: $appName) { network releases: releasesUnprocessed(first: 25) {
          nodes { id version description reason status imageRef stable user { id email name } createdAt } } }
      }`,
      { appName: "web" },
    );
    expect(data.appcompact).toMatchObject({ id: "web", hostname: "web.flycast", postgresAppRole: null });
    expect(data.appbasic.organization).toMatchObject({ slug: "personal", rawSlug: "personal_org" });
    expect(data.apphostissues.hostIssues.nodes).toEqual([]);
    expect(data.app.releases.nodes).toMatchObject([{ version: 1, status: "complete", stable: true }]);
  });

  test("orgs list and show", async () => {
    const list = await ask(
      `query($admin: Boolean!) { organizations(admin: $admin) { nodes { id slug rawSlug name type paidPlan billable viewerRole internalNumericId } } }`,
      { admin: false },
    );
    expect(list.organizations.nodes).toMatchObject([
      { slug: "personal", type: "PERSONAL" },
      { slug: "acme", type: "SHARED", name: "Acme" },
    ]);
    const { organizationdetails } = await ask(
      `query($slug: String!) { organizationdetails: organization(slug: $slug) { id slug rawSlug name type viewerRole internalNumericId
        remoteBuilderImage remoteBuilderApp { name } members { edges { cursor node { id name email } joinedAt role } } } }`,
      { slug: "acme" },
    );
    expect(organizationdetails).toMatchObject({ id: "acme", remoteBuilderApp: null, members: { edges: [] } });
  });

  test("ips: allocate, list, release", async () => {
    const allocate = `mutation($input: AllocateIPAddressInput!) { allocateIpAddress(input: $input) {
      ipAddress { id address type region createdAt } } }`;
    const { allocateIpAddress } = await ask(allocate, { input: { appId: "web", type: "private_v6", region: "" } });
    const { address } = allocateIpAddress.ipAddress;
    const list = `query($appName: String!) { app(name: $appName) {
      ipAddresses { nodes { id address type region createdAt network { name organization { slug } } serviceName } } sharedIpAddress } }`;
    expect((await ask(list, { appName: "web" })).app).toMatchObject({
      ipAddresses: {
        nodes: [
          {
            address,
            type: "private_v6",
            region: "global",
            network: { name: "default", organization: { slug: "personal" } },
          },
        ],
      },
      sharedIpAddress: null,
    });
    const egress = `query($appName: String!) { app(name: $appName) { egressIpAddresses { nodes { id ip version region updatedAt } } } }`;
    expect((await ask(egress, { appName: "web" })).app.egressIpAddresses.nodes).toEqual([]);
    const release = `mutation($input: ReleaseIPAddressInput!) { releaseIpAddress(input: $input) { clientMutationId } }`;
    await ask(release, { input: { appId: "web", ip: address } });
    expect((await ask(list, { appName: "web" })).app.ipAddresses.nodes).toEqual([]);
    const across = await ask(allocate, {
      input: { appId: "web", type: "private_v6", organizationId: "acme", network: "default" },
    });
    expect(across.allocateIpAddress.ipAddress.address).not.toBe(address);
    const { errors } = await raw(allocate, { input: { appId: "web", type: "v4" } });
    expect(errors[0].message).toContain("private_v6");
  });

  test("wireguard: create, list, validate, remove", async () => {
    const pubkey = Buffer.alloc(32, 7).toString("base64");
    const created = await ask(
      `mutation($input: AddWireGuardPeerInput!) { addWireGuardPeer(input: $input) { peerip endpointip pubkey } }`,
      { input: { organizationId: "personal", region: "iad", name: "laptop", pubkey, network: "", nats: true } },
    );
    expect(created.addWireGuardPeer).toMatchObject({ endpointip: "127.0.0.1" });
    const { peerip } = created.addWireGuardPeer;
    const { organization } = await ask(
      `query($slug: String!) { organization(slug: $slug) { wireGuardPeers { nodes { id name pubkey region peerip } }
        wireGuardPeer(name: "laptop") { id name pubkey region peerip } none: wireGuardPeer(name: "none") { id } } }`,
      { slug: "personal" },
    );
    expect(organization.wireGuardPeers.nodes).toEqual([organization.wireGuardPeer]);
    expect(organization).toMatchObject({ none: null, wireGuardPeer: { name: "laptop", pubkey, peerip } });
    const validate = `mutation($input: ValidateWireGuardPeersInput!) { validateWireGuardPeers(input: $input) { invalidPeerIps } }`;
    expect((await ask(validate, { input: { peerIps: [] } })).validateWireGuardPeers.invalidPeerIps).toEqual([]);
    const mixed = await ask(validate, { input: { peerIps: [peerip, "fdaa::9", "nonsense"] } });
    expect(mixed.validateWireGuardPeers.invalidPeerIps).toEqual(["fdaa::9", "nonsense"]);
    const remove = `mutation($input: RemoveWireGuardPeerInput!) { removeWireGuardPeer(input: $input) { organization { id } } }`;
    await ask(remove, { input: { organizationId: "personal", name: "laptop" } });
    expect((await raw(remove, { input: { organizationId: "personal", name: "laptop" } })).errors).toHaveLength(1);
  });

  test("regions, the nearest one, and an agent's look at the instances", async () => {
    const data = await ask(`query { nearestRegion(wireguardGateway: true) { code name gatewayAvailable deprecated }
      platform { requestRegion regions { name code latitude longitude gatewayAvailable requiresPaidPlan deprecated } } }`);
    expect(data.nearestRegion.code).toBe("iad");
    expect(data.platform.regions.length).toBeGreaterThan(10);
    const { app } = await ask(
      `query AgentGetInstances($appName: String!) { app(name: $appName) { organization { slug } id name
        allocations(showCompleted: false) { id region privateIP }
        machines { nodes { state id region ips { nodes { kind family ip } } } } } }`,
      { appName: "web" },
      "AgentGetInstances",
    );
    expect(app.machines.nodes).toMatchObject([
      { state: "started", ips: { nodes: [{ kind: "privatenet", family: "v6" }] } },
    ]);
    expect(app.allocations[0].privateIP).toBe(app.machines.nodes[0].ips.nodes[0].ip);
    const { gqlmachine } = await ask(
      `query($id: String!) { gqlmachine: machine(machineId: $id) { id name app { name organization { id slug } } } }`,
      { id: app.machines.nodes[0].id },
    );
    expect(gqlmachine.app).toEqual({ name: "web", organization: { id: "personal", slug: "personal" } });
  });

  test("apps are made and destroyed here too", async () => {
    const made = await ask(
      `mutation($input: CreateAppInput!) { createApp(input: $input) { app { id name organization { slug } } } }`,
      {
        input: { organizationId: "acme", name: "short", machines: true },
      },
    );
    expect(made.createApp.app).toEqual({ id: "short", name: "short", organization: { slug: "acme" } });
    await ask(`mutation($appId: ID!) { deleteApp(appId: $appId) { organization { id } } }`, { appId: "short" });
    expect((await raw(`query { app(name: "short") { id } }`)).errors[0]).toMatchObject({
      message: 'Could not find App "short"',
      extensions: { code: "NOT_FOUND" },
    });
  });

  test("orgs are searched for replay, and images are not known", async () => {
    const { organization } = await ask(
      `query { organization(slug: "personal") { allowedReplaySourceOrgSlugs allowAllCrossNetworkReplays } }`,
    );
    expect(organization).toEqual({ allowedReplaySourceOrgSlugs: [], allowAllCrossNetworkReplays: false });
    const { errors } = await raw(
      `query { latestImageDetails(image: "a/b:c", flyVersion: "1") { registry repository tag version digest } }`,
    );
    expect(errors[0].message).toContain("Unknown repository");
  });
});

describe("bounds", () => {
  test("what this node does not offer is said as such", async () => {
    const { errors } = await raw(`query { certificates { id } }`);
    expect(errors[0].message).toMatch(/does not support the query "certificates"/);
  });

  test.each([
    [
      "too deep",
      `query { app(name: "web") { ${"machines { nodes { app { ".repeat(5)} name ${"} } } ".repeat(5)} } }`,
      /deeper/,
    ],
    ["too many tokens", `query { ${"a: nearestRegion { code } ".repeat(600)} }`, /tokens/i],
    [
      "one field again and again by fragments",
      `query { ...a } fragment a on Query { ${"...b ".repeat(40)} } fragment b on Query { ${"...c ".repeat(40)} } fragment c on Query { viewer { id } }`,
      /more than 10 times/,
    ],
    ["a circle of fragments", `query { ...a } fragment a on Query { ...b } fragment b on Query { ...a }`, /./],
    ["not GraphQL", `query {`, /Syntax/],
  ])("%s is refused", async (_what, query, message) => {
    const { errors, data } = await raw(query);
    expect(data).toBeUndefined();
    expect(errors[0].message).toMatch(message);
  });

  test("an answer that would list everything inside everything is cut short", async () => {
    const config = { ...CONFIG, services: [] };
    for (let i = 0; i < 40; i++) await api.call("/v1/apps/hidden/machines", { body: { config, skip_launch: true } });
    const inner = (depth: number): string =>
      depth === 0 ? "id" : `id app { machines { nodes { ${inner(depth - 1)} } } }`;
    const { errors } = await raw(`query { app(name: "hidden") { machines { nodes { ${inner(3)} } } } }`);
    expect(errors[0].message).toContain("too large");
  });

  test("a body without a query is a bad request, and a foreign token sees nothing of others", async () => {
    for (const raw of ["", "{}", "[]", '{"query":1}', "{"])
      expect((await api.call("/graphql", { raw, method: "POST" })).status, raw).toBe(400);
    const body = {
      query: `query { apps { nodes { name } } app(name: "hidden") { id } organizations { nodes { slug } } }`,
    };
    const { data, errors } = (await api.call("/graphql", { body, token })).json;
    expect(data).toMatchObject({
      apps: { nodes: [{ name: "web" }] },
      app: null,
      organizations: { nodes: [{ slug: "personal" }] },
    });
    expect(errors).toHaveLength(1);
    expect((await api.call("/graphql", { body, token: null })).status).toBe(401);
  });
});
