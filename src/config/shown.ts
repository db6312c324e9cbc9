/** A value that TOML and JSON can both write. */
export type Shown = string | number | boolean | readonly Shown[] | ShownTable;
export type ShownTable = { readonly [key: string]: Shown };

/** A table without the keys that are undefined. */
export function shown(table: { readonly [key: string]: Shown | undefined }): ShownTable {
  return Object.fromEntries(
    Object.entries(table).flatMap(([key, value]) => (value === undefined ? [] : [[key, value]])),
  );
}

/** The same, without empty lists and tables too. */
export function filled(table: { readonly [key: string]: Shown | undefined }): ShownTable {
  const isEmpty = (value: Shown | undefined) => typeof value === "object" && Object.keys(value).length === 0;
  return shown(Object.fromEntries(Object.entries(table).filter(([, value]) => !isEmpty(value))));
}
