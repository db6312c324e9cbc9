/** JSON that keeps maps and sets: what the outer process and the core say to each other. */
export function encode(value: unknown): string {
  return JSON.stringify(value, (_, item: unknown) => {
    if (item instanceof Map) return { $map: [...item] };
    if (item instanceof Set) return { $set: [...item] };
    return item;
  });
}

/** The reverse. Only for text that `encode` wrote: the type is taken on trust. */
export function decode<T>(text: string): T {
  return JSON.parse(text, (_, item: unknown) => {
    if (typeof item !== "object" || item === null) return item;
    if ("$map" in item && Array.isArray(item.$map)) return new Map(item.$map as [unknown, unknown][]);
    if ("$set" in item && Array.isArray(item.$set)) return new Set(item.$set as unknown[]);
    return item;
  }) as T;
}
