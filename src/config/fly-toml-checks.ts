import type { TomlValue } from "smol-toml";
import type { BareUnit } from "./duration.ts";
import { isTable, key, keyOr, keyText, type Infer, type ReadContext, type Type } from "./schema.ts";
import { anything, duration, flag, filledText, oneOf, orAbsent, port, printedText, text } from "./schema-leaves.ts";
import { list, mapOf, table } from "./schema-tables.ts";
import type { Path } from "./toml-document.ts";

/** A header of a check's request. The platform's API has lists of values; fly.toml has one. */
export interface HeaderLine {
  readonly name: string;
  readonly value: string;
}

const headerItem = table({
  name: key(text, { doc: "Name of the header." }),
  value: key(printedText, { doc: "Its value." }),
});

const CODE = "superfly/flyctl `internal/appconfig/patches.go` and `toplevelcheck.go`, 2026-08-21";

// RFC 9110, 5.6.2 (token) and 5.5 (field values): what may stand in a header without forging another.
const TOKEN = /^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,256}$/;
const FIELD_VALUE = /^[\t\x20-\x7e\x80-\xff]*$/;

export function isHeaderName(name: string): boolean {
  return TOKEN.test(name);
}

export function isHeaderValue(value: string): boolean {
  return FIELD_VALUE.test(value) && value.length <= 8192;
}

function checkedHeader(line: HeaderLine, path: Path, context: ReadContext): HeaderLine | undefined {
  if (isHeaderName(line.name) && isHeaderValue(line.value)) return line;
  const message = `${keyText(path)} is not a header that HTTP can carry`;
  context.report({ grade: "error", path, rule: "bad-header", message });
  return undefined;
}

/** `{ name = "value" }`, or in old places `[{ name = …, value = … }]`. `cast`: numbers and booleans become text. */
function headers(cast: boolean): Type<readonly HeaderLine[]> {
  const map = mapOf(cast ? printedText : text);
  const items = list(headerItem);
  return {
    label: "a table of text",
    json: cast ? { anyOf: [map.json, items.json] } : map.json,
    read(value, path, context) {
      const lines: HeaderLine[] = [];
      const add = (line: HeaderLine, at: Path) => {
        const checked = checkedHeader(line, at, context);
        if (checked !== undefined) lines.push(checked);
      };
      if (cast && Array.isArray(value)) {
        for (const item of items.read(value, path, context) ?? []) {
          const at = context.origins.get(item) ?? path;
          if (item.name !== undefined) add({ name: item.name, value: item.value ?? "" }, at);
          else context.report({ grade: "error", path: at, rule: "missing-key", message: `${keyText(at)} has no name` });
        }
        return lines;
      }
      for (const [name, line] of map.read(value, path, context) ?? []) add({ name, value: line }, [...path, name]);
      return lines;
    },
  };
}

/** Numbers mean milliseconds where the platform's client patches them, and nanoseconds in `[http_service]`. */
function timing(bare: BareUnit, emptyIsAbsent: boolean) {
  const time = duration(bare, { emptyIsAbsent });
  return {
    interval: key(time, { doc: "Time between checks. Used between 1 s and 1 min.", defaultDoc: '`"15s"`' }),
    timeout: key(time, { doc: "How long one check may take. Used between 1 s and 1 min.", defaultDoc: '`"2s"`' }),
    grace_period: key(time, {
      doc: "Failures within this time after a start do not count. Nobody waits for it.",
      defaultDoc: '`"1s"`',
    }),
  };
}

function httpKeys(cast: boolean) {
  return {
    method: key(filledText, { doc: "Request method.", defaultDoc: '`"GET"`' }),
    path: key(filledText, { doc: "Request path.", defaultDoc: '`"/"`' }),
    protocol: key(orAbsent(oneOf(["http", "https"])), { doc: "Whether the check speaks TLS.", defaultDoc: '`"http"`' }),
    tls_skip_verify: keyOr(flag, false, { doc: "Accept any certificate." }),
    tls_server_name: key(filledText, { doc: "Name that the certificate must be for." }),
    headers: keyOr(headers(cast), [], { doc: "Headers of the request. Redirects are not followed; only 2xx passes." }),
  };
}

const OLD_CHECK_KEYS = {
  restart_limit: { grade: "note", why: "checks never restart a Machine" },
  name: { grade: "note", why: "only checks in [checks] have names" },
  type: { grade: "note", why: "the kind of check is the name of the list" },
} as const;

export const tcpCheck = table(timing("milliseconds", true), { source: CODE, retired: OLD_CHECK_KEYS });
export const httpCheck = table(
  { ...timing("milliseconds", true), ...httpKeys(true) },
  { source: CODE, retired: OLD_CHECK_KEYS },
);
/** Checks of `[http_service]`: nothing is patched there. */
export const httpServiceCheck = table(
  { ...timing("nanoseconds", false), ...httpKeys(false) },
  { source: CODE, retired: OLD_CHECK_KEYS },
);

const topLevelCheck = table(
  {
    name: key(text, { doc: "Only in the old form `[[checks]]`: the check's name." }),
    type: key(filledText, { doc: "`http` or `tcp`. Required." }),
    port: key(port({ cast: true }), { doc: "Port to check.", defaultDoc: "`http_service.internal_port`" }),
    ...timing("milliseconds", true),
    ...httpKeys(true),
    processes: keyOr(list(text), [], {
      doc: "Process groups whose Machines are checked.",
      defaultDoc: "the default group",
    }),
  },
  { source: CODE, retired: { restart_limit: OLD_CHECK_KEYS.restart_limit } },
);
export type TopLevelCheck = Infer<typeof topLevelCheck>;

const checkMap = mapOf(topLevelCheck);
const checkList = list(topLevelCheck);

/** `[checks.NAME]`, or the old `[[checks]]` with `name`. */
export const topLevelChecks: Type<ReadonlyMap<string, TopLevelCheck>> = {
  label: "a table of checks",
  json: { anyOf: [checkMap.json, checkList.json] },
  inner: topLevelCheck,
  container: "map",
  read(value: TomlValue, path, context) {
    if (!Array.isArray(value)) return checkMap.read(value, path, context);
    const named = new Map<string, TopLevelCheck>();
    for (const check of checkList.read(value, path, context) ?? []) {
      const at = context.origins.get(check) ?? path;
      if (check.name === undefined) {
        const message = `${keyText(at)} has no name`;
        context.report({ grade: "error", path: at, rule: "missing-key", message, remedy: "write [checks.NAME]" });
      } else {
        named.set(check.name, check);
      }
    }
    return named;
  },
};

/** Commands that the platform runs once a deploy in a throw-away Machine. */
export const machineChecks = keyOr(list(anything), [], {
  doc: "Commands that are run against a new Machine during a deploy.",
  noMeaning: "there are no throw-away Machines that test a deploy",
});

export function isEmptyTable(value: TomlValue): boolean {
  return isTable(value) && Object.keys(value).length === 0;
}
