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
import { AppError, toAppError } from "../../core/errors.ts";
import type { ApiEnv } from "../server.ts";
import { rootValue, type GraphqlDeps } from "./resolvers.ts";
import { SDL } from "./schema.ts";

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
    let document: DocumentNode;
    try {
      document = parse(query, { maxTokens: MOST_TOKENS });
    } catch (error) {
      return c.json({ errors: [{ message: error instanceof Error ? error.message : "the query cannot be read" }] });
    }
    const tooBig = sizeProblem(document);
    if (tooBig !== undefined) return c.json({ errors: [{ message: tooBig }] });
    const problems = validate(schema, document, undefined, { maxErrors: 10 });
    if (problems.length > 0)
      return c.json({ errors: problems.map(({ message, locations }) => ({ message: explain(message), locations })) });
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

function errorJson(error: GraphQLError): object {
  const cause = error.originalError === undefined ? undefined : toAppError(error.originalError);
  return {
    // A resolver that broke says nothing of its inside.
    message: cause === undefined ? error.message : cause.code === "internal" ? "an unexpected error" : cause.message,
    path: error.path,
    extensions: { code: cause === undefined ? "invalid" : cause.code === "not_found" ? "NOT_FOUND" : cause.code },
  };
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
