import { AppError } from "../core/errors.ts";
import { parseAppName, parseMachineId, parseOrgSlug, PERSONAL_ORG, type OrgSlug } from "../core/ids.ts";
import type { Result } from "../core/result.ts";
import type { App, Machine } from "../registry/model.ts";
import type { RegistryView } from "../registry/view.ts";
import type { Principal } from "./tokens.ts";

export function valid<T>(result: Result<T, string>): T {
  if (!result.ok) throw new AppError("invalid", result.error);
  return result.value;
}

/**
 * On the platform `personal` is everybody's own name for an organisation whose slug is another, and its command line names it by
 * that: its agent ends at once where both are the same. No other organisation can be called this.
 */
const PERSONAL_RAW_SLUG = "personal_org";

export function rawSlugOf(org: OrgSlug): string {
  return org === PERSONAL_ORG ? PERSONAL_RAW_SLUG : org;
}

/** An organisation by either of its names. @errors invalid */
export function orgSlugOf(text: string): OrgSlug {
  return text === PERSONAL_RAW_SLUG ? PERSONAL_ORG : valid(parseOrgSlug(text));
}

export function maySee(principal: Principal, app: App): boolean {
  return mayUse(principal, app.org);
}

export function mayUse(principal: Principal, org: OrgSlug): boolean {
  return principal.kind === "node" || principal.org === org;
}

/** The apps that a token may see, in order of their names. */
export function sortedVisibleApps(view: RegistryView, principal: Principal): readonly App[] {
  return [...view.apps()].filter((app) => maySee(principal, app)).toSorted((a, b) => (a.name < b.name ? -1 : 1));
}

/**
 * @errors not_found where the name is free, forbidden where it is taken by another organisation: names are global, so
 * whoever wants to make an app learns that anyway, and clients tell the two apart (reference §10.3).
 */
export function findApp(view: RegistryView, principal: Principal, name: string): App {
  const parsed = parseAppName(name);
  const app = parsed.ok ? view.app(parsed.value) : undefined;
  if (app === undefined) {
    throw new AppError("not_found", `Could not find App "${name}"`, { details: { next: "flycast apps list" } });
  }
  if (!maySee(principal, app)) throw new AppError("forbidden", `App "${name}" belongs to another organization`);
  return app;
}

/** @errors not_found */
export function findMachine(view: RegistryView, principal: Principal, id: string, app?: App): Machine {
  const parsed = parseMachineId(id);
  const machine = parsed.ok ? view.machine(parsed.value) : undefined;
  const owner = machine === undefined ? undefined : view.app(machine.app);
  if (
    machine === undefined ||
    owner === undefined ||
    !maySee(principal, owner) ||
    (app !== undefined && owner.name !== app.name)
  ) {
    throw new AppError("not_found", `Machine ${JSON.stringify(id)} was not found`, {
      details: { next: "flycast status" },
    });
  }
  return machine;
}
