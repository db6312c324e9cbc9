import type { GatewayFacts } from "../api/routes-wireguard.ts";
import type { NodeWays } from "../api/status.ts";
import { AppError } from "../core/errors.ts";
import { removeDevice } from "../network/wireguard/device.ts";
import { openGateway, type Gateway } from "../network/wireguard/gateway.ts";
import type { Base } from "./base.ts";

/** What lets WireGuard clients in, where somebody wants that. */
export interface GatewayParts {
  readonly gateway: Gateway | undefined;
  readonly status: () => NodeWays["wireguard"];
  /** What clients are told. @errors unsupported where there is no gateway, with what to do */
  readonly facts: () => GatewayFacts;
}

const NOT_IN_LOOPBACK = "in loopback mode there is no private network that WireGuard clients could join";

export async function makeGateway(base: Base): Promise<GatewayParts> {
  const { node, standing, outside, registry, clock, emit, ending } = base;
  const { wireguard } = node;
  const gateway =
    wireguard === undefined || standing.mode === "loopback"
      ? undefined
      : await openGateway({
          outside,
          listen: wireguard,
          stateDir: node.stateDir,
          nftables: standing.nftables,
          peers: () => registry.view.peers(),
          clock,
          onProblem: ({ code, message }) => emit({ event: "problem", code, message }),
        });
  ending.push(() => gateway?.close());
  // An earlier life of the node, killed, may have had one.
  if (gateway === undefined && standing.mode === "host") await removeDevice();
  if (wireguard !== undefined && standing.mode === "loopback") {
    emit({ event: "problem", code: "unsupported", message: NOT_IN_LOOPBACK });
  }
  return {
    gateway,
    status: () =>
      gateway === undefined || wireguard === undefined
        ? undefined
        : { host: wireguard.host, port: gateway.port, ...gateway.state() },
    facts() {
      if (gateway === undefined || wireguard === undefined) {
        throw new AppError(
          "unsupported",
          standing.mode === "loopback"
            ? NOT_IN_LOOPBACK
            : 'this node lets no WireGuard clients in: write wireguard = "127.0.0.1:51820" under [node] in flycast.toml',
        );
      }
      const { publicKey, port } = gateway;
      return { host: wireguard.endpoint, port, publicKey, sync: () => gateway.sync() };
    },
  };
}
