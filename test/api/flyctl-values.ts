import {
  getNamedType,
  isListType,
  isLeafType,
  isNonNullType,
  Kind,
  parse,
  type DocumentNode,
  type FieldNode,
  type GraphQLCompositeType,
  type GraphQLOutputType,
  type GraphQLSchema,
  isAbstractType,
  isObjectType,
  type SelectionSetNode,
  isCompositeType,
} from "graphql";
import type { Json } from "./harness.ts";

/**
 * What the platform's command line decodes fields into, where its answer breaks if they are anything else (superfly/fly-go
 * `types.go`, and the schema that its generated code is made from). Held against our own schema, which could be wrong too.
 */
export const DECODED: Readonly<Record<string, string>> = {
  "App.internalNumericId": "Int!",
  "App.version": "Int!",
  "App.deployed": "Boolean!",
  "App.config": "AppConfig!",
  "AppConfig.definition": "JSON!",
  "App.secrets": "[Secret!]!",
  "Organization.internalNumericId": "BigInt!",
  "Organization.paidPlan": "Boolean!",
  "Organization.settings": "JSON",
  "Release.version": "Int!",
  "Release.createdAt": "ISO8601DateTime!",
  "Machine.config": "JSON!",
  "MachineIP.maskSize": "Int!",
  "Image.compressedSizeFull": "BigInt!",
  "CreateBuildPayload.id": "ID!",
  "FinishBuildPayload.wallclockTimeMs": "Int!",
  "LimitedAccessToken.expiresAt": "ISO8601DateTime!",
  "IPAddress.network": "Network",
  "Region.latitude": "Float",
};

/** Every place of an answer where a selected field is missing, or has a value of another type than the schema says. */
export function misfits(schema: GraphQLSchema, query: string, data: Json): string[] {
  const document = parse(query);
  return document.definitions.flatMap((definition) => {
    if (definition.kind !== Kind.OPERATION_DEFINITION) return [];
    const root = schema.getRootType(definition.operation);
    return root == null ? ["no root"] : inSet({ schema, document }, root, definition.selectionSet, data, "data");
  });
}

interface Place {
  readonly schema: GraphQLSchema;
  readonly document: DocumentNode;
}

function inSet(place: Place, type: GraphQLCompositeType, set: SelectionSetNode, value: Json, path: string): string[] {
  if (typeof value !== "object" || value === null) return [`${path}: is no object`];
  return set.selections.flatMap((selection) => {
    if (selection.kind === Kind.FIELD) return inField(place, type, selection, value, path);
    const fragment =
      selection.kind === Kind.INLINE_FRAGMENT
        ? selection
        : place.document.definitions.find(
            (one) => one.kind === Kind.FRAGMENT_DEFINITION && one.name.value === selection.name.value,
          );
    if (fragment?.kind !== Kind.INLINE_FRAGMENT && fragment?.kind !== Kind.FRAGMENT_DEFINITION)
      return [`${path}: a fragment is missing`];
    const on = fragment.typeCondition === undefined ? type : place.schema.getType(fragment.typeCondition.name.value);
    if (!isCompositeType(on)) return [`${path}: no such type`];
    // Which of several it is cannot be seen from outside: whatever the answer has must fit.
    const isMaybe = isAbstractType(type) && isObjectType(on) && on.name !== "User";
    return isMaybe ? [] : inSet(place, on, fragment.selectionSet, value, path);
  });
}

function inField(place: Place, type: GraphQLCompositeType, field: FieldNode, value: Json, path: string): string[] {
  const name = field.name.value;
  const key = field.alias?.value ?? name;
  const declared = "getFields" in type ? type.getFields()[name]?.type : undefined;
  if (declared === undefined) return [`${path}.${key}: is not in the schema`];
  if (!(key in value)) return [`${path}.${key}: is missing`];
  return inValue(place, declared, field, value[key], `${path}.${key}`);
}

function inValue(place: Place, type: GraphQLOutputType, field: FieldNode, value: Json, path: string): string[] {
  if (isNonNullType(type)) {
    return value === null ? [`${path}: is null`] : inValue(place, type.ofType, field, value, path);
  }
  if (value === null) return [];
  if (isListType(type)) {
    if (!Array.isArray(value)) return [`${path}: is no list`];
    return value.flatMap((one, index) => inValue(place, type.ofType, field, one, `${path}[${index}]`));
  }
  const named = getNamedType(type);
  if (isLeafType(named))
    return isOf(named.name, value) ? [] : [`${path}: ${JSON.stringify(value)} is no ${named.name}`];
  return field.selectionSet === undefined ? [] : inSet(place, named, field.selectionSet, value, path);
}

function isOf(type: string, value: Json): boolean {
  switch (type) {
    case "Int":
      return Number.isInteger(value) && Math.abs(value) < 2 ** 31;
    case "Float":
      return typeof value === "number";
    case "Boolean":
      return typeof value === "boolean";
    case "BigInt":
      return typeof value === "string" && /^\d+$/.test(value);
    case "ISO8601DateTime":
      return typeof value === "string" && /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$/.test(value);
    case "JSON":
      return value !== undefined;
    default:
      return typeof value === "string";
  }
}
