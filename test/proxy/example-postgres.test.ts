import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, describe, expect, test } from "vitest";
import { cannotPlay, clean, copyOf, curl, leftovers, run, Up, type Who } from "../e2e/support.ts";
import { postgresFolder } from "./postgres-server.ts";

const EXAMPLE = fileURLToPath(new URL("../../examples/postgres", import.meta.url));
const isMissing = postgresFolder() === undefined;

for (const who of ["user", "denied"] satisfies Who[]) {
  const unable = isMissing ? "no PostgreSQL" : cannotPlay(who);
  describe.skipIf(unable !== undefined && process.env["CI"] !== "true")(
    `examples/postgres as ${who}${unable === undefined ? "" : ` (${unable})`}`,
    () => {
      let node: Up | undefined;
      afterEach(async () => {
        await node?.stop("SIGKILL");
        if (node !== undefined) clean(node.folder);
      });

      test("a note wakes the app and its database, survives their sleep, and can be read with psql", async () => {
        const folder = copyOf(EXAMPLE, who);
        const file = join(folder, "flycast.toml");
        writeFileSync(file, readFileSync(file, "utf8").replace('"10s"', '"1s"'));
        node = new Up(folder, who);
        const notes = await node.published("notes", 80);
        const db = await node.published("db", 5432);
        expect((await curl("-d", "remember the milk", `http://${notes}/`)).out).toBe("1 remember the milk\n");
        expect(node.count((event) => event.event === "wake" && event.app === "db")).toBe(1);

        await node.until((event) => event.event === "stopped" && event.app === "db");
        const sleeping = node.events.length;
        const [host = "", port = ""] = db.split(":");
        const read = await run(["psql", "-h", host, "-p", port, "-U", "postgres", "-XAtc", "select text from notes"]);
        expect(read.out).toBe("remember the milk\n");
        await node.until((event) => event.event === "wake" && event.app === "db", sleeping);

        await node.stop("SIGINT");
        expect(leftovers(node.folder)).toEqual([]);
      });
    },
  );
}
