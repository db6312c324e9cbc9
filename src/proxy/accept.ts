import type { Socket } from "node:net";
import type { Ip6, RegionCode } from "../core/ids.ts";
import { parseIp6, plainAddress } from "../network/address.ts";
import type { Caller } from "../network/caller.ts";
import type { RegistryView } from "../registry/view.ts";

/** Where a listener's connections lead: any Flycast address (read from the socket), or the one that was published. */
export type Entrance =
  | { readonly kind: "private" }
  | { readonly kind: "published"; readonly address: Ip6; readonly port: number };

export interface Accepted {
  readonly destination: { readonly address: Ip6; readonly port: number };
  readonly caller: Caller;
}

// Long enough to cost nothing, short enough to notice a peer that vanished without a word.
const KEEPALIVE_MS = 60_000;

/**
 * Reads who calls whom, once: after a reset the socket no longer knows. Undefined when it is already too late, or when
 * the destination is no IPv6 address.
 */
export function accept(
  socket: Socket,
  entrance: Entrance,
  from: {
    readonly view: RegistryView;
    readonly region: RegionCode;
    readonly identify: (address: string, port: number) => Caller;
  },
): Accepted | undefined {
  const { remoteAddress, remotePort } = socket;
  if (remoteAddress === undefined || remotePort === undefined) return undefined;
  socket.allowHalfOpen = true;
  socket.setNoDelay(true);
  socket.setKeepAlive(true, KEEPALIVE_MS);

  if (entrance.kind === "published") {
    const caller: Caller = {
      address: plainAddress(remoteAddress),
      port: remotePort,
      network: from.view.addressAt(entrance.address)?.network,
      via: "published",
      machine: undefined,
      region: from.region,
    };
    return { destination: { address: entrance.address, port: entrance.port }, caller };
  }
  const { localAddress, localPort } = socket;
  const address = parseIp6(localAddress ?? "");
  if (!address.ok || localPort === undefined) return undefined;
  return {
    destination: { address: address.value, port: localPort },
    caller: from.identify(plainAddress(remoteAddress), remotePort),
  };
}
