import type { Catalogue } from "./catalogue.ts";
import type { CatalogueEvent } from "./events.ts";
import { toJson } from "./machine-codec.ts";

/**
 * Events that make `from` equal to `to`. For whoever fell so far behind that the records between the two are gone.
 * Organisations and networks are never removed, so `to` has all of those that `from` has.
 */
export function differences(from: Catalogue, to: Catalogue): readonly CatalogueEvent[] {
  const events: CatalogueEvent[] = [];
  for (const { id } of from.machines()) if (to.machine(id) === undefined) events.push({ kind: "machine-gone", id });
  for (const app of from.apps()) {
    for (const { address } of from.addressesOf(app.name)) {
      if (to.addressAt(address) === undefined) events.push({ kind: "address-gone", address });
    }
    const other = to.app(app.name);
    // A new app of an old name may be on another network: the old one goes first.
    if (other?.number !== app.number) events.push({ kind: "app-gone", name: app.name });
  }
  for (const { network, name, address } of from.peers()) {
    if (to.peer(network, name)?.address !== address) events.push({ kind: "peer-gone", network, name });
  }
  const tokens = new Set([...to.tokens()].map(({ id }) => id));
  for (const { id } of from.tokens()) if (!tokens.has(id)) events.push({ kind: "token-gone", id });
  const known = new Set(from.toEvents().map(toJson));
  for (const event of to.toEvents()) if (!known.has(toJson(event))) events.push(event);
  return events;
}
