import { AppError } from "../../core/errors.ts";
import { parseAppName } from "../../core/ids.ts";
import { REGIONS } from "../../core/regions.ts";
import type { App, Organisation } from "../../registry/model.ts";
import { findApp, findMachine, maySee, mayUse, valid } from "../lookup.ts";
import type { Principal } from "../tokens.ts";
import { accessMutations } from "./access-mutations.ts";
import { Asked, type GraphqlDeps } from "./asked.ts";
import { mutations } from "./mutations.ts";
import { releaseMutations } from "./release-mutations.ts";
import { page } from "./shapes.ts";
import { nearest, regionShape, USER, VM_SIZES } from "./values.ts";

interface PageArguments {
  readonly first?: number | null;
  readonly after?: string | null;
}
type AppArguments = { readonly name?: string | null; readonly id?: string | null; readonly internalId?: string | null };
type OrgArguments = { readonly slug?: string | null; readonly id?: string | null; readonly name?: string | null };

/** The root value: one function for each operation. Nested values are plain objects whose functions are called when asked for. */
export function rootValue(deps: GraphqlDeps, principal: Principal): object {
  const asked = new Asked(deps, principal);
  return { ...queries(asked), ...mutations(asked), ...accessMutations(asked), ...releaseMutations(asked) };
}

function queries(asked: Asked): object {
  const { deps, principal, shapes } = asked;
  const { view } = deps.registry;
  const orgs = (): Organisation[] => [...view.organisations()].filter((org) => mayUse(principal, org.slug));
  const noImages = (image: string): never => {
    throw new AppError("not_found", `Unknown repository: ${image}. This node runs commands, not images`);
  };

  return {
    viewer: USER,
    currentUser: USER,
    userOnlyToken: false,
    apps: ({ organizationId, role, first, after }: PageArguments & { organizationId?: string; role?: string }) => {
      const isAsked = (app: App): boolean =>
        maySee(principal, app) && (organizationId == null || app.org === organizationId);
      // No app here has one of the platform's roles, such as that of its old Postgres clusters.
      const all = role == null || role === "" ? [...view.apps()].filter(isAsked) : [];
      return page(byName(all), first, after, (app) => shapes.app(app));
    },
    app: ({ name, id, internalId }: AppArguments) => {
      const found = [...view.apps()].find((app) => internalId != null && String(app.number) === internalId);
      return shapes.app(findApp(view, principal, name ?? id ?? found?.name ?? internalId ?? ""));
    },
    appNameAvailable: ({ name }: { name: string }) => view.app(valid(parseAppName(name))) === undefined,
    machine: ({ machineId }: { machineId?: string }) => shapes.machine(findMachine(view, principal, machineId ?? "")),
    organization: ({ slug, id, name }: OrgArguments) => {
      const named = [...view.organisations()].find((org) => name != null && org.name === name);
      return shapes.org(asked.findOrg(slug ?? id ?? named?.slug ?? name));
    },
    organizations: ({ first, after }: PageArguments) => page(orgs(), first, after, (org) => shapes.org(org)),
    personalOrganization: () => shapes.org(asked.findOrg(undefined)),
    nearestRegion: () => regionShape(nearest(deps.nodeRegion)),
    platform: () => ({ requestRegion: deps.nodeRegion, regions: REGIONS.map(regionShape), vmSizes: VM_SIZES }),
    latestImageTag: ({ repository }: { repository: string }) => noImages(repository),
    latestImageDetails: ({ image }: { image: string }) => noImages(image),
    canPerformBluegreenDeployment: true,
  };
}

function byName(apps: readonly App[]): readonly App[] {
  return apps.toSorted((a, b) => (a.name < b.name ? -1 : 1));
}
