import { probeLab } from "../../../src/network/linux/probe.ts";

const probe = await probeLab();

/** Whether tests that need a lab must be left out. Never in CI: there a lab that cannot be made is a failure. */
export const NO_LAB = !probe.ok && process.env["CI"] !== "true";

/** The same for tests that only root can run. */
export const NO_ROOT = process.getuid?.() !== 0 && process.env["CI"] !== "true";

/** Why, for the reader of the report. */
export const WHY_NO_LAB = probe.ok ? "" : `${probe.step}: ${probe.remedy}`;
