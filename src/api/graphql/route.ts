import {
  buildSchema,
  defaultFieldResolver,
  execute,
  GraphQLError,
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
/** The standard question for the whole schema nests as deeply as this. */
const DEEPEST_ABOUT_SCHEMA = 20;
const MOST_ABOUT_SCHEMA = 3;
const MOST_FIELDS = 1000;
/** Fields of one name are compared with one another, each with each. */
const MOST_ALIKE = 10;
const LONGEST_MESSAGE = 500;
/** Values in one answer. */
const MOST_VALUES = 20_000;
/** What takes about as long as a request of the other routes. */
const TEXT_OF_A_REQUEST = 1000;
const VALUES_OF_A_REQUEST = 500;
const SCHEMA_COSTS = 20;

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
    c.get("charge")(
      Math.floor(query.length / TEXT_OF_A_REQUEST) + (/__(?:schema|type)\b/.test(query) ? SCHEMA_COSTS : 0),
    );
    let document: DocumentNode;
    try {
      document = parse(query, { maxTokens: MOST_TOKENS });
    } catch (error) {
      return refuse(error instanceof Error ? error.message.slice(0, LONGEST_MESSAGE) : "the query cannot be read");
    }
    const tooBig = sizeProblem(document);
    if (tooBig !== undefined) return refuse(tooBig);
    const unsupported = unsupportedOperation(schema, document);
    if (unsupported !== undefined) return refuse(unsupported, "UNPROCESSABLE");
    const problems = validate(schema, document, undefined, { maxErrors: 10 });
    if (problems.length > 0) {
      const errors = problems.map(({ message, locations }) => ({
        message: explain(message).slice(0, LONGEST_MESSAGE),
        locations,
        extensions: { code: "INVALID_ARGUMENTS" },
      }));
      return c.json({ errors });
    }
    let values = 0;
    const result = await execute({
      schema,
      document,
      rootValue: rootValue(deps, c.get("principal")),
      variableValues: typeof variables === "object" && variables !== null ? (variables as Record<string, unknown>) : {},
      operationName: typeof operationName === "string" ? operationName : null,
      // What is beyond is missing, for no more than a moment: errors would each take longer than a value.
      fieldResolver: (...asked) => (++values > MOST_VALUES ? null : (defaultFieldResolver(...asked) as unknown)),
    });
    c.get("charge")(Math.floor(values / VALUES_OF_A_REQUEST));
    if (values > MOST_VALUES) return refuse(`the answer is too large: more than ${MOST_VALUES} values`);
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
  // A value of the client's that does not fit its type; it may be as long as the body.
  if (error.originalError === undefined || error.originalError instanceof GraphQLError)
    return { message: error.message.slice(0, LONGEST_MESSAGE), path, extensions: { code: "INVALID_ARGUMENTS" } };
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
  let aboutSchema = 0;
  /** `left`: levels that may follow. `alike`: the fields so far that will be one object's, by the name they get. */
  const problemIn = (set: SelectionSetNode, left: number, alike: Map<string, number>): string | undefined => {
    if (left < 0) return `the query is deeper than ${DEEPEST} levels`;
    for (const selection of set.selections) {
      if (++fields > MOST_FIELDS) return `the query has more than ${MOST_FIELDS} fields`;
      const inner =
        selection.kind === Kind.FRAGMENT_SPREAD ? fragments.get(selection.name.value) : selection.selectionSet;
      let deeper = left - 1;
      if (selection.kind === Kind.FIELD) {
        const name = (selection.alias ?? selection.name).value;
        const count = (alike.get(name) ?? 0) + 1;
        if (count > MOST_ALIKE) return `the query asks for "${name}" more than ${MOST_ALIKE} times in one place`;
        alike.set(name, count);
        if (selection.name.value === "__schema" || selection.name.value === "__type") {
          if (++aboutSchema > MOST_ABOUT_SCHEMA)
            return `the query asks about the schema more than ${MOST_ABOUT_SCHEMA} times`;
          deeper = DEEPEST_ABOUT_SCHEMA;
        }
      }
      const problem = inner && problemIn(inner, deeper, selection.kind === Kind.FIELD ? new Map() : alike);
      if (problem !== undefined) return problem;
    }
    return undefined;
  };
  for (const definition of document.definitions) {
    if (definition.kind !== Kind.OPERATION_DEFINITION) continue;
    const problem = problemIn(definition.selectionSet, DEEPEST, new Map());
    if (problem !== undefined) return problem;
  }
  return undefined;
}
