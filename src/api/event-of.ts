import type { MachineEvent } from "../machines/events.ts";
import type { Receipt as WakeReceipt } from "../machines/receipts.ts";
import type { Receipt, SystemEvent } from "./events.ts";

/** What happened to a Machine, as `flycast up --json` says it (design §5). */
export function eventOf(event: MachineEvent): SystemEvent {
  const { app, machine } = event;
  switch (event.event) {
    case "wake":
      return { event: "wake", app, machine, by: event.by, waiters: event.waiters };
    case "started":
      return {
        event: "started",
        app,
        machine,
        because: event.because,
        ...(event.receipt === undefined ? {} : { receipt: receiptOf(event.receipt) }),
      };
    case "stopping":
      return {
        event: "stopping",
        app,
        machine,
        because: event.because,
        ...(event.cut.length === 0 ? {} : { cut: event.cut.map((holder) => holder.from) }),
      };
    case "stopped":
      return { event: "stopped", app, machine, because: event.because, exit: defined(event.exit ?? {}) };
    case "suspended":
      return { event: "suspended", app, machine, because: event.because };
    case "failed":
      return { event: "failed", app, machine, code: event.code, message: event.message };
  }
}

function receiptOf(receipt: WakeReceipt): Receipt {
  const { machine: _machine, app: _app, generation: _generation, by: _by, accepted, ...times } = receipt;
  return { accepted: new Date(accepted).toISOString(), ...defined(rounded(times)) } as Receipt;
}

/** Thousandths of a millisecond: the clock says no more. */
function rounded<T extends object>(value: T): T {
  return Object.fromEntries(
    Object.entries(value).map(([key, item]) => [key, typeof item === "number" ? Math.round(item * 1000) / 1000 : item]),
  ) as T;
}

function defined<T extends object>(value: T): { [K in keyof T]?: NonNullable<T[K]> } {
  return Object.fromEntries(Object.entries(value).filter(([, item]) => item !== undefined)) as {
    [K in keyof T]?: NonNullable<T[K]>;
  };
}
