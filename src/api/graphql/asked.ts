import { AppError } from "../../core/errors.ts";
import { PERSONAL_ORG } from "../../core/ids.ts";
import type { Registry } from "../../registry/commands.ts";
import type { App, Organisation } from "../../registry/model.ts";
import { mayUse, orgSlugOf } from "../lookup.ts";
import type { GatewayFacts } from "../routes-wireguard.ts";
import type { Secrets } from "../secrets.ts";
import type { Principal } from "../tokens.ts";
import { Shapes, type ShapesDeps } from "./shapes.ts";

export interface GraphqlDeps extends ShapesDeps {
  readonly registry: Registry;
  readonly secrets: Pick<Secrets, "list" | "change">;
  readonly nodeRegion: string;
  readonly destroyApp: (app: App) => Promise<void>;
  /** Where WireGuard clients find the gateway, and its public key. @errors unsupported where there is none */
  readonly gateway: () => GatewayFacts;
}

/** How a mutation gives its one argument. */
export type Input<T> = { readonly input: T };

/** One request: who asks, and what its resolvers share. */
export class Asked {
  readonly deps: GraphqlDeps;
  readonly principal: Principal;
  readonly shapes: Shapes;

  constructor(deps: GraphqlDeps, principal: Principal) {
    this.deps = deps;
    this.principal = principal;
    this.shapes = new Shapes(deps, principal);
  }

  /** By its slug, which is its id too; the caller's own where none is named. @errors not_found */
  findOrg(slugOrId: string | null | undefined): Organisation {
    const own = this.principal.kind === "org" ? this.principal.org : PERSONAL_ORG;
    const slug = slugOrId == null ? own : orgSlugOf(slugOrId);
    const org = this.deps.registry.view.organisation(slug);
    if (org === undefined || !mayUse(this.principal, org.slug))
      throw new AppError("not_found", `Could not find Organization "${slug}"`);
    return org;
  }

  /** @errors forbidden */
  requireNode(): void {
    if (this.principal.kind !== "node") throw new AppError("forbidden", "this needs the node's own token");
  }
}
