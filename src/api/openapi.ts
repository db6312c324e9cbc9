import { OpenAPIHono, z } from "@hono/zod-openapi";
import { AppError } from "../core/errors.ts";
import { errorSchema } from "./platform-schemas.ts";
import type { ApiEnv } from "./server.ts";

export type Router = OpenAPIHono<ApiEnv>;

/** A router whose bad input becomes an error that names the place. */
export function newRouter(): Router {
  return new OpenAPIHono<ApiEnv>({
    defaultHook: (result) => {
      if (result.success) return;
      const issue = result.error.issues[0];
      const place =
        issue === undefined || issue.path.length === 0 ? result.target : `${result.target}: ${issue.path.join(".")}`;
      throw new AppError("invalid", `${place}: ${issue?.message ?? "not valid"}`);
    },
  });
}

/** The JSON content of a request or an answer in a route's description. */
export const json = <T extends z.ZodType>(schema: T) => ({ "application/json": { schema } });

/** Every refusal has the same shape. */
export const refused = { description: "refused", content: json(errorSchema) };

/** The answer of a command that has nothing to tell. `pending` is ours: it goes on after this answer. */
export const done = {
  description: "done",
  content: json(z.object({ ok: z.boolean(), pending: z.literal(true).optional() })),
};

export const appParam = z.object({ app: z.string().max(63) });
export const machineParam = appParam.extend({ id: z.string().max(32) });

/** A query flag as clients write it. */
export const queryFlag = z.enum(["true", "false", "1", "0", ""]).optional();

export function isSet(flag: z.infer<typeof queryFlag>): boolean {
  return flag === "true" || flag === "1";
}
