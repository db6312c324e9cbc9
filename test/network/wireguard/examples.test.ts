import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, describe, expect, test } from "vitest";
import { cannotPlay, clean, copyOf, FLYCAST, leftovers, Up, type Who } from "../../e2e/support.ts";
import { cannotMakeComputers, Computer, run } from "./computer.ts";

const example = (name: string): string => fileURLToPath(new URL(`../../../examples/${name}`, import.meta.url));

/** What the README shows of a command, and what it must look like: addresses and the like differ from run to run. */
function shown(readme: string): string {
  return (readme.match(/```console\n([\s\S]*?)```/)?.[1] ?? "").trim();
}
const general = (text: string): string =>
  text
    .replaceAll(/fdaa:[0-9a-f:]+/g, "ADDRESS")
    .replaceAll(/try-\d+/g, "try-N")
    .replaceAll(/\/tmp\/tmp\.\w+/g, "/tmp/WORK")
    .replaceAll(/(?:just now|\d+[smh] ago)/g, "AGO")
    .replaceAll(/curl: \(7\).*/g, "curl: (7)")
    // Frames of tables are as wide as what stands in them.
    .replaceAll(/-{3,}/g, "---")
    .replaceAll(/[ \t]+/g, " ")
    .trim();

let node: Up | undefined;
let computer: Computer | undefined;
afterEach(async () => {
  await node?.stop("SIGKILL");
  await computer?.end();
  if (node !== undefined) clean(node.folder);
  node = computer = undefined;
});

async function tryIt(name: string, who: Who): Promise<{ readonly out: string; readonly err: string }> {
  computer = await Computer.boot();
  const folder = copyOf(example(name), who);
  const on = [...computer.enter, "env", "-C", folder];
  node = new Up(folder, who, [], on);
  await node.ready();
  const wrapper = join(folder, "flycast");
  writeFileSync(wrapper, `#!/bin/sh\nexec ${process.execPath} ${FLYCAST} "$@"\n`, { mode: 0o755 });
  const as =
    who === "user" && process.getuid?.() === 0 ? ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"] : [];
  const ran = await run([...on, ...as, "env", `PATH=${folder}:${process.env["PATH"]}`, "sh", "./try-it.sh"]);
  expect(ran.code, ran.out + ran.err).toBe(0);
  await node.stop();
  expect(leftovers(folder)).toEqual([]);
  return ran;
}

const UNABLE = cannotMakeComputers();
for (const [name, players] of [
  ["cross-org", ["user"]],
  ["wireguard", ["root"]],
] as const) {
  for (const who of players) {
    const unable = UNABLE ?? cannotPlay(who);
    describe.skipIf(unable !== undefined && process.env["CI"] !== "true")(`examples/${name} as ${who}`, () => {
      test("does what its README shows", async () => {
        const { out } = await tryIt(name, who);
        expect(general(out)).toBe(general(shown(readFileSync(join(example(name), "README.md"), "utf8"))));
      });
    });
  }
}
