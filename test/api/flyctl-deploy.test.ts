import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { APPS, DEPLOY, RELEASES } from "./flyctl-documents.ts";
import { CONFIG, WebMachines, type Json, type TestApi } from "./harness.ts";

/** What flyctl asks, in its order, when it deploys, scales and steers Machines (superfly/flyctl `internal/command/*`). */
let api: TestApi;
let web: WebMachines;
beforeAll(async () => {
  ({ api, web } = await WebMachines.start());
});
afterAll(() => api.close());

const ok = async (path: string, ask?: Parameters<TestApi["call"]>[1]): Promise<Json> => {
  const { status, text, json } = await api.call(path, ask);
  expect(status, `${path}: ${text}`).toBeLessThan(300);
  return json;
};
const gql = async ({ query, operationName }: { query: string; operationName?: string }, variables: object) => {
  const { data, errors } = await ok("/graphql", { body: { query, variables, operationName } });
  expect(errors).toBeUndefined();
  return data;
};
/** What it adds to every Machine's metadata. */
const written = (release: { id: string; version: number }): object => ({
  ...CONFIG,
  metadata: {
    ...CONFIG.metadata,
    fly_flyctl_version: "0.4.50",
    fly_release_id: release.id,
    fly_release_version: String(release.version),
  },
});
const holding = (nonce: string) => ({ headers: { "fly-machine-lease-nonce": nonce } });

describe("deploy --image", () => {
  let machine: Json;

  test("the first time: image, release, Machine, health, done", async () => {
    expect((await ok("/v1/apps/web")).status).toBe("pending");
    await gql(APPS.compact, { appName: "web" });
    const build = await ok("/api/v1/builds", {
      body: { app_name: "web", builder_type: "local", strategies_available: ["Local", "Remote"] },
    });
    const { app } = await gql(DEPLOY.image, { appName: "web", imageRef: "ghcr.io/acme/web:v1" });
    expect(app.image).toMatchObject({
      ref: "ghcr.io/acme/web:v1",
      digest: expect.stringMatching(/^sha256:[0-9a-f]{64}$/),
    });
    const finished = { build_id: build.id, app_name: "web", status: "completed", final_image: { id: app.image.id } };
    expect(await ok("/api/v1/builds/finish", { body: finished })).toMatchObject({ id: build.id, status: "completed" });
    for (const path of ["machines", "volumes", "ip_assignments", "secrets"]) await ok(`/v1/apps/web/${path}`);
    expect((await api.call("/api/v1/apps/web/releases/current")).status).toBe(404);
    const order = { app_name: "web", build_id: build.id, definition: {}, image: app.image.ref, strategy: "ROLLING" };
    const { release } = await ok("/api/v1/releases", { body: order });
    expect(release).toMatchObject({ version: 1, user: "", image_ref: "ghcr.io/acme/web:v1" });
    const running = await ok(`/api/v1/releases/${release.id}`, {
      method: "PATCH",
      body: { status: "running", metadata: null },
    });
    expect(running).toMatchObject({ id: release.id, status: "running", version: 1 });

    const image = `${app.image.ref}@${app.image.digest}`;
    const launch = {
      config: { ...written(release), image },
      region: "iad",
      skip_launch: false,
      skip_secrets: false,
      lease_ttl: 120,
    };
    machine = await ok("/v1/apps/web/machines", { body: launch });
    expect(machine.image_ref).toMatchObject({
      registry: "ghcr.io",
      repository: "acme/web",
      tag: "v1",
      digest: app.image.digest,
    });
    const waited = await ok(
      `/v1/apps/web/machines/${machine.id}/wait?state=started&timeout=60&version=${machine.instance_id}`,
    );
    expect(waited).toMatchObject({ ok: true, state: "started", version: machine.instance_id });
    await ok(`/v1/apps/web/machines/${machine.id}/lease`, { method: "DELETE", ...holding(machine.nonce) });
    await ok(`/api/v1/releases/${release.id}`, { method: "PATCH", body: { status: "complete", metadata: null } });
    expect((await ok("/api/v1/apps/web/releases?limit=1")).releases).toMatchObject([
      { id: release.id, version: 1, strategy: "ROLLING", user: "", image_ref: image },
    ]);
  });

  test("again: a lease on each Machine, an update with its nonce, settled, released", async () => {
    const { createRelease } = await gql(RELEASES.create, {
      input: {
        appId: "web",
        image: "ghcr.io/acme/web:v2",
        platformVersion: "machines",
        strategy: "ROLLING",
        definition: {},
      },
    });
    expect(createRelease.release.version).toBe(2);
    const path = `/v1/apps/web/machines/${machine.id}`;
    const lease = await ok(`${path}/lease?ttl=120`, { method: "POST" });
    expect(lease).toMatchObject({ status: "success", data: { version: machine.instance_id } });
    const { nonce } = lease.data;
    expect((await api.call(path, { body: { config: written(createRelease.release) } })).status).toBe(409);
    const update = { id: machine.id, config: { ...written(createRelease.release), env: { A: "2" } }, region: "iad" };
    const updated = await ok(path, { body: update, ...holding(nonce) });
    await ok(`${path}/lease?ttl=120`, { method: "POST", ...holding(nonce) });
    await ok(`${path}/wait?state=settled&timeout=60&version=${updated.instance_id}`);
    expect(await ok(path)).toMatchObject({ state: "started", host_status: "ok", lease: { owner: "api" } });
    await ok(`${path}/lease`, { method: "DELETE", ...holding(nonce) });
    await gql(RELEASES.update, { input: { releaseId: createRelease.release.id, status: "complete" } });
    for (const document of [RELEASES.list, RELEASES.current, RELEASES.version, RELEASES.config])
      await gql(document, { appName: "web", limit: 25 });
    const { app } = await gql(RELEASES.latestImage, { appName: "web" });
    expect(app.currentReleaseUnprocessed).toMatchObject({ version: 2, imageRef: CONFIG.image });
  });

  test("bluegreen: new ones outside of routing, then in, then the old ones out", async () => {
    expect(await gql(DEPLOY.bluegreen, { appName: "web" })).toEqual({ canPerformBluegreenDeployment: true });
    const green = await ok("/v1/apps/web/machines", {
      body: { config: CONFIG, region: "iad", skip_service_registration: true },
    });
    expect(green.cordoned).toBe(true);
    await ok(`/v1/apps/web/machines/${green.id}/wait?state=started&timeout=60&version=${green.instance_id}`);
    await ok(`/v1/apps/web/machines/${green.id}/uncordon`, { method: "POST" });
    await ok(`/v1/apps/web/machines/${green.id}/metadata/fly_bluegreen_deployment_tag`, { body: { value: "1" } });
    await ok(`/v1/apps/web/machines/${machine.id}/cordon`, { method: "POST" });
    await ok(`/v1/apps/web/machines/${machine.id}/stop`, { body: { id: machine.id, timeout: "0s" } });
    await ok(`/v1/apps/web/machines/${machine.id}/wait?state=stopped&timeout=60`);
    await ok(`/v1/apps/web/machines/${machine.id}?kill=true`, { method: "DELETE" });
    expect((await ok("/v1/apps/web/machines")).map((one: Json) => one.id)).toEqual([green.id]);
  });

  test("older versions note builds and releases by GraphQL", async () => {
    const { createBuild } = await gql(DEPLOY.createBuild, {
      input: {
        appName: "web",
        builderType: "local",
        imageOpts: { imageRef: "x", publish: true },
        machineId: "",
        strategiesAvailable: ["x"],
      },
    });
    const finish = {
      appName: "web",
      buildId: createBuild.id,
      machineId: "",
      status: "completed",
      logs: "",
      builderMeta: { builderType: "local", buildkitEnabled: false },
      finalImage: { id: "sha256:1", sizeBytes: 5_000_000_000, tag: "x" },
      strategiesAttempted: [{ error: "", note: "", result: "success", strategy: "x" }],
      timings: { buildMs: -1 },
      clientMutationId: "",
    };
    expect((await gql(DEPLOY.finishBuild, { input: finish })).finishBuild).toMatchObject({ id: createBuild.id });
    await gql(RELEASES.createOlder, { input: { appId: "web", image: "x", strategy: "CANARY", definition: null } });
    const { errors } = (
      await api.call("/graphql", {
        body: { query: DEPLOY.latestImage.query, variables: { image: "a/b:c", flyVersion: "1" } },
      })
    ).json;
    expect(errors[0].message).toContain("Unknown repository");
  });
});

describe("scale count and machine clone", () => {
  test("take a Machine's own config to make another, and kill what is too many", async () => {
    const model = await web.started();
    const twin = await ok("/v1/apps/web/machines", { body: { config: model.config, region: "ams", lease_ttl: 30 } });
    expect(twin.config).toEqual(model.config);
    const listed = await ok("/v1/apps/web/machines?summary=true");
    expect(listed.map((one: Json) => one.id)).toContain(twin.id);
    await ok(`/v1/apps/web/machines/${twin.id}?kill=true`, { method: "DELETE", ...holding(twin.nonce) });
    const everything = await ok("/v1/orgs/personal/machines?include_deleted=true&limit=100");
    expect(everything.machines).toContainEqual(
      expect.objectContaining({ id: twin.id, app_name: "web", state: "destroyed" }),
    );
  });
});

describe("machine update", () => {
  test("of metadata, many at once, makes no new version; an older version's is refused", async () => {
    const machine = await web.started();
    const path = `/${machine.id}/metadata`;
    const put = await web.call(path, { method: "PUT", body: { metadata: { role: "a", gone: "x" } } });
    expect(put.json).toMatchObject({ role: "a", gone: "x", fly_process_group: "app" });
    const patched = await web.call(path, {
      method: "PATCH",
      body: { metadata: { gone: null, role: "" }, machine_version: machine.instance_id },
    });
    expect(Object.keys(patched.json)).not.toContain("role");
    expect((await web.call(`${path}/fly_process_group`)).json).toEqual({ value: "app" });
    expect((await web.call(`${path}/gone`)).status).toBe(404);
    expect((await web.call(`${path}/__proto__`)).status).toBe(404);
    const stale = { metadata: { a: "1" }, machine_version: "01OLD" };
    expect((await web.call(path, { method: "PATCH", body: stale })).status).toBe(412);
    expect((await web.get(machine.id)).instance_id).toBe(machine.instance_id);
  });

  test("that names another version than the Machine's is refused, and its versions are told", async () => {
    const machine = await web.started();
    const body = { config: { ...CONFIG, env: { A: "9" } }, current_version: "01OLD" };
    expect((await web.call(`/${machine.id}`, { body })).status).toBe(412);
    const updated = await web.call(`/${machine.id}`, { body: { ...body, current_version: machine.instance_id } });
    expect(updated.status).toBe(200);
    expect((await web.call(`/${machine.id}/versions`)).json).toEqual([
      { version: updated.json.instance_id, user_config: updated.json.config },
    ]);
  });
});

describe("an organisation's Machines", () => {
  test("come page by page, in the order of their last change, and are filtered", async () => {
    await api.call("/flycast/v1/orgs", { body: { slug: "pages" } });
    await api.call("/v1/apps", { body: { name: "paged", org_slug: "pages" } });
    const ids: string[] = [];
    for (const region of ["iad", "ams", "iad"])
      ids.push((await ok("/v1/apps/paged/machines", { body: { config: CONFIG, region, skip_launch: true } })).id);
    const seen: string[] = [];
    for (let cursor = "x"; cursor !== "";) {
      const { machines, next_cursor: next } = await ok(
        `/v1/orgs/pages/machines?limit=2${cursor === "x" ? "" : `&cursor=${encodeURIComponent(cursor)}`}`,
      );
      seen.push(...machines.map((one: Json) => one.id));
      cursor = next;
    }
    expect(seen.toSorted()).toEqual(ids.toSorted());
    expect((await ok("/v1/orgs/pages/machines?region=ams&state=created")).machines).toMatchObject([{ id: ids[1] }]);
    expect((await ok("/v1/orgs/pages/machines?updated_after=2200-01-01T00:00:00Z")).machines).toEqual([]);
    for (const query of ["limit=0", "limit=x", "cursor=x", "updated_after=soon"])
      expect((await api.call(`/v1/orgs/pages/machines?${query}`)).status, query).toBe(400);
    expect((await api.call("/v1/orgs/nobody/machines")).status).toBe(404);
    expect((await ok("/v1/orgs/pages/volumes")).volumes).toEqual([]);
  });
});
