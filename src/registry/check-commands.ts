/** What each command does to the catalogue, or why it may not. Pure: state, command and drawn values in, events out. */
import type { AppError } from "../core/errors.ts";
import {
  DEFAULT_NETWORK,
  type AppName,
  type Ip6,
  type NetworkId,
  type NetworkName,
  type OrgSlug,
} from "../core/ids.ts";
import { ok, type Result } from "../core/result.ts";
import { flycastAddress } from "../network/address.ts";
import type { Catalogue } from "./catalogue.ts";
import type { NewApp } from "./commands.ts";
import { draw, noApp, noNetwork, readU32, refuse, TITLE, type Decision, type Draws } from "./decision.ts";
import type { CatalogueEvent } from "./events.ts";
import type { App, FlycastAddress, Network, Organisation } from "./model.ts";

const U32 = 2 ** 32 - 1;
const FIRST_NETWORK = 0x8000_0000;

export function createOrganisation(
  state: Catalogue,
  input: { readonly slug: OrgSlug; readonly name?: string; readonly user?: string | undefined },
  draws: Draws,
): Decision<Organisation> {
  if (state.organisation(input.slug) !== undefined) {
    return refuse("name_taken", `there is an organisation "${input.slug}" already`);
  }
  const name = input.name ?? input.slug;
  if (!TITLE.test(name)) return refuse("invalid", "an organisation's name has 1 to 100 printable characters");
  const network = newNetwork(state, input.slug, DEFAULT_NETWORK, draws);
  if (!network.ok) return network;
  const value: Organisation = {
    slug: input.slug,
    name,
    number: state.lastNumbers.organisation + 1,
    user: input.user,
    createdAt: draws.now,
  };
  return ok({
    events: [
      { kind: "organisation", value },
      { kind: "network", value: network.value },
    ],
    value,
  });
}

export function updateOrganisation(
  state: Catalogue,
  slug: OrgSlug,
  change: { readonly name?: string; readonly user?: string | undefined },
): Decision<Organisation> {
  const old = state.organisation(slug);
  if (old === undefined) return refuse("not_found", `there is no organisation "${slug}"`);
  if (change.name !== undefined && !TITLE.test(change.name)) {
    return refuse("invalid", "an organisation's name has 1 to 100 printable characters");
  }
  const value: Organisation = {
    ...old,
    ...(change.name === undefined ? {} : { name: change.name }),
    ...("user" in change ? { user: change.user } : {}),
  };
  return ok({ events: [{ kind: "organisation", value }], value });
}

export function ensureNetwork(state: Catalogue, org: OrgSlug, name: NetworkName, draws: Draws): Decision<Network> {
  if (state.organisation(org) === undefined) return refuse("not_found", `there is no organisation "${org}"`);
  const existing = state.networkNamed(org, name);
  if (existing !== undefined) return ok({ events: [], value: existing });
  const network = newNetwork(state, org, name, draws);
  if (!network.ok) return network;
  return ok({ events: [{ kind: "network", value: network.value }], value: network.value });
}

export function createApp(state: Catalogue, input: NewApp, draws: Draws): Decision<App> {
  if (state.app(input.name) !== undefined) return refuse("name_taken", `there is an app "${input.name}" already`);
  const network = ensureNetwork(state, input.org, input.network, draws);
  if (!network.ok) return network;
  const value: App = {
    name: input.name,
    number: state.lastNumbers.app + 1,
    org: input.org,
    network: network.value.value.id,
    primaryRegion: input.primaryRegion,
    protocol: input.protocol ?? "auto",
    idleSessions: input.idleSessions ?? "keep",
    tls: input.tls,
    replayFrom: input.replayFrom,
    createdAt: draws.now,
  };
  return ok({ events: [...network.value.events, { kind: "app", value }], value });
}

export function updateApp(
  state: Catalogue,
  name: AppName,
  change: Partial<Pick<App, "primaryRegion" | "protocol" | "idleSessions" | "tls" | "replayFrom">>,
): Decision<App> {
  const old = state.app(name);
  if (old === undefined) return noApp(name);
  // Field by field: an object from outside may carry more than its type says.
  const value: App = {
    ...old,
    ...("primaryRegion" in change ? { primaryRegion: change.primaryRegion } : {}),
    ...(change.protocol === undefined ? {} : { protocol: change.protocol }),
    ...(change.idleSessions === undefined ? {} : { idleSessions: change.idleSessions }),
    ...("tls" in change ? { tls: change.tls } : {}),
    ...(change.replayFrom === undefined ? {} : { replayFrom: change.replayFrom }),
  };
  if (JSON.stringify(value) === JSON.stringify(old)) return ok({ events: [], value: old });
  return ok({ events: [{ kind: "app", value }], value });
}

export function destroyApp(state: Catalogue, name: AppName): Decision<void> {
  if (state.app(name) === undefined) return noApp(name);
  const machines = state.machinesOf(name).length;
  if (machines > 0)
    return refuse("conflict", `app "${name}" still has ${machines} Machine${machines === 1 ? "" : "s"}`);
  const events: CatalogueEvent[] = state
    .addressesOf(name)
    .map(({ address }) => ({ kind: "address-gone", address }) as const);
  return ok({ events: [...events, { kind: "app-gone", name }], value: undefined });
}

export function allocateAddress(
  state: Catalogue,
  app: AppName,
  network: NetworkId,
  draws: Draws,
): Decision<FlycastAddress> {
  if (state.app(app) === undefined) return noApp(app);
  if (state.network(network) === undefined) return noNetwork(network);
  const numbers = state.numbersOf(network);
  const number = numbers.address + 1;
  if (number > U32) return refuse("exhausted", "the network has no Flycast addresses left");
  const value: FlycastAddress = { address: flycastAddress(network, number), app, network, createdAt: draws.now };
  return ok({
    events: [
      { kind: "network-numbers", network, ...numbers, address: number },
      { kind: "address", value },
    ],
    value,
  });
}

export function releaseAddress(state: Catalogue, app: AppName, address: Ip6): Decision<void> {
  if (state.app(app) === undefined) return noApp(app);
  if (state.addressAt(address)?.app !== app) return refuse("not_found", `app "${app}" has no address ${address}`);
  return ok({ events: [{ kind: "address-gone", address }], value: undefined });
}

function newNetwork(state: Catalogue, org: OrgSlug, name: NetworkName, draws: Draws): Result<Network, AppError> {
  // Networks are never removed, so what is not there was never given.
  const id = draw(
    () => (FIRST_NETWORK + (readU32(draws.random(4)) % FIRST_NETWORK)) as NetworkId,
    (candidate) => state.network(candidate) === undefined,
  );
  if (id === undefined) return refuse("exhausted", "no free network id was found");
  return ok({ id, org, name, createdAt: draws.now });
}
