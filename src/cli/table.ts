/** Rows under upper-case headers, columns lined up, two spaces apart: flyctl's plain tables. The last column is not padded. */
export function table(headers: readonly string[], rows: readonly (readonly string[])[]): string {
  const widths = headers.map((header, column) =>
    Math.max(header.length, ...rows.map((row) => displayWidth(row[column] ?? ""))),
  );
  const line = (cells: readonly string[]): string =>
    cells
      .map((cell, column) =>
        column === headers.length - 1 ? cell : cell + " ".repeat((widths[column] ?? 0) - displayWidth(cell)),
      )
      .join("  ")
      .trimEnd();
  return [line(headers.map((header) => header.toUpperCase())), ...rows.map(line)].join("\n");
}

/** Rows in a frame of `+-|` under centred upper-case headers: flyctl's other tables, such as that of WireGuard peers. */
export function framedTable(headers: readonly string[], rows: readonly (readonly string[])[]): string {
  const widths = headers.map((header, column) =>
    Math.max(displayWidth(header), ...rows.map((row) => displayWidth(row[column] ?? ""))),
  );
  const rule = `+${widths.map((width) => "-".repeat(width + 2)).join("+")}+`;
  const line = (cells: readonly string[], pad: (cell: string, width: number) => string): string =>
    `|${widths.map((width, column) => ` ${pad(cells[column] ?? "", width)} `).join("|")}|`;
  const heads = headers.map((header) => header.toUpperCase());
  return [rule, line(heads, centred), rule, ...rows.map((row) => line(row, toTheLeft)), rule].join("\n");
}

function toTheLeft(cell: string, width: number): string {
  return cell + " ".repeat(width - displayWidth(cell));
}

function centred(cell: string, width: number): string {
  const before = Math.floor((width - displayWidth(cell)) / 2);
  return toTheLeft(" ".repeat(before) + cell, width);
}

/** Without the colour codes that picocolors may have put in. */
function displayWidth(text: string): number {
  return text.replace(/\u001b\[[0-9;]*m/g, "").length;
}

/** `just now`, `12s ago`, `3m ago`, `5h ago`, `2d ago`. */
export function ago(then: number, now: number): string {
  const seconds = Math.floor((now - then) / 1000);
  if (seconds < 5) return "just now";
  if (seconds < 60) return `${seconds}s ago`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)}m ago`;
  if (seconds < 86_400) return `${Math.floor(seconds / 3600)}h ago`;
  return `${Math.floor(seconds / 86_400)}d ago`;
}

/** A length of time for people: `3.4 ms`, `120 ms`, `1.5 s`, `2m 5s`. */
export function span(ms: number): string {
  if (ms < 10) return `${ms.toFixed(1)} ms`;
  if (ms < 1000) return `${Math.round(ms)} ms`;
  if (ms < 60_000) return `${(ms / 1000).toFixed(ms < 10_000 ? 1 : 0)} s`;
  const seconds = Math.round(ms / 1000);
  return seconds < 3600
    ? `${Math.floor(seconds / 60)}m ${seconds % 60}s`
    : `${Math.floor(seconds / 3600)}h ${Math.floor((seconds % 3600) / 60)}m`;
}
