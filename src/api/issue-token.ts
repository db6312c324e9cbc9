import { randomBytes } from "node:crypto";
import type { OrgSlug } from "../core/ids.ts";
import type { Commands } from "../registry/commands.ts";
import type { Token } from "../registry/model.ts";
import { hashToken } from "./tokens.ts";

/** Makes a token of one organisation. Its secret is told once, now: the catalogue keeps a hash. */
export async function issueToken(
  commands: Pick<Commands, "createToken">,
  org: OrgSlug,
  name: string,
): Promise<{ readonly token: Token; readonly secret: string }> {
  const secret = `flycast_${randomBytes(32).toString("base64url")}`;
  return { token: await commands.createToken({ name, org, hash: hashToken(secret) }), secret };
}
