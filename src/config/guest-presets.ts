interface Preset {
  readonly cpus: number;
  readonly memoryMb: number;
}

function family(kind: string, memoryPerCpu: number, sizes: readonly number[]): readonly [string, Preset][] {
  return sizes.map((cpus) => [`${kind}-${cpus}x`, { cpus, memoryMb: cpus * memoryPerCpu }]);
}

/** CPUs and MiB of memory of the platform's sizes. Source: superfly/fly-go machine_types.go, 2026-08-21. */
export const GUEST_PRESETS: Readonly<Record<string, Preset>> = Object.fromEntries([
  ...family("shared-cpu", 256, [1, 2, 4, 6, 8]),
  ...family("performance", 2048, [1, 2, 4, 6, 8, 10, 12, 14, 16]),
  ...["a10", "l40s", "a100-40gb", "a100-80gb"].map((gpu) => [gpu, { cpus: 8, memoryMb: 32 * 1024 }] as const),
]);
