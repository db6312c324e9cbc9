// Runs inside a network for `flycast doctor`: asks the node's DNS directly, and through the system's own resolver as apps do.
import { lookup } from "node:dns/promises";
import { checkResolution } from "../dns/check-resolution.ts";

const findings = [...(await checkResolution({ host: "fdaa::3", port: 53 }))];
try {
  const { address } = await lookup("_api.internal", { family: 6 });
  findings.push({ what: "resolver inside", ok: true, detail: `getaddrinfo finds _api.internal at ${address}` });
} catch (error) {
  findings.push({
    what: "resolver inside",
    ok: false,
    detail: `getaddrinfo does not find _api.internal: ${error instanceof Error ? error.message : String(error)}`,
  });
}
process.stdout.write(`${JSON.stringify(findings)}\n`);
