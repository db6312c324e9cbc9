import fc from "fast-check";
import {
  buildSchema,
  getIntrospectionQuery,
  getNamedType,
  isEnumType,
  isInputObjectType,
  isListType,
  isNonNullType,
  isObjectType,
  isAbstractType,
  isRequiredArgument,
  type GraphQLArgument,
  type GraphQLInputType,
  type GraphQLOutputType,
} from "graphql";
import { afterAll, beforeAll, expect, test } from "vitest";
import { SDL } from "../../src/api/graphql/schema.ts";
import * as documents from "./flyctl-documents.ts";
import { CONFIG, TestApi, type Answer } from "./harness.ts";

/** How many times more inputs than usual: FLYCAST_FUZZ=20 is for an evening. */
const THOROUGH = Number(process.env["FLYCAST_FUZZ"] ?? 1);
const schema = buildSchema(SDL);

let api: TestApi;
let asked = 0;
beforeAll(async () => {
  api = await TestApi.start();
  await api.call("/v1/apps", { body: { name: "fuzz", org_slug: "personal" } });
  await api.call("/v1/apps/fuzz/machines", { body: { config: CONFIG, skip_launch: true } });
  await api.call("/v1/apps/fuzz/ip_assignments", { body: { type: "private_v6" } });
});
afterAll(() => {
  if (THOROUGH > 1) process.stdout.write(`${asked} GraphQL requests\n`);
  return api.close();
});

/** Sends it, and holds the answer to what every answer must be. */
async function ask(raw: string): Promise<Answer> {
  asked++;
  const answer = await api.call("/graphql", { raw, signal: AbortSignal.timeout(20_000) });
  const fail = (why: string): never => {
    throw new Error(`${why}: ${raw.slice(0, 2000)} → ${answer.status} ${answer.text.slice(0, 500)}`);
  };
  if (answer.status !== 200 && answer.status !== 400) fail("status");
  if (answer.status === 400 && typeof answer.json?.error !== "string") fail("no error");
  if (answer.status === 200 && answer.json?.data === undefined && answer.json?.errors === undefined) fail("nothing");
  for (const error of answer.json?.errors ?? []) {
    if (typeof error.message !== "string" || error.message === "") fail("an error without words");
    const code: unknown = error.extensions?.code;
    if (typeof code !== "string" || code === "SERVER_ERROR") fail(`an error of code ${String(code)}`);
  }
  return answer;
}
const askFor = (query: string, variables: unknown = {}): Promise<Answer> => ask(JSON.stringify({ query, variables }));

const NAMES = ["fuzz", "personal", "default", "iad", "", "x".repeat(300), "__proto__", "fdaa::1", "☃", "a\u0000b"];
const anything = fc.oneof(
  fc.constantFrom<unknown>(null, true, -1, 0, 1, 2_147_483_648, 1.5, 1e300, [], {}, [[]], ...NAMES),
  fc.jsonValue({ maxDepth: 3 }),
);

/** A value of the type, or what has nothing to do with it. */
function valueOf(type: GraphQLInputType, depth = 0): fc.Arbitrary<unknown> {
  if (isNonNullType(type))
    return fc.oneof({ weight: 12, arbitrary: valueOf(type.ofType, depth) }, { weight: 1, arbitrary: anything });
  if (isListType(type)) return fc.array(valueOf(type.ofType, depth), { maxLength: 3 });
  if (isEnumType(type)) return fc.constantFrom(...type.getValues().map(({ name }) => name), "NONE_SUCH");
  if (isInputObjectType(type) && depth < 4) {
    const fields = Object.values(type.getFields());
    const required = fields.filter((field) => isNonNullType(field.type)).map(({ name }) => name);
    return fc.record(Object.fromEntries(fields.map((field) => [field.name, valueOf(field.type, depth + 1)])), {
      requiredKeys: required,
    });
  }
  const { name } = getNamedType(type);
  if (name === "Boolean") return fc.boolean();
  if (name === "Int") return fc.constantFrom(0, 1, 2, -1, 1000, 2_147_483_647);
  if (name === "JSON") return anything;
  return fc.oneof({ weight: 5, arbitrary: fc.constantFrom(...NAMES) }, { weight: 1, arbitrary: anything });
}

interface Document {
  readonly declared: string[];
  readonly variables: Record<string, unknown>;
}

/** Arguments go in as variables, so that every value of JSON has a text. */
function argumentsOf(args: readonly GraphQLArgument[], gen: fc.GeneratorValue, into: Document): string {
  const given = args.filter((arg) => isRequiredArgument(arg) || gen(fc.nat, 2) === 0);
  const texts = given.map((arg) => {
    const name = `v${into.declared.length}`;
    into.declared.push(`$${name}: ${String(arg.type)}`);
    into.variables[name] = gen(() => valueOf(arg.type));
    return `${arg.name}: $${name}`;
  });
  return texts.length === 0 ? "" : `(${texts.join(", ")})`;
}

function selectionOf(output: GraphQLOutputType, gen: fc.GeneratorValue, into: Document, depth: number): string {
  const type = getNamedType(output);
  if (isAbstractType(type)) return "{ __typename }";
  if (!isObjectType(type)) return "";
  const fields = Object.values(type.getFields());
  const chosen = Array.from({ length: 1 + gen(fc.nat, 4) }, () => fields[gen(fc.nat, fields.length - 1)]!);
  const lines = chosen.map((field, i) => {
    const leaf = !isObjectType(getNamedType(field.type)) && !isAbstractType(getNamedType(field.type));
    if (!leaf && depth >= 6) return "__typename";
    const alias = gen(fc.nat, 3) === 0 ? "" : `a${i}: `;
    const directive = gen(fc.nat, 9) === 0 ? ` @${["include", "skip", "nope"][gen(fc.nat, 2)]}(if: true)` : "";
    const line = `${alias}${field.name}${argumentsOf(field.args, gen, into)}${directive}${selectionOf(field.type, gen, into, depth + 1)}`;
    return gen(fc.nat, 9) === 0 ? `... on ${type.name} { ${line} }` : line;
  });
  return ` { ${lines.join(" ")} }`;
}

test("documents of the schema, with values that fit and values that do not", async () => {
  const roots = { query: schema.getQueryType()!, mutation: schema.getMutationType()! };
  let withData = 0;
  for (const kind of ["query", "mutation"] as const) {
    for (const field of Object.values(roots[kind].getFields())) {
      await fc.assert(
        fc.asyncProperty(fc.gen(), async (gen) => {
          const into: Document = { declared: [], variables: {} };
          const text = `${field.name}${argumentsOf(field.args, gen, into)}${selectionOf(field.type, gen, into, 0)}`;
          const declared = into.declared.length === 0 ? "" : `(${into.declared.join(", ")})`;
          const answer = await askFor(`${kind} ${declared} { ${text} }`, into.variables);
          if (answer.json?.data?.[field.name] != null) withData++;
        }),
        { numRuns: 25 * THOROUGH },
      );
    }
  }
  // It is not all refused.
  expect(withData).toBeGreaterThan(50);
  expect(api.logged.filter((line) => line.startsWith("the API failed"))).toEqual([]);
}, 600_000);

/** Every document of the fixtures. */
const known = Object.values(documents).flatMap((group) =>
  Object.values(group as object).flatMap((one: unknown) => {
    const query = typeof one === "string" ? one : (one as { query?: unknown } | null)?.query;
    return typeof query === "string" ? [query] : [];
  }),
);

test("what clients send, with pieces taken out, doubled, exchanged and made up", async () => {
  expect(known.length).toBeGreaterThan(20);
  const words = fc.constantFrom(
    ...'{ } ( ) [ ] ! $ : @ ... & | = " """ # query mutation subscription fragment on null true -1 1e999 0x'.split(" "),
    ..."@include(if:true) @skip(if:$a) @deprecated __schema __type __typename ...a $a:Int!=1 \\u{1F600} \u0000 \uFEFF".split(
      " ",
    ),
  );
  await fc.assert(
    fc.asyncProperty(
      fc.constantFrom(...known),
      fc.array(fc.tuple(fc.nat(3), fc.double({ min: 0, max: 1, noNaN: true }), words), { minLength: 1, maxLength: 4 }),
      fc.oneof(
        fc.constant({ appName: "fuzz", slug: "personal" }),
        fc.dictionary(fc.constantFrom("appName", "slug", "input", "name"), anything),
        anything,
      ),
      async (document, changes, variables) => {
        let parts = document.split(/(?<=[\s{}()])/);
        for (const [what, where, word] of changes) {
          const at = Math.floor(where * parts.length);
          if (what === 0) parts = parts.toSpliced(at, 1);
          else if (what === 1) parts = parts.toSpliced(at, 0, parts[at] ?? "");
          else if (what === 2) parts = parts.toSpliced(at, 1, ` ${word} `);
          else parts = parts.toSpliced(at, 0, ` ${word} `);
        }
        await askFor(parts.join(""), variables);
      },
    ),
    { numRuns: 400 * THOROUGH },
  );
}, 600_000);

test("bodies that are no document at all", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.oneof(
        fc.json(),
        fc.string({ unit: "binary" }),
        anything.map((query) => JSON.stringify({ query, variables: query })),
      ),
      async (raw) => {
        await ask(raw === "" ? "{" : raw);
      },
    ),
    { numRuns: 200 * THOROUGH },
  );
}, 600_000);

test("the standard question for the whole schema is answered", async () => {
  const { data } = (await askFor(getIntrospectionQuery())).json;
  expect(data.__schema.types.map(({ name }: { name: string }) => name)).toContain("FlyPlatform");
});

const times = (count: number, text: (i: number) => string): string =>
  Array.from({ length: count }, (_, i) => text(i)).join(" ");
const nested = (count: number): unknown => JSON.parse("[".repeat(count) + "]".repeat(count));

test.each<[string, string, RegExp, unknown?]>([
  [
    "levels",
    `{apps${times(7, () => "{nodes{organization{apps")}{nodes{name}}${"}".repeat(21)}}`,
    /deeper than 12 levels/,
  ],
  ["a fragment in itself", "{...a} fragment a on Query{viewer{...a}}", /deeper than 12 levels/],
  [
    "fragments that double",
    `{...a0} ${times(40, (i) => `fragment a${i} on Query{...a${i + 1} ...a${i + 1}}`)} fragment a40 on Query{userOnlyToken}`,
    /deeper|more than 1000 fields/,
  ],
  [
    "fields",
    `{${times(30, (i) => `a${i}:viewer{...f}`)}} fragment f on Principal{${times(40, (i) => `x${i}:id`)}}`,
    /more than 1000 fields/,
  ],
  ["one field, many times", `{${times(200, () => "apps{nodes{id}}")}}`, /"apps" more than 10 times/],
  [
    "one name in many fragments",
    `{${times(100, (i) => `...a${i}`)}} ${times(100, (i) => `fragment a${i} on Query{apps{nodes{id}}}`)}`,
    /"apps" more than 10 times/,
  ],
  [
    "the schema, many times",
    `{${times(90, (i) => `a${i}:__schema{types{fields{type{fields{name}}}}}`)}}`,
    /about the schema more than 3 times/,
  ],
  [
    "the schema within itself",
    "{__schema{types{fields{type{fields{type{fields{type{fields{name}}}}}}}}}}",
    /introspection depth/,
  ],
  ["tokens", `{${times(3000, (i) => `a${i}:userOnlyToken`)}}`, /2000 tokens/],
  ["directives", `{userOnlyToken ${times(500, () => "@x")}}`, /Unknown directive/],
  ["lists in lists", `{app(name:${"[".repeat(900)}${"]".repeat(900)}){name}}`, /cannot represent/],
  ["lists in variables", "query($a:String){app(name:$a){name}}", /nested more than 100/, { a: nested(200) }],
  ["a value of another type", "query($a:String){app(name:$a){name}}", /Variable "\$a" got invalid value/, { a: [1] }],
  [
    "a number too large",
    "query($a:Int){apps(first:$a){nodes{name}}}",
    /Variable "\$a" got invalid value/,
    { a: 2 ** 40 },
  ],
  ["no value", "query($a:String!){app(name:$a){name}}", /Variable "\$a" of required type/],
  ["a field of no object", "{__proto__ constructor toString}", /does not support/],
  ["a subscription", "subscription{x}", /does not support the subscription/],
  ["two operations, none named", "query a{userOnlyToken} query b{userOnlyToken}", /operation name/],
  ["nothing", "", /Unexpected <EOF>/],
])("too much, or nothing that can be meant: %s", async (_name, query, words, variables = {}) => {
  const begun = performance.now();
  const { json, text } = await askFor(query, variables);
  expect(json.errors?.[0].message ?? json.error).toMatch(words);
  expect(text.length).toBeLessThan(20_000);
  expect(performance.now() - begun).toBeLessThan(2000);
});

test("an answer of very many values is refused, and counts as many requests", async () => {
  const other = await TestApi.start();
  for (let i = 0; i < 100; i++) await other.call("/v1/apps", { body: { name: `app-${i}`, org_slug: "personal" } });
  const query = (fields: number): string => `{apps{nodes{${times(fields, (i) => `a${i}:name`)}}}}`;
  const post = (fields: number, inside = false): Promise<Answer> =>
    other.call("/graphql", { body: { query: query(fields) }, inside });
  expect((await post(100)).json.data.apps.nodes).toHaveLength(100);
  expect((await post(300)).json.errors[0].message).toMatch("more than 20000 values");
  other.insideNetwork = [...other.registry.view.networks()][0]!.id;
  const statuses: number[] = [];
  for (let i = 0; i < 30; i++) statuses.push((await post(190, true)).status);
  // Each of them as much as forty: from inside 200 are free, then 50 a second.
  expect(statuses.filter((status) => status === 429).length).toBeGreaterThan(10);
  await other.close();
});
