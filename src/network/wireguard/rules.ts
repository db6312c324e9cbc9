/** Which packets of WireGuard clients may pass, as lines for `ip` and `nft`. Text only. */
import type { Ip6, NetworkId } from "../../core/ids.ts";
import { peerCidr } from "../address.ts";
import type { Commands } from "../linux/guard.ts";
import { NFT_TABLE } from "../linux/guard-nft.ts";
import { tableOf } from "../linux/guard-rules.ts";

/** Name of the interface behind which all clients are. A Machine's begins with `fc` and a digit or letter: never so. */
export const DEVICE = "flycast-wg";

export interface PeerPlace {
  readonly network: NetworkId;
  /** It owns the /120 around it. */
  readonly address: Ip6;
}

/**
 * What the tunnels add to the rules of the private networks. WireGuard itself takes from a client only packets with a
 * source in the client's own /120; the rules hold that only clients of today have one, and from there on a client's
 * packets go where those of a Machine of its network go.
 */
export interface PeerRules {
  readonly base: Commands;
  add(peer: PeerPlace): Commands;
  remove(peer: PeerPlace): Commands;
}

const element = (verb: "add" | "delete", peer: PeerPlace): string =>
  `${verb} element ${NFT_TABLE} peers { ${peerCidr(peer.address)} }`;

/** For `nftGuard`. */
export const nftPeerRules: PeerRules = {
  base: {
    ip: [],
    ip6: [],
    nft: [
      `add set ${NFT_TABLE} peers { type ipv6_addr; flags interval; }`,
      `insert rule ${NFT_TABLE} sources6 iifname "${DEVICE}" ip6 saddr @peers accept`,
    ],
  },
  add: (peer) => ({
    ip: [`route replace ${peerCidr(peer.address)} dev ${DEVICE}`],
    ip6: [],
    nft: [element("add", peer)],
  }),
  remove: (peer) => ({
    ip: [`route del ${peerCidr(peer.address)} dev ${DEVICE}`],
    ip6: [],
    nft: [element("delete", peer)],
  }),
};

/** For `rulesGuard`: every client's packets are routed by the table of its network, which knows that network alone. */
export const routingPeerRules: PeerRules = {
  base: { ip: [], ip6: [`rule add pref 101 iif ${DEVICE} blackhole`], nft: [] },
  add: (peer) => ({
    ip: [
      `route replace ${peerCidr(peer.address)} dev ${DEVICE}`,
      `route replace ${peerCidr(peer.address)} dev ${DEVICE} table ${tableOf(peer.network)}`,
    ],
    ip6: [`rule add ${fromPeer(peer)}`],
    nft: [],
  }),
  remove: (peer) => ({
    ip: [
      `route del ${peerCidr(peer.address)} dev ${DEVICE}`,
      `route del ${peerCidr(peer.address)} dev ${DEVICE} table ${tableOf(peer.network)}`,
    ],
    ip6: [`rule del ${fromPeer(peer)}`],
    nft: [],
  }),
};

function fromPeer(peer: PeerPlace): string {
  return `pref 100 iif ${DEVICE} from ${peerCidr(peer.address)} lookup ${tableOf(peer.network)}`;
}
