import { OpenAPIHono } from "@hono/zod-openapi";
import { AppError } from "../core/errors.ts";
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
