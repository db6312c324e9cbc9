/** Metrics as text, as Prometheus reads it (github.com/prometheus/docs, instrumenting/exposition_formats, version 0.0.4). */
export type Labels = Readonly<Record<string, string>>;

export interface Sample {
  readonly labels: Labels;
  readonly value: number;
}

/** Observations in buckets: `counts[i]` is how many were at most `bounds[i]` and above the bound before; the last has no bound. */
export interface HistogramSample {
  readonly labels: Labels;
  readonly bounds: readonly number[];
  readonly counts: ArrayLike<number>;
  readonly sum: number;
}

export function family(type: "counter" | "gauge", name: string, help: string, samples: Iterable<Sample>): string {
  let text = head(type, name, help);
  for (const { labels, value } of samples) text += line(name, labels, value);
  return text;
}

export function histogramFamily(name: string, help: string, samples: Iterable<HistogramSample>): string {
  let text = head("histogram", name, help);
  for (const { labels, bounds, counts, sum } of samples) {
    let total = 0;
    for (const [i, bound] of bounds.entries()) {
      total += counts[i] ?? 0;
      text += line(`${name}_bucket`, { ...labels, le: String(bound) }, total);
    }
    total += counts[bounds.length] ?? 0;
    text += line(`${name}_bucket`, { ...labels, le: "+Inf" }, total);
    text += line(`${name}_sum`, labels, sum);
    text += line(`${name}_count`, labels, total);
  }
  return text;
}

/** In a label's value a backslash, a quote and a line feed are escaped; everything else stands for itself. */
export function escapeLabel(value: string): string {
  return value.replaceAll("\\", "\\\\").replaceAll("\n", "\\n").replaceAll('"', '\\"');
}

function head(type: string, name: string, help: string): string {
  return `# HELP ${name} ${help}\n# TYPE ${name} ${type}\n`;
}

function line(name: string, labels: Labels, value: number): string {
  const pairs = Object.entries(labels).map(([key, text]) => `${key}="${escapeLabel(text)}"`);
  return `${name}${pairs.length === 0 ? "" : `{${pairs.join(",")}}`} ${value}\n`;
}
