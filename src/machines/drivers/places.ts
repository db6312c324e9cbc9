import { createHash } from "node:crypto";
import { AppError, toAppError } from "../../core/errors.ts";
import type { MachineId } from "../../core/ids.ts";
import type { Port } from "../../core/units.ts";
import type { DialAddress, NetworkPlane, Place, PlaceRequest } from "../../network/plane.ts";
import type { Machine } from "../../registry/model.ts";
import { placeRequest } from "./surroundings.ts";

/** The places that this driver's Machines have on the plane. */
export class Places {
  readonly #plane: NetworkPlane;
  readonly #stateDir: string;
  /** With a print of what each was made with. */
  readonly #places = new Map<MachineId, { readonly place: Place; readonly print: string }>();

  constructor(plane: NetworkPlane, stateDir: string) {
    this.#plane = plane;
    this.#stateDir = stateDir;
  }

  /** Makes the Machine's place or finds it. @errors PM02 in the plane's words */
  async take(machine: Machine, files: PlaceRequest["files"]): Promise<Place> {
    const request = placeRequest(machine, files, this.#stateDir);
    // A place is made with its mounts and files: a new version of the Machine that has others needs a new one.
    const print = createHash("sha256")
      .update(JSON.stringify([request.mounts, request.files]))
      .digest("base64");
    const before = this.#places.get(machine.id);
    if (before !== undefined && before.print !== print) await this.release(machine.id);
    const place = await this.#plane.place(request).catch(failedStart);
    this.#places.set(machine.id, { place, print });
    return place;
  }

  dial(id: MachineId, port: Port): readonly DialAddress[] {
    return this.#places.get(id)?.place.dial(port) ?? [];
  }

  /** Gives it back, also one that an earlier life of the node made. */
  async release(id: MachineId): Promise<void> {
    this.#places.delete(id);
    await this.#plane.unplace(id);
  }
}

/** Whatever keeps a Machine from starting is a failed start to whoever waits for it; the words stay those of the cause. */
export function failedStart(thrown: unknown): never {
  const { code, message } = toAppError(thrown);
  throw code === "PM02" ? thrown : new AppError("PM02", message, { cause: thrown });
}
