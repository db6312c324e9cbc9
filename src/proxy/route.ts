import type { Ip6 } from "../core/ids.ts";
import { err, ok, type Result } from "../core/result.ts";
import { parsePort } from "../core/units.ts";
import type { FlycastAddress } from "../registry/model.ts";
import type { PortRoute, RegistryView } from "../registry/view.ts";

export interface Routed {
  readonly address: FlycastAddress;
  readonly route: PortRoute;
}

/** Destination address and port → app, service, handlers. FP01 for a pair that no service lists. */
export function route(
  view: RegistryView,
  destination: { readonly address: Ip6; readonly port: number },
): Result<Routed, "FP01"> {
  const address = view.addressAt(destination.address);
  const port = parsePort(destination.port);
  if (address === undefined || !port.ok) return err("FP01");
  const found = view.route(address.app, port.value);
  return found === undefined ? err("FP01") : ok({ address, route: found });
}
