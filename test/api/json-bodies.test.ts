import { request } from "node:http";
import { expect, test } from "vitest";
import { depthOf } from "../../src/api/json-bodies.ts";
import { CONFIG, NODE_TOKEN, type TestApi, WebMachines } from "./harness.ts";

test.each([
  ["", 0],
  ["1", 0],
  ['{"a":[{}]}', 3],
  ['"[[[["', 0],
  [String.raw`{"a\"[":"]\\"}`, 1],
  ["]]]]{}", 0],
  ["[".repeat(1_000_000), 1_000_000],
])("how deeply a text is nested: %.20s", (text, depth) => expect(depthOf(text)).toBe(depth));

test("a body is JSON whatever its header says, and none where there is none", async () => {
  const { api, web } = await WebMachines.start();
  const { id } = await web.started();
  const body = JSON.stringify({ signal: "SIGUSR1" });
  for (const type of ["application/json", "application/x-www-form-urlencoded", "text/plain;charset=utf-8", ""]) {
    const headers = { authorization: `Bearer ${NODE_TOKEN}`, ...(type === "" ? {} : { "content-type": type }) };
    const path = `/v1/apps/web/machines/${id}`;
    expect(await statusOf(api, `${path}/signal`, headers, body), type).toBe(200);
    expect(await statusOf(api, `${path}/cordon`, headers, undefined), type).toBe(200);
    expect(await statusOf(api, `${path}/lease`, headers, undefined), type).toBe(200);
    expect((await api.call(`${path}/lease`)).status).toBe(200);
    api.leases.forget(id);
  }
  await api.close();
});

test("what is nested too deeply to be read again is refused", async () => {
  const { api } = await WebMachines.start();
  for (const depth of [1000, 100_000]) {
    const strange = `${"[".repeat(depth)}${"]".repeat(depth)}`;
    const raw = JSON.stringify({ config: CONFIG }).replace('"init"', `"strange":${strange},"init"`);
    expect(await api.call("/v1/apps/web/machines", { raw })).toMatchObject({ status: 400, json: { code: "invalid" } });
  }
  expect(api.logged).toEqual([]);
  await api.close();
});

function statusOf(api: TestApi, path: string, headers: object, body: string | undefined): Promise<number> {
  return new Promise((resolve, reject) => {
    const options = {
      host: "127.0.0.1",
      port: api.port(),
      path,
      method: "POST",
      headers: { ...headers },
      agent: false as const,
    };
    const sent = request(options, (response) => {
      response.resume();
      response.on("end", () => resolve(response.statusCode ?? 0));
    });
    sent.on("error", reject);
    sent.end(body);
  });
}
