import { AppError } from "../../core/errors.ts";
import type { App } from "../../registry/model.ts";
import { issueToken } from "../issue-token.ts";
import { findApp } from "../lookup.ts";
import type { Asked, Input } from "./asked.ts";

interface NewToken {
  readonly name: string;
  readonly organizationId: string;
  readonly profile: string;
  readonly expiry?: string | null;
}
type NewSecrets = {
  readonly appId: string;
  readonly secrets: readonly { readonly key: string; readonly value: string }[];
  readonly replaceAll?: boolean | null;
};

/** Hours. The platform's command line asks for twenty years, `175200h0m0s`, where nobody says otherwise. */
const AS_GOOD_AS_EVER = 10 * 365 * 24;

/** Tokens and secrets. */
export function accessMutations(asked: Asked): object {
  const { deps, principal, shapes } = asked;
  const { view, commands } = deps.registry;
  const changed = async (app: App, values: Readonly<Record<string, string | null>>): Promise<object> => {
    await deps.secrets.change(app.name, values);
    return { app: shapes.app(app), release: shapes.release(app.name) };
  };
  return {
    createLimitedAccessToken: async ({ input }: Input<NewToken>) => {
      asked.requireNode();
      const org = asked.findOrg(input.organizationId);
      if (input.profile !== "deploy_organization") {
        throw new AppError(
          "unsupported",
          `tokens of profile "${input.profile.slice(0, 32)}" are for less than an organisation; this node's are for a whole one: flyctl tokens create org`,
        );
      }
      refuseExpiry(input.expiry ?? "");
      const { token, secret } = await issueToken(commands, org.slug, input.name);
      return { limitedAccessToken: shapes.token(token, secret) };
    },
    deleteLimitedAccessToken: async ({ input }: Input<{ id?: string | null; token?: string | null }>) => {
      asked.requireNode();
      await commands.revokeToken(input.id ?? "");
      return { token: null };
    },
    setSecrets: async ({ input }: Input<NewSecrets>) => {
      const app = findApp(view, principal, input.appId);
      const others = input.replaceAll === true ? (await deps.secrets.list(app.name)).secrets : [];
      return changed(
        app,
        Object.fromEntries([
          ...others.map(({ name }) => [name, null]),
          ...input.secrets.map(({ key, value }) => [key, value]),
        ]),
      );
    },
    unsetSecrets: ({ input }: Input<{ appId: string; keys: readonly string[] }>) =>
      changed(findApp(view, principal, input.appId), Object.fromEntries(input.keys.map((key) => [key, null]))),
  };
}

/** A token that is to end and does not would be worse than none. @errors unsupported */
function refuseExpiry(expiry: string): void {
  const hours = Number(/^(\d{1,9})h/.exec(expiry)?.[1] ?? 0);
  if (expiry === "" || hours >= AS_GOOD_AS_EVER) return;
  throw new AppError("unsupported", "tokens of this node do not run out: leave out --expiry, and revoke it in time");
}
