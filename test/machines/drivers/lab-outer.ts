/** The outer process of the driver's lab: launches it and passes on its one message. */
import { fileURLToPath } from "node:url";
import { launchCore } from "../../../src/network/linux/launch.ts";

const core = await launchCore({
  entry: fileURLToPath(new URL("./lab-core.ts", import.meta.url)),
  args: process.argv.slice(2),
  execArgv: ["--import", fileURLToPath(import.meta.resolve("tsx"))],
  folder: "/",
  onMessage: (message) => process.send?.(message),
});
process.on("disconnect", () => process.exit(0));
await core.exited;
process.exit(0);
