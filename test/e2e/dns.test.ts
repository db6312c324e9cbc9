import { createSocket, type Socket } from "node:dgram";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { decode, encode } from "dns-packet";
import { afterEach, describe, expect, test } from "vitest";
import { cannotPlay, clean, copyOf, QUICKSTART, Up, type Who } from "./support.ts";

const running: Up[] = [];
const sockets: Socket[] = [];
afterEach(async () => {
  for (const socket of sockets.splice(0)) socket.close();
  for (const node of running.splice(0)) {
    await node.stop("SIGKILL");
    clean(node.folder);
  }
});

/** A resolver of the computer outside: everything is 192.0.2.7. */
async function resolver(): Promise<{ port: number; asked: string[] }> {
  const asked: string[] = [];
  const socket = createSocket("udp4");
  sockets.push(socket);
  socket.on("message", (message, from) => {
    const { id, questions } = decode(message);
    asked.push(...(questions ?? []).map((question) => question.name.toLowerCase()));
    const answers = (questions ?? []).map((question) => ({
      type: "A" as const,
      name: question.name,
      ttl: 60,
      data: "192.0.2.7",
    }));
    socket.send(
      encode({ id: id ?? 0, type: "response", flags: 0x180, questions: questions ?? [], answers }),
      from.port,
      from.address,
    );
  });
  await new Promise<void>((resolve) => socket.bind(0, "127.0.0.1", resolve));
  return { port: socket.address().port, asked };
}

for (const who of ["root", "user"] as const satisfies readonly Who[]) {
  const unable = cannotPlay(who);
  describe.skipIf(unable !== undefined && process.env["CI"] !== "true")(`names inside the lab of ${who}`, () => {
    test("other names are answered by the outside's resolver, private ones never go there", async () => {
      const outside = await resolver();
      const folder = copyOf(QUICKSTART, who);
      const file = join(folder, "flycast.toml");
      writeFileSync(file, `${readFileSync(file, "utf8")}\n[dns]\nupstreams = ["127.0.0.1:${outside.port}"]\n`);
      const node = new Up(folder, who, ["--network-mode", "lab"]);
      running.push(node);
      await node.ready();
      const dig = async (...args: string[]): Promise<string> =>
        (await node.cli("exec", "--", "dig", "+short", "+time=5", ...args)).out.trim();
      expect(await dig("example.com", "@fdaa::3")).toBe("192.0.2.7");
      expect(await dig("example.com", "@fdaa::3", "+tcp")).toBe("192.0.2.7");
      expect(await dig("AAAA", "web.flycast")).toMatch(/^fdaa:.*:0:1::1$/);
      expect(await dig("AAAA", "nobody.internal")).toBe("");
      expect(outside.asked.filter((name) => /internal|flycast/.test(name))).toEqual([]);
      expect(outside.asked).toContain("example.com");
    });
  });
}
