import type { PortRoute, RegistryView } from "../../registry/view.ts";
import type { Connection } from "../context.ts";
import { route } from "../route.ts";

/**
 * Where a new request on an open connection goes: to what its address and port mean now, not to what they meant when it
 * was accepted. Undefined when a new connection would not be served there, or not in this way: the address was released or
 * leads to another app or network, the port is gone, has no `http` any more, or `tls` was added or taken away.
 */
export function currentRoute(view: RegistryView, connection: Connection): PortRoute | undefined {
  const routed = route(view, connection.destination);
  if (!routed.ok) return undefined;
  const { address, route: found } = routed.value;
  if (address.app !== connection.app || address.network !== connection.network) return undefined;
  const { handlers } = found.port;
  return handlers.has("http") && handlers.has("tls") === connection.route.port.handlers.has("tls") ? found : undefined;
}
