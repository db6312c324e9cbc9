import { expect, test } from "vitest";
import { AppError } from "../../src/core/errors.ts";
import type { Settlement } from "../../src/proxy/context.ts";
import { SettlementLog } from "../../src/proxy/settle.ts";
import { FakeClock } from "../support/fake-clock.ts";

function settlement(error: AppError | undefined): Settlement {
  return {
    work: undefined,
    machine: undefined,
    error,
    code: error?.code,
    bytesIn: 1,
    bytesOut: 2,
    status: undefined,
  };
}

function logOf(clock: FakeClock) {
  const lines: [string, string, object][] = [];
  const write = (level: string) => (details: object, message: string) => void lines.push([level, message, details]);
  const log = { debug: write("debug"), info: write("info"), warn: write("warn"), error: write("error") };
  return { lines, log: new SettlementLog(log, clock) };
}

test("failures of Machines warn, with code and cause; what clients do informs; the rest is for debugging", () => {
  const { lines, log } = logOf(new FakeClock());
  log.write(settlement(new AppError("PC01", undefined, { cause: new Error("connect ECONNREFUSED") })));
  log.write(settlement(new AppError("FP16")));
  log.write(settlement(undefined));
  expect(lines.map(([level]) => level)).toEqual(["warn", "info", "debug"]);
  expect(lines[0]?.[2]).toMatchObject({ code: "PC01", cause: "connect ECONNREFUSED" });
});

test("a flood of one code costs ten lines a second, and the next line tells how many were left out", async () => {
  const clock = new FakeClock();
  const { lines, log } = logOf(clock);
  for (let i = 0; i < 1000; i++) log.write(settlement(new AppError("FP04")));
  log.write(settlement(new AppError("FP03")));
  expect(lines).toHaveLength(11);
  await clock.advance(1000);
  log.write(settlement(new AppError("FP04")));
  expect(lines.at(-1)?.[2]).toMatchObject({ code: "FP04", suppressed: 990 });
});
