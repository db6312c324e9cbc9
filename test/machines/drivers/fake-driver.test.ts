import { FakeClock } from "../../support/fake-clock.ts";
import { FakeDriver } from "../../support/fake-driver.ts";
import { driverContract } from "../driver.contract.ts";
import { machineWith } from "./machine-fixture.ts";

driverContract(
  "the fake driver of the other tests",
  async () => {
    const driver = new FakeDriver(new FakeClock());
    const missing = new Set<string>();
    const failing = new Set<string>();
    driver.behaviour.startFails = (id) => (missing.has(id) ? "no such program" : undefined);
    return {
      driver,
      machine: (behaviour) => {
        const machine = machineWith({ command: [behaviour] });
        if (behaviour === "missing") missing.add(machine.id);
        if (behaviour === "fails") failing.add(machine.id);
        return machine;
      },
      settled: async ({ id }) => {
        if (failing.has(id)) driver.crash(id, { code: 3, signal: undefined });
      },
      close: () => driver.close(),
    };
  },
  { processes: false },
);
