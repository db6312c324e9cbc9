/** The outer process of a test lab: launches the core and passes on what the test and the core say to each other. */
import { fileURLToPath } from "node:url";
import { launchCore } from "../../../src/network/linux/launch.ts";

const persistent = process.argv[5];
const core = await launchCore({
  egress: process.argv[6] === "auto" ? "auto" : "none",
  ...(persistent ? { persistent, hostLink: persistent } : {}),
  entry: fileURLToPath(new URL("./core.ts", import.meta.url)),
  args: process.argv.slice(2),
  execArgv: ["--import", fileURLToPath(import.meta.resolve("tsx"))],
  folder: "/",
  onMessage: (message) => process.send?.({ from: "core", message }),
});
process.on("message", (message) => core.send(message));
// The test went away: so do we, and the lab with us.
process.on("disconnect", () => process.exit(0));
void core.exited.then((exit) => {
  process.send?.({ from: "outer", exit }, () => process.exit(0));
});
process.send?.({ from: "outer", facts: core.outer });
