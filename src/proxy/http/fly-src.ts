/** `Fly-Src` and its signature: which Machine sent a request (reference §4.2). */
import { createPublicKey, type KeyObject, sign } from "node:crypto";
import type { Clock } from "../../core/clock.ts";
import type { AppName, MachineId, OrgSlug } from "../../core/ids.ts";

export interface FlySrcSigner {
  /** Both header lines, each with CR LF, for a request from this Machine now. */
  lines(machine: MachineId, app: AppName, org: OrgSlug): string;
  /** The public key as Machines find it at `/.fly/fly-src.pub`: 64 hex digits. */
  readonly publicKey: string;
}

// A Machine that called in the last second is remembered; callers of earlier seconds are not.
const MAX_REMEMBERED = 10_000;

/** `privateKey`: an Ed25519 key. A signature costs more than a request, so each caller's is made once a second. */
export function createFlySrcSigner(privateKey: KeyObject, clock: Clock): FlySrcSigner {
  let second = -1;
  let remembered = new Map<MachineId, string>();
  const jwk = createPublicKey(privateKey).export({ format: "jwk" });
  return {
    publicKey: Buffer.from(jwk.x ?? "", "base64url").toString("hex"),
    lines(machine, app, org) {
      const now = Math.floor(clock.wall() / 1000);
      if (now !== second || remembered.size >= MAX_REMEMBERED) {
        second = now;
        remembered = new Map();
      }
      let lines = remembered.get(machine);
      if (lines === undefined) {
        const value = `instance=${machine};app=${app};org=${org};ts=${now}`;
        const signature = sign(null, Buffer.from(value), privateKey).toString("base64");
        lines = `Fly-Src: ${value}\r\nFly-Src-Signature: ${signature}\r\n`;
        remembered.set(machine, lines);
      }
      return lines;
    },
  };
}
