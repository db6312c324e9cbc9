import { ApiClient } from "./client.ts";
import { appOf, type MachineJson } from "./machines.ts";
import { EXIT, print, printable, printJson } from "./output.ts";
import type { GlobalOptions } from "./command.ts";
import { span, table } from "./table.ts";

interface MachineDetails {
  readonly receipt?: Readonly<Record<string, unknown>>;
}

/** One Machine: what it is, its checks, its last wake and its last events. */
export async function run(options: GlobalOptions & { app?: string }, args: readonly string[]): Promise<number> {
  const client = new ApiClient(options);
  const id = args[0] ?? "";
  const app = await appOf(client, id, options);
  const machine = (await client.get(
    `/v1/apps/${encodeURIComponent(app)}/machines/${encodeURIComponent(id)}`,
  )) as MachineJson;
  const details = (await client.get(`/flycast/v1/machines/${encodeURIComponent(id)}/receipt`)) as MachineDetails;
  if (options.json === true) {
    printJson({ ...machine, receipt: details.receipt });
    return EXIT.done;
  }
  const group = machine.config.metadata?.["fly_process_group"] ?? "";
  print(`Machine ID: ${machine.id}\nInstance ID: ${machine.instance_id}\nState: ${machine.state}\n`);
  print("VM");
  for (const [name, value] of [
    ["ID", machine.id],
    ["Instance ID", machine.instance_id],
    ["State", machine.state],
    ["App", app],
    ["Name", machine.name],
    ["Private IP", machine.private_ip],
    ["Region", machine.region],
    ["Process Group", group],
    ["Created", machine.created_at],
    ["Updated", machine.updated_at],
  ] as const) {
    print(`  ${name.padEnd(13)} = ${value}`);
  }
  if (machine.checks.length > 0) {
    print(
      `\nChecks\n${table(
        ["Name", "Status", "Output"],
        machine.checks.map((c) => [c.name, c.status, printable(c.output)]),
      )}`,
    );
  }
  if (details.receipt !== undefined) print(`\nLast wake\n${receiptLines(details.receipt)}`);
  print(
    `\nEvent Logs\n${table(
      ["State", "Event", "Source", "Timestamp"],
      machine.events.map((e) => [e.status, e.type, e.source, new Date(e.timestamp).toISOString()]),
    )}`,
  );
  return EXIT.done;
}

const STEPS: readonly (readonly [string, string])[] = [
  ["claimed", "start began"],
  ["driverStarted", "process exists"],
  ["portOpen", "port open"],
  ["checkPassed", "check passed"],
  ["firstByte", "first byte"],
  ["ownShare", "of that, Flycast"],
  ["appShare", "of that, the app"],
];

function receiptLines(receipt: Readonly<Record<string, unknown>>): string {
  const lines = STEPS.flatMap(([key, label]) => {
    const value = receipt[key];
    return typeof value === "number" ? [`  ${label.padEnd(17)} ${span(value)}`] : [];
  });
  return [
    `  by                ${printable(String(receipt["by"]))}`,
    `  waiters           ${String(receipt["waiters"])}`,
    ...lines,
  ].join("\n");
}
