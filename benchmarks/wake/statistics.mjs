export function quantile(values, q) {
  return values.toSorted((a, b) => a - b)[Math.min(values.length - 1, Math.floor(values.length * q))];
}

export function round(value) {
  return Math.round(value * 100) / 100;
}

export function row(values) {
  return { p25: round(quantile(values, 0.25)), p50: round(quantile(values, 0.5)), p99: round(quantile(values, 0.99)) };
}
