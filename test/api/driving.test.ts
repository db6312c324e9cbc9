import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { cannotPlay, clean, copyOf, eventually, QUICKSTART, Up, type Who } from "../e2e/support.ts";
import type { Json } from "./harness.ts";

/** A server that tells its secret, its user and its folder. */
const SERVER = `require("http").createServer((_, r) => r.end([process.env.SECRET, process.getuid(), process.cwd()].join(" "))).listen(process.env.PORT || 8080, process.env.HOST || "::")`;

for (const who of ["root", "user"] satisfies Who[]) {
  const unable = cannotPlay(who);
  describe.skipIf(unable !== undefined && process.env["CI"] !== "true")(
    `a real node, driven through its API as ${who}`,
    () => {
      let node: Up;
      let url: string;
      let token: string;
      beforeAll(async () => {
        node = new Up(copyOf(QUICKSTART, who), who);
        url = (await node.ready()).api;
        token = readFileSync(join(node.folder, ".flycast", "token"), "utf8").trim();
      });
      afterAll(async () => {
        await node.stop("SIGKILL");
        clean(node.folder);
      });

      const call = async (path: string, body?: unknown, method?: string): Promise<{ status: number; json: Json }> => {
        const response = await fetch(`${url}${path}`, {
          method: method ?? (body === undefined ? "GET" : "POST"),
          headers: { authorization: `Bearer ${token}`, "content-type": "application/json" },
          ...(body === undefined ? {} : { body: JSON.stringify(body) }),
        });
        const text = await response.text();
        return { status: response.status, json: text === "" ? undefined : JSON.parse(text) };
      };

      test("an app and its Machine are made, reached, looked into, stopped and woken", async () => {
        await call("/v1/apps", { app_name: "driven", org_slug: "personal" });
        await call("/v1/apps/driven/secrets", { values: { SECRET: "s3cret" } });
        await call("/v1/apps/driven/ip_assignments", { type: "private_v6" });
        const config = {
          init: { exec: [process.execPath, "-e", SERVER] },
          services: [
            {
              protocol: "tcp",
              internal_port: 8080,
              autostart: true,
              autostop: "stop",
              ports: [{ port: 80, handlers: ["http"] }],
            },
          ],
          mounts: [{ volume: "vol_data", path: "/data" }],
        };
        if (who === "root") {
          const refused = await call("/v1/apps/driven/machines", { config });
          expect(refused).toMatchObject({ status: 403, json: { next: "flycast orgs update personal --user nobody" } });
          // The remedy is a command that there is.
          expect(await node.cli(...refused.json.next.split(" ").slice(1))).toMatchObject({ code: 0 });
        }
        const made = await call("/v1/apps/driven/machines", { config });
        expect(made.status).toBe(200);
        const path = `/v1/apps/driven/machines/${made.json.id}`;
        expect((await call(`${path}/wait?state=started&timeout=30`)).status).toBe(200);

        const reached = async (): Promise<string> =>
          (await node.cli("exec", "--", "curl", "-s", "-m", "20", "http://driven.flycast/")).out;
        const inside = (await node.ready()).mode === "lab";
        if (inside) expect(await eventually(reached, (text) => text !== "")).toMatch(/^s3cret \d+ \/$/);
        if (inside && who === "root") expect(await reached()).toContain(" 65534 ");

        const listed = (await call(`${path}/ps`)).json;
        expect(listed[0].command).toContain("createServer");
        await eventually(
          async () => (await call(`${path}/ps`)).json[0].listen_sockets.length,
          (count) => count === 1,
        );
        const ran = await call(`${path}/exec`, { cmd: `sh -c 'echo $SECRET; cat; exit 3'`, stdin: "input" });
        expect(ran.json).toEqual({ exit_code: 3, stdout: "s3cret\ninput", stderr: "" });
        if (inside) {
          const kept = await call(`${path}/exec`, { cmd: "sh -c 'echo kept > /data/file; cat /data/file'" });
          expect(kept.json).toEqual({ exit_code: 0, stdout: "kept\n", stderr: "" });
        }
        expect((await call(`${path}/exec`, { cmd: "sleep 60", timeout: 1 })).status).toBe(408);

        expect((await call(`${path}/stop`, {})).json).toEqual({ ok: true });
        expect((await call(path)).json.state).toBe("stopped");
        if (inside) {
          expect(await reached()).toContain("s3cret");
          expect((await call(path)).json.state).toBe("started");
        }

        const updated = await call(path, { config: { ...config, env: { A: "1" } } });
        expect((await call(`${path}/wait?state=settled&version=${updated.json.instance_id}&timeout=30`)).status).toBe(
          200,
        );
        expect((await call("/v1/apps/driven", undefined, "DELETE")).status).toBe(202);
        expect((await call("/v1/apps/driven")).status).toBe(404);
      });
    },
  );
}
