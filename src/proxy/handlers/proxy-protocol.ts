import type { Work } from "../context.ts";

/** The PROXY header that goes before the client's bytes; undefined where the port does not ask for one. */
export function proxyHeaderFor(work: Work): Buffer | undefined {
  return work.route.port.handlers.has("proxy_proto") ? Buffer.alloc(0) : undefined;
}
