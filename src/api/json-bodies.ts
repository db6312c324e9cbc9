import type { MiddlewareHandler } from "hono";
import { AppError } from "../core/errors.ts";

/** More than any config or document has, and far less than what makes a recursion over it end in a full stack. */
const DEEPEST = 100;

/**
 * Bodies are JSON, whatever their header calls them (curl calls them a form), and only if there is one.
 * @errors invalid when a body is nested more deeply than anything with a meaning
 */
export const jsonBodies: MiddlewareHandler = async (c, next) => {
  const { method, raw } = c.req;
  if (method === "GET" || method === "HEAD") return next();
  const text = await c.req.text();
  if (text === "") raw.headers.delete("content-type");
  else raw.headers.set("content-type", "application/json");
  if (depthOf(text) > DEEPEST)
    throw new AppError("invalid", `json: the body is nested more than ${DEEPEST} levels deep`);
  return next();
};

const [QUOTE, BACKSLASH] = ['"', "\\"].map((c) => c.charCodeAt(0));
const OPENING = new Set(["[", "{"].map((c) => c.charCodeAt(0)));
const CLOSING = new Set(["]", "}"].map((c) => c.charCodeAt(0)));

/** How deeply the objects and lists of a JSON text are nested. Character by character: a pattern would recurse over it too. */
export function depthOf(text: string): number {
  let depth = 0;
  let deepest = 0;
  let inString = false;
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (inString) {
      if (code === BACKSLASH) i++;
      else if (code === QUOTE) inString = false;
    } else if (code === QUOTE) inString = true;
    else if (OPENING.has(code)) deepest = Math.max(deepest, ++depth);
    else if (CLOSING.has(code)) depth--;
  }
  return deepest;
}
