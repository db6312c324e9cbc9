import type { AppStatus } from "../api/status.ts";
import type { WhyReport } from "../machines/why.ts";
import { ApiClient } from "./client.ts";
import { EXIT, print, printable, printJson } from "./output.ts";
import type { GlobalOptions } from "./command.ts";
import { ago, table } from "./table.ts";

/** What holds a Machine up, or why it stopped, and what happens next. */
export async function run(options: GlobalOptions, args: readonly string[]): Promise<number> {
  const client = new ApiClient(options);
  const asked = args[0] ?? "";
  if (MACHINE_ID.test(asked)) {
    const report = await whyOf(client, asked);
    if (options.json === true) printJson(report);
    else print(formatWhy(report, Date.now()));
    return EXIT.done;
  }
  // The name of an app asks for all its Machines.
  const { machines } = (await client.get(`/flycast/v1/apps/${encodeURIComponent(asked)}/status`)) as AppStatus;
  const reports = await Promise.all(machines.map(({ id }) => whyOf(client, id)));
  if (options.json === true) printJson(reports);
  else print(reports.map((report) => formatWhy(report, Date.now())).join("\n\n") || `${asked} has no Machines.`);
  return EXIT.done;
}

const MACHINE_ID = /^[0-9a-f]{14}$/;

async function whyOf(client: ApiClient, id: string): Promise<WhyReport> {
  return (await client.get(`/flycast/v1/machines/${encodeURIComponent(id)}/why`)) as WhyReport;
}

export function formatWhy(report: WhyReport, now: number): string {
  const head = `Machine ${report.machine} of ${report.app} is ${report.state}${report.since > 0 ? ` (last change ${ago(report.since, now)})` : ""}: ${printable(report.because)}`;
  const when =
    report.at === undefined ? "" : ` (${report.at > now ? `in ${Math.ceil((report.at - now) / 1000)} s` : "now"})`;
  const holders =
    report.holders.length === 0
      ? ["Nothing is in use."]
      : [
          "In use by:",
          table(
            ["Kind", "Port", "From", "Since", "Last byte", ""],
            report.holders.map((holder) => [
              holder.kind,
              String(holder.service),
              printable(holder.from),
              ago(holder.since, now),
              ago(holder.lastByte, now),
              holder.waiting ? "waits for the start" : holder.holds ? "" : "its caller is suspended: does not hold",
            ]),
          ),
        ];
  return [head, "", ...holders, "", `Next: ${printable(report.next)}${when}`].join("\n");
}
