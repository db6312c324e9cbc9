import { AppError } from "../../core/errors.ts";
import { DEFAULT_NETWORK, parseAppName, parseNetworkName, parseRegionCode } from "../../core/ids.ts";
import { kindOf, parseIp6 } from "../../network/address.ts";
import { findApp, mayUse, orgSlugOf, valid } from "../lookup.ts";
import { allocate, refusePublic } from "../routes-apps.ts";
import { peersOf, refuseKnownKey, syncIfThere } from "../routes-wireguard.ts";
import type { Asked, Input } from "./asked.ts";

interface NewApp {
  readonly organizationId: string;
  readonly name?: string | null;
  readonly network?: string | null;
}
interface NewAddress {
  readonly appId: string;
  readonly type: unknown;
  readonly organizationId?: string | null;
  readonly network?: string | null;
}
interface OldAddress {
  readonly appId?: string | null;
  readonly ip?: string | null;
  readonly ipAddressId?: string | null;
  readonly clientMutationId?: string | null;
}
interface NewPeer {
  readonly organizationId: string;
  readonly region?: string | null;
  readonly name: string;
  readonly pubkey: string;
  readonly network?: string | null;
}

/** Apps, organisations, addresses and WireGuard clients. */
export function mutations(asked: Asked): object {
  const { deps, principal, shapes } = asked;
  const { registry } = deps;
  const { view, commands } = registry;
  return {
    createApp: async ({ input }: Input<NewApp>) => {
      const org = asked.findOrg(input.organizationId);
      const name = valid(parseAppName(input.name ?? ""));
      const network = input.network == null ? DEFAULT_NETWORK : valid(parseNetworkName(input.network));
      return { app: shapes.app(await commands.createApp({ name, org: org.slug, network })) };
    },
    deleteApp: async ({ input, appId }: { input?: { appId: string }; appId?: string }) => {
      const app = findApp(view, principal, input?.appId ?? appId ?? "");
      await deps.destroyApp(app);
      return { organization: shapes.org(asked.findOrg(app.org)) };
    },
    createOrganization: async ({ input }: Input<{ name: string }>) => {
      asked.requireNode();
      const words = input.name.toLowerCase().replace(/[^a-z0-9]+/g, "-");
      const slug = orgSlugOf(words.replace(/^-|-$/g, ""));
      return { organization: shapes.org(await commands.createOrganisation({ slug, name: input.name })) };
    },
    allocateIpAddress: async ({ input }: Input<NewAddress>) => {
      const app = findApp(view, principal, input.appId);
      refusePublic(input.type);
      const address = await allocate(registry, principal, app, input.organizationId ?? "", input.network ?? "");
      return { app: shapes.app(app), ipAddress: shapes.ip(address) };
    },
    releaseIpAddress: async ({ input }: Input<OldAddress>) => {
      const text = input.ip ?? input.ipAddressId ?? "";
      const ip = parseIp6(text);
      if (!ip.ok) throw new AppError("invalid", `Invalid IP address: '${text}'`);
      const app = findApp(view, principal, input.appId ?? view.addressAt(ip.value)?.app ?? "");
      await commands.releaseAddress(app.name, ip.value);
      return { clientMutationId: input.clientMutationId ?? null, app: shapes.app(app) };
    },
    addWireGuardPeer: async ({ input }: Input<NewPeer>) => {
      const org = asked.findOrg(input.organizationId);
      const gateway = deps.gateway();
      const name =
        input.network == null || input.network === "" ? DEFAULT_NETWORK : valid(parseNetworkName(input.network));
      const network = view.networkNamed(org.slug, name);
      if (network === undefined) throw new AppError("not_found", `organisation "${org.slug}" has no network "${name}"`);
      const region = valid(parseRegionCode(input.region ?? deps.nodeRegion));
      refuseKnownKey(view, gateway, input.pubkey);
      const wanted = { name: input.name, network: network.id, region, publicKey: input.pubkey };
      const peer = await commands.createPeer(wanted);
      await gateway.sync();
      return { peerip: peer.address, endpointip: gateway.host, pubkey: gateway.publicKey };
    },
    removeWireGuardPeer: async ({ input }: Input<{ organizationId: string; name: string }>) => {
      const org = asked.findOrg(input.organizationId);
      const peer = peersOf(view, org.slug).find((candidate) => candidate.name === input.name);
      if (peer === undefined) throw new AppError("not_found", `Could not find WireGuard peer "${input.name}"`);
      await commands.removePeer(peer.network, peer.name);
      await syncIfThere(deps.gateway);
      return { organization: shapes.org(org) };
    },
    validateWireGuardPeers: ({ input }: Input<{ peerIps: readonly string[] }>) => {
      const isOurs = (text: string): boolean => {
        const ip = parseIp6(text.replace(/\/\d+$/, ""));
        const peer = ip.ok && kindOf(ip.value) === "peer" ? view.peerAt(ip.value) : undefined;
        return peer !== undefined && mayUse(principal, peer.org);
      };
      return { invalidPeerIps: input.peerIps.filter((ip) => !isOurs(ip)), validPeerIps: input.peerIps.filter(isOurs) };
    },
  };
}
