import { findApp } from "../lookup.ts";
import { nextRelease, parseReleaseId } from "../releases.ts";
import type { Asked, Input } from "./asked.ts";
import { releaseShape } from "./values.ts";

/**
 * What the platform's command line notes while it deploys. Nothing is kept: a release becomes one when Machines have it, and
 * images are names.
 */
export function releaseMutations(asked: Asked): object {
  const { deps, principal, shapes } = asked;
  const { view } = deps.registry;
  return {
    createRelease: ({ input }: Input<{ appId: string; image?: string | null }>) => {
      const app = findApp(view, principal, input.appId);
      const release = nextRelease(view, app.name, input.image ?? "", deps.clock.wall());
      return { app: shapes.app(app), release: releaseShape(release) };
    },
    updateRelease: ({ input }: Input<{ releaseId: string; status?: string | null }>) => {
      const { app, version } = parseReleaseId(input.releaseId);
      findApp(view, principal, app);
      const createdAt = new Date(deps.clock.wall()).toISOString();
      const release = releaseShape({ id: input.releaseId, version, createdAt, imageRef: "" });
      return { release: { ...release, status: input.status ?? "complete" } };
    },
    createBuild: ({ input }: Input<{ appName: string }>) => {
      findApp(view, principal, input.appName);
      return { id: String(Math.trunc(deps.clock.wall())), status: "started" };
    },
    finishBuild: ({ input }: Input<{ appName: string; buildId: string; status: string }>) => {
      findApp(view, principal, input.appName);
      return { id: input.buildId, status: input.status, wallclockTimeMs: 0 };
    },
  };
}
