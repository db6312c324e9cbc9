/** What the commands on peers and tokens do to the catalogue, or why they may not. */
import type { NetworkId, OrgSlug, RegionCode } from "../core/ids.ts";
import { ok } from "../core/result.ts";
import { peerAddress } from "../network/address.ts";
import type { Catalogue } from "./catalogue.ts";
import { noNetwork, refuse, TITLE, type Decision, type Draws } from "./decision.ts";
import type { Peer, Token } from "./model.ts";

const LABEL = /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/;
/** 32 bytes in base64: a Curve25519 key. */
const PUBLIC_KEY = /^[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=$/;
const SHA256 = /^[0-9a-f]{64}$/;

export function createPeer(
  state: Catalogue,
  input: {
    readonly name: string;
    readonly network: NetworkId;
    readonly region: RegionCode;
    readonly publicKey: string;
  },
  draws: Draws,
): Decision<Peer> {
  const network = state.network(input.network);
  if (network === undefined) return noNetwork(input.network);
  if (!LABEL.test(input.name)) {
    return refuse("invalid", "a peer's name is a DNS label: lower-case letters, digits and dashes, at most 63");
  }
  if (!PUBLIC_KEY.test(input.publicKey)) return refuse("invalid", "the public key is not 32 bytes in base64");
  if (state.peer(input.network, input.name) !== undefined) {
    return refuse("name_taken", `there is a peer "${input.name}" on that network already`);
  }
  const numbers = state.numbersOf(input.network);
  const number = numbers.peer + 1;
  // 256 peers behind each of 65,536 gateways.
  if (number > 0xff_ffff) return refuse("exhausted", "the network has no peer addresses left");
  const value: Peer = {
    name: input.name,
    org: network.org,
    network: input.network,
    region: input.region,
    address: peerAddress(input.network, number >>> 8, number & 0xff),
    publicKey: input.publicKey,
    createdAt: draws.now,
  };
  return ok({
    events: [
      { kind: "network-numbers", network: input.network, ...numbers, peer: number },
      { kind: "peer", value },
    ],
    value,
  });
}

export function removePeer(state: Catalogue, network: NetworkId, name: string): Decision<void> {
  if (state.peer(network, name) === undefined) return refuse("not_found", `there is no peer "${name}" on that network`);
  return ok({ events: [{ kind: "peer-gone", network, name }], value: undefined });
}

export function createToken(
  state: Catalogue,
  input: { readonly name: string; readonly org: OrgSlug | undefined; readonly hash: string },
  draws: Draws,
): Decision<Token> {
  if (input.org !== undefined && state.organisation(input.org) === undefined) {
    return refuse("not_found", `there is no organisation "${input.org}"`);
  }
  if (!TITLE.test(input.name)) return refuse("invalid", "a token's name has 1 to 100 printable characters");
  if (!SHA256.test(input.hash)) return refuse("invalid", "a token's hash is 64 hex digits");
  const value: Token = {
    id: draws.ulid(),
    name: input.name,
    org: input.org,
    hash: input.hash,
    createdAt: draws.now,
  };
  return ok({ events: [{ kind: "token", value }], value });
}

export function revokeToken(state: Catalogue, id: string): Decision<void> {
  for (const token of state.tokens()) {
    if (token.id === id) return ok({ events: [{ kind: "token-gone", id }], value: undefined });
  }
  return refuse("not_found", "there is no such token");
}
