import fc from "fast-check";
import type { Json } from "./harness.ts";

/** The part of JSON Schema that the API's own description uses. */
export class Schemas {
  readonly #document: Json;

  constructor(document: Json) {
    this.#document = document;
  }

  /** Every place where a value is not as its schema says. */
  problems(schema: Json, value: unknown, path = "$"): string[] {
    const s = this.#resolve(schema);
    const alternatives: Json[] | undefined = s.anyOf ?? s.oneOf;
    if (alternatives !== undefined) {
      const each = alternatives.map((one) => this.problems(one, value, path));
      return each.some((list) => list.length === 0)
        ? []
        : [`${path}: fits none of ${alternatives.length}: ${each.flat().join("; ")}`];
    }
    if (s.allOf !== undefined) return s.allOf.flatMap((one: Json) => this.problems(one, value, path));
    if ("const" in s) return value === s.const ? [] : [`${path}: is not ${JSON.stringify(s.const)}`];
    if (s.enum !== undefined)
      return s.enum.includes(value) ? [] : [`${path}: ${JSON.stringify(value)} is not in the enum`];
    const types: string[] = s.type === undefined ? [] : [s.type].flat();
    if (
      types.length > 0 &&
      !types.includes(typeOf(value)) &&
      !(types.includes("number") && typeOf(value) === "integer")
    )
      return [`${path}: is ${typeOf(value)}, not ${types.join(" or ")}`];
    if (typeof value === "string") {
      if (s.pattern !== undefined && !new RegExp(s.pattern).test(value))
        return [`${path}: does not match ${s.pattern}`];
      if (s.format === "date-time" && Number.isNaN(Date.parse(value))) return [`${path}: is no time`];
      return [];
    }
    if (Array.isArray(value)) return value.flatMap((item, i) => this.problems(s.items ?? {}, item, `${path}[${i}]`));
    if (typeof value !== "object" || value === null) return [];
    const properties: Json = s.properties ?? {};
    const missing = (s.required ?? []).filter((name: string) => !(name in value));
    return [
      ...missing.map((name: string) => `${path}.${name}: is missing`),
      ...Object.entries(value).flatMap(([name, item]) => {
        if (name in properties) return this.problems(properties[name], item, `${path}.${name}`);
        if (s.additionalProperties === false) return [`${path}.${name}: is not described`];
        return typeof s.additionalProperties === "object"
          ? this.problems(s.additionalProperties, item, `${path}.${name}`)
          : [];
      }),
    ];
  }

  /** Values that mostly fit a schema, with garbage in places. */
  arbitrary(schema: Json, depth = 0): fc.Arbitrary<unknown> {
    const fitting = this.#fitting(this.#resolve(schema), depth);
    return fc.oneof({ weight: 12, arbitrary: fitting }, { weight: 1, arbitrary: GARBAGE });
  }

  #fitting(s: Json, depth: number): fc.Arbitrary<unknown> {
    if (depth > 6) return fc.constant(null);
    const inner = (schema: Json): fc.Arbitrary<unknown> => this.arbitrary(schema, depth + 1);
    const alternatives: Json[] | undefined = s.anyOf ?? s.oneOf;
    if (alternatives !== undefined) return fc.oneof(...alternatives.map(inner));
    if ("const" in s) return fc.constant(s.const);
    if (s.enum !== undefined) return fc.constantFrom(...s.enum);
    const [type] = [s.type].flat().filter((one) => one !== "null");
    switch (type) {
      case "string":
        return fc.oneof(
          fc.constantFrom("", "app", "10s", "SIGTERM", "web", "http", "/x", "0s", "vol_1"),
          fc.string({ maxLength: 40 }),
        );
      case "integer":
      case "number":
        return fc.oneof(fc.integer({ min: 0, max: 70_000 }), fc.integer(), fc.double());
      case "boolean":
        return fc.boolean();
      case "array":
        return fc.array(inner(s.items ?? {}), { maxLength: 3 });
      case "object": {
        const fields = Object.entries(s.properties ?? {}).map(([name, schema]) => [name, inner(schema)] as const);
        const known = fc.record(Object.fromEntries(fields), { requiredKeys: [] });
        const more = typeof s.additionalProperties === "object" ? inner(s.additionalProperties) : GARBAGE;
        return fc
          .tuple(
            known,
            fc.dictionary(fc.oneof(fc.string({ maxLength: 8 }), fc.constant("__proto__")), more, { maxKeys: 2 }),
          )
          .map(([a, b]) => ({ ...b, ...a }));
      }
      default:
        return GARBAGE;
    }
  }

  #resolve(schema: Json): Json {
    const name = /^#\/components\/schemas\/(.+)$/.exec(schema?.$ref ?? "")?.[1];
    return name === undefined ? (schema ?? {}) : this.#document.components.schemas[name];
  }
}

const GARBAGE: fc.Arbitrary<unknown> = fc.oneof(
  fc.constantFrom(null, true, 0, -1, 1e308, "", "\0", "../../etc/passwd", "\u202e", "x".repeat(5000), [], {}, [[[[]]]]),
  fc.json({ maxDepth: 3 }).map((text): unknown => JSON.parse(text)),
);

function typeOf(value: unknown): string {
  if (value === null) return "null";
  if (Array.isArray(value)) return "array";
  return Number.isInteger(value) ? "integer" : typeof value;
}
