/** What a Machine finds around its process: its user, its folders and files, and the place that the network plane gives it. */
import { statSync } from "node:fs";
import { chown, mkdir, readFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { AppError } from "../../core/errors.ts";
import type { NetworkMode, PlaceRequest } from "../../network/plane.ts";
import type { Machine } from "../../registry/model.ts";
import { findUser, type User } from "./users.ts";

type Environment = Readonly<Record<string, string>>;

/**
 * As whom a Machine runs; undefined: as the node does. As root that is `user`, else the owner of the app's folder.
 * @errors PM02 when there is no such user, or when it takes root to become it
 */
export async function runsAs(machine: Machine): Promise<User | undefined> {
  const { user, folder } = machine.config;
  const self = process.getuid?.();
  if (self === undefined) return undefined; // a system without users
  if (user !== undefined) {
    const found = await findUser(user);
    if (found === undefined) {
      throw new AppError("PM02", `user "${user}" of app "${machine.app}" does not exist on this computer`);
    }
    if (found.uid === self) return undefined;
    if (self === 0) return found;
    throw new AppError("PM02", `app "${machine.app}" is to run as user "${user}", and only root can do that`);
  }
  if (self !== 0) return undefined;
  const { uid, gid } = statSync(folder);
  if (uid === 0) return undefined;
  return (await findUser(String(uid))) ?? { name: String(uid), uid, gid, home: folder };
}

/**
 * Makes the folders of `[mounts]` that are missing, owned by whom the Machine runs as. `closed`: a folder that only the
 * node's user may enter, where volumes are used at the path at which they lie.
 * @errors PM02 when one lies in there and the Machine runs as somebody else
 */
export async function makeMountFolders(
  machine: Machine,
  user: User | undefined,
  closed: string | undefined,
): Promise<void> {
  for (const { folder, source } of volumesOf(machine)) {
    if (user !== undefined && closed !== undefined && folder.startsWith(`${closed}/`)) {
      throw new AppError(
        "PM02",
        `the volume "${source}" of app "${machine.app}" lies in ${closed}, which user ${user.name} may not enter: ` +
          `write volumes = "./volumes" under [apps.${machine.app}] in flycast.toml`,
      );
    }
    const made = await mkdir(folder, { recursive: true });
    if (made !== undefined && user !== undefined) await chown(folder, user.uid, user.gid);
  }
}

/** The Machine's own volumes: a folder for each source, below one of its own, so that two Machines of an app never share data. */
export function volumesOf(machine: Machine): Machine["config"]["mounts"] {
  return machine.config.mounts.map((mount) => ({ ...mount, folder: join(mount.folder, machine.id, mount.source) }));
}

/** `[[files]]` with their content. `secrets` holds base64 values under `secret_name`, as on the platform. */
export async function filesOf(machine: Machine, secrets: Environment): Promise<PlaceRequest["files"]> {
  const files: { path: string; content: string }[] = [];
  for (const { guestPath, localPath, secretName, rawValue } of machine.config.files) {
    const encoded = secretName === undefined ? rawValue : secrets[secretName];
    let content: string;
    if (localPath !== undefined) {
      const path = resolve(machine.config.folder, localPath);
      content = await readFile(path, "utf8").catch(() => {
        throw new AppError("PM02", `${path}, which app "${machine.app}" wants at ${guestPath}, cannot be read`);
      });
    } else if (encoded !== undefined) {
      content = Buffer.from(encoded, "base64").toString("utf8");
    } else {
      throw new AppError(
        "PM02",
        `app "${machine.app}" wants the secret ${secretName ?? "?"} at ${guestPath}: it is not set`,
      );
    }
    files.push({ path: guestPath, content });
  }
  return files;
}

export function placeRequest(machine: Machine, files: PlaceRequest["files"], stateDir: string): PlaceRequest {
  return {
    id: machine.id,
    network: machine.network,
    address: machine.address,
    mounts: volumesOf(machine).map(({ folder, destination }) => ({ folder, destination })),
    files,
    hidden: [stateDir],
    ports: machine.config.services.map((service) => service.internalPort),
  };
}

/** The whole environment of the main process: the order says who wins. */
export function processEnvironment(
  machine: Machine,
  env: Environment,
  place: { readonly mode: NetworkMode; readonly env: Environment },
  user: User | undefined,
): Record<string, string> {
  const volumes: Record<string, string> = {};
  if (place.mode === "loopback") {
    // Nothing can be bound at its destination there, so the app is told where its folder is.
    for (const { source, folder } of volumesOf(machine)) {
      volumes[`FLY_VOLUME_${source.toUpperCase().replace(/[^A-Z0-9]/g, "_")}`] = folder;
    }
  }
  const person = user === undefined ? {} : { HOME: user.home, USER: user.name, LOGNAME: user.name };
  // In loopback mode Machines share one computer's ports: what the mode gives out counts, whatever the app's [env] says.
  const [weak, strong] = place.mode === "loopback" ? [{}, place.env] : [place.env, {}];
  return { ...weak, ...env, ...person, ...volumes, ...strong, FLY_MACHINE_ID: machine.id };
}
