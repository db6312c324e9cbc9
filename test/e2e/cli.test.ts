/** Commands that last as long as the node does. */
import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { rmSync } from "node:fs";
import { afterEach, describe, expect, test } from "vitest";
import { asWho, cannotPlay, copyOf, eventually, FLYCAST, QUICKSTART, Up, type Who } from "./support.ts";

const PLACES: readonly { readonly who: Who; readonly mode: string }[] = [
  { who: "user", mode: "lab" },
  { who: "user", mode: "loopback" },
];

describe.each(PLACES)("in $mode mode as $who", ({ who, mode }) => {
  const unable = cannotPlay(who);
  let node: Up | undefined;
  const followers: ChildProcess[] = [];
  afterEach(async () => {
    for (const follower of followers.splice(0)) follower.kill("SIGKILL");
    await node?.stop("SIGKILL");
    if (node !== undefined) rmSync(node.folder, { recursive: true, force: true });
  });

  /** A command that goes on; `said` gathers both of its outputs. */
  function start(up: Up, ...args: readonly string[]) {
    const [file = process.execPath, ...rest] = [...asWho(who), process.execPath, FLYCAST, ...args];
    const child = spawn(file, rest, { cwd: up.folder, stdio: ["ignore", "pipe", "pipe"] });
    followers.push(child);
    let said = "";
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding("utf8").on("data", (text: string) => (said += text));
    }
    const ended = once(child, "close").then(([code]) => code as number | null);
    return { child, ended, said: () => said };
  }

  test.skipIf(unable !== undefined && process.env["CI"] !== "true")(
    `what follows the node ends with it, and says so${unable === undefined ? "" : ` (${unable})`}`,
    async () => {
      node = new Up(copyOf(QUICKSTART, who), who, ["--network-mode", mode]);
      await node.ready();
      const logs = start(node, "logs", "-f");
      const watch = start(node, "status", "--watch");
      const proxy = start(node, "proxy", "0:80", "web.flycast");
      await eventually(
        () => [logs.said(), watch.said(), proxy.said()],
        ([a, b, c]) => a!.includes("waiting") && b!.includes("STATE") && c!.includes("Proxying"),
        30_000,
      );
      await node.stop();
      expect([await logs.ended, await watch.ended]).toEqual([1, 1]);
      expect(logs.said()).toMatch(/Error: The node at \S+ has ended\. \[node_unreachable\]\n$/);
      // On a computer with several nodes another may have taken the port by then; it does not know our token.
      expect(watch.said()).toMatch(/\[(?:node_unreachable|unauthorized)\]/);
      // In loopback mode the port of a node that comes again is the same.
      if (mode === "loopback") {
        proxy.child.kill("SIGINT");
        expect(await proxy.ended).toBe(0);
        return;
      }
      expect(await proxy.ended).toBe(1);
      expect(proxy.said()).toMatch(/Error: the node has ended, and its networks with it \[node_unreachable\]\n$/);
    },
  );
});
