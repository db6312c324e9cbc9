/** Undefined when it throws. For what we note about a Machine, which matters less than the Machine: a full disk must not end it. */
export function attempt<T>(work: () => T): T | undefined {
  try {
    return work();
  } catch {
    return undefined;
  }
}
