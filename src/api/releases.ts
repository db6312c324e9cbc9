import type { AppName } from "../core/ids.ts";
import type { RegistryView } from "../registry/view.ts";

/** A release as clients of the platform know it. */
export interface Release {
  readonly id: string;
  readonly version: number;
  readonly createdAt: string;
}

/**
 * There are no releases of images here: the newest version of an app's Machines stands for the current one. Undefined for
 * an app without Machines.
 */
export function currentRelease(view: RegistryView, app: AppName): Release | undefined {
  const newest = view.machinesOf(app).toSorted((a, b) => b.version - a.version || b.updatedAt - a.updatedAt)[0];
  return (
    newest && { id: newest.instance, version: newest.version, createdAt: new Date(newest.updatedAt).toISOString() }
  );
}
