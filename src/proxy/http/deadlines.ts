/** Until when a client of HTTP/1.1 has to do something. Where nothing is said of a port, the limits of the node hold. */
import type { PortRoute } from "../../registry/view.ts";
import type { HttpContext } from "./context.ts";

export const NEVER = Number.POSITIVE_INFINITY;

/** For all of a head, from its first byte. */
export function headDeadline(context: HttpContext, route: PortRoute): number {
  return context.clock.now() + (route.port.httpOptions.headersReadTimeout ?? context.limits.headTimeout);
}

/**
 * Between two bytes of an exchange. Without `idle_timeout` only a client that owes us its body is timed, and one that has ended its
 * side: it may have left without a reset, and then nobody notices before the next byte of the answer.
 */
export function idleDeadline(context: HttpContext, route: PortRoute, owesBody: boolean, ended: boolean): number {
  const { idleTimeout } = route.port.httpOptions;
  if (idleTimeout !== undefined) return context.clock.now() + idleTimeout;
  if (owesBody) return context.clock.now() + context.limits.keepaliveTimeout;
  return ended ? context.clock.now() + context.limits.halfClosedTimeout : NEVER;
}

/** For a client that does not read what it asked for. */
export function stuckDeadline(context: HttpContext, route: PortRoute): number {
  return context.clock.now() + (route.port.httpOptions.idleTimeout ?? context.limits.halfClosedTimeout);
}
