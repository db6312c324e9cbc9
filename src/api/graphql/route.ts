import {
  buildSchema,
  execute,
  type GraphQLError,
  Kind,
  parse,
  validate,
  type DocumentNode,
  type SelectionSetNode,
} from "graphql";
import { Hono } from "hono";
import { AppError, toAppError, type ErrorCode } from "../../core/errors.ts";
import type { ApiEnv } from "../server.ts";
import type { GraphqlDeps } from "./asked.ts";
import { rootValue } from "./resolvers.ts";
import { SDL } from "./schema.ts";
import { unsupportedOperation } from "./unsupported.ts";

const MOST_TOKENS = 2000;
const DEEPEST = 12;
const MOST_FIELDS = 1000;

/** `POST /graphql`: the operations that the platform's command line needs, within bounds of size and depth. */
export function graphqlRoute(deps: GraphqlDeps): Hono<ApiEnv> {
  const schema = buildSchema(SDL);
  const routes = new Hono<ApiEnv>();
  routes.post("/", async (c) => {
    const body: unknown = await c.req.json().catch(() => undefined);
    const { query, variables, operationName } = (typeof body === "object" && body !== null ? body : {}) as Record<
      string,
      unknown
    >;
    if (typeof query !== "string") throw new AppError("invalid", "json: query: must be a string");
    const refuse = (message: string, code = "INVALID_ARGUMENTS"): Response =>
      c.json({ errors: [{ message, extensions: { code } }] });
    let document: DocumentNode;
    try {
      document = parse(query, { maxTokens: MOST_TOKENS });
    } catch (error) {
      return refuse(error instanceof Error ? error.message : "the query cannot be read");
    }
    const tooBig = sizeProblem(document);
    if (tooBig !== undefined) return refuse(tooBig);
    const unsupported = unsupportedOperation(schema, document);
    if (unsupported !== undefined) return refuse(unsupported, "UNPROCESSABLE");
    const problems = validate(schema, document, undefined, { maxErrors: 10 });
    if (problems.length > 0) {
      const errors = problems.map(({ message, locations }) => ({
        message: explain(message),
        locations,
        extensions: { code: "INVALID_ARGUMENTS" },
      }));
      return c.json({ errors });
    }
    const result = await execute({
      schema,
      document,
      rootValue: rootValue(deps, c.get("principal")),
      variableValues: typeof variables === "object" && variables !== null ? (variables as Record<string, unknown>) : {},
      operationName: typeof operationName === "string" ? operationName : null,
    });
    return c.json({
      ...(result.data === undefined ? {} : { data: result.data }),
      ...(result.errors === undefined ? {} : { errors: result.errors.map(errorJson) }),
    });
  });
  return routes;
}

/** What this node does not offer is said as such: a client's own text for it would be "cannot query field". */
function explain(message: string): string {
  return /^(?:Cannot query field|Unknown (?:type|argument))/.test(message)
    ? `${message} This node does not support it.`
    : message;
}

/** What the platform's clients branch on (superfly/graphql); every other refusal is `UNPROCESSABLE`. */
const PLATFORM_CODES: Partial<Record<ErrorCode, string>> = {
  not_found: "NOT_FOUND",
  unauthorized: "UNAUTHORIZED",
  forbidden: "UNAUTHORIZED",
  invalid: "INVALID",
  config_invalid: "INVALID",
  internal: "SERVER_ERROR",
};

function errorJson(error: GraphQLError): object {
  const { path } = error;
  if (error.originalError === undefined)
    return { message: error.message, path, extensions: { code: "INVALID_ARGUMENTS" } };
  const { code, message } = toAppError(error.originalError);
  return {
    message: wordsOf(code, message),
    path,
    extensions: { code: PLATFORM_CODES[code] ?? "UNPROCESSABLE", flycast: code },
  };
}

function wordsOf(code: ErrorCode, message: string): string {
  // A resolver that broke says nothing of its inside.
  if (code === "internal") return "an unexpected error";
  // The platform's client looks for exactly these words.
  return code === "name_taken" ? `Name has already been taken: ${message}` : message;
}

/** Bounds on what a query may ask for, fragments counted where they are used. */
function sizeProblem(document: DocumentNode): string | undefined {
  const fragments = new Map(
    document.definitions.flatMap((d) =>
      d.kind === Kind.FRAGMENT_DEFINITION ? [[d.name.value, d.selectionSet] as const] : [],
    ),
  );
  let fields = 0;
  const tooDeep = (set: SelectionSetNode | undefined, depth: number): boolean => {
    if (set === undefined) return false;
    if (depth > DEEPEST) return true;
    return set.selections.some((selection) => {
      if (++fields > MOST_FIELDS) return true;
      const inner =
        selection.kind === Kind.FRAGMENT_SPREAD ? fragments.get(selection.name.value) : selection.selectionSet;
      return tooDeep(inner, depth + 1);
    });
  };
  for (const definition of document.definitions) {
    if (definition.kind !== Kind.OPERATION_DEFINITION) continue;
    if (tooDeep(definition.selectionSet, 0))
      return `the query is deeper than ${DEEPEST} levels or larger than ${MOST_FIELDS} fields`;
  }
  return undefined;
}
