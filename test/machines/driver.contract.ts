/** What every MachineDriver does, real or fake. Call `driverContract` in a test file of the driver. */
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { MachineId } from "../../src/core/ids.ts";
import { ms, port } from "../../src/core/units.ts";
import type { Exit, MachineDriver } from "../../src/machines/driver.ts";
import type { Machine } from "../../src/registry/model.ts";

/**
 * How a Machine of the contract behaves. `runs` until it is told to stop, then ends with code 0; `stubborn` ignores every signal
 * but SIGKILL; `fails` ends at once with code 3; `missing` has a program that does not exist.
 */
export type Behaviour = "runs" | "stubborn" | "fails" | "missing";

export interface DriverHarness {
  readonly driver: MachineDriver;
  /** A fresh Machine of that kind. */
  machine(behaviour: Behaviour): Machine;
  /** Resolves when a started Machine has set up what it does with signals, or, if it `fails`, once that is under way. */
  settled(machine: Machine): Promise<void>;
  close(): Promise<void>;
}

const ENV = { PATH: process.env["PATH"] ?? "/usr/bin:/bin" };

/** `processes`: false for drivers that only pretend, whose Machines cannot do anything with a signal. */
export function driverContract(name: string, make: () => Promise<DriverHarness>, traits = { processes: true }): void {
  describe(`${name} keeps the driver's contract`, () => {
    const withProcesses: typeof test | (() => void) = traits.processes ? test : () => {};
    let harness: DriverHarness;
    let driver: MachineDriver;
    let exits: { id: MachineId; generation: number; exit: Exit }[];

    beforeEach(async () => {
      harness = await make();
      driver = harness.driver;
      exits = [];
      driver.observe((id, generation, exit) => exits.push({ id, generation, exit }));
    });
    afterEach(() => harness.close());

    async function started(behaviour: Behaviour, generation = 1): Promise<Machine> {
      const machine = harness.machine(behaviour);
      await driver.start(machine, generation, ENV);
      await harness.settled(machine);
      return machine;
    }

    test("a stopped Machine ends with the exit that its signal caused, told once with its generation", async () => {
      const machine = await started("runs", 7);
      const exit = await driver.stop(machine.id, { signal: "SIGTERM", timeout: ms(20_000) });
      if (traits.processes) expect(exit).toEqual({ code: 0, signal: undefined });
      expect(exits).toEqual([{ id: machine.id, generation: 7, exit }]);
    });

    withProcesses("a Machine that ignores its signal is killed after the timeout", async () => {
      const machine = await started("stubborn");
      const stopping = driver.stop(machine.id, { signal: "SIGTERM", timeout: ms(200) });
      expect(await stopping).toEqual({ code: undefined, signal: "SIGKILL" });
      expect(exits).toHaveLength(1);
    });

    test("a Machine that ends by itself is told of without being asked", async () => {
      const machine = harness.machine("fails");
      const told = new Promise<Exit>((resolve) => driver.observe((_id, _generation, exit) => resolve(exit)));
      await driver.start(machine, 1, ENV);
      await harness.settled(machine);
      expect(await told).toEqual({ code: 3, signal: undefined });
      expect(exits).toEqual([{ id: machine.id, generation: 1, exit: { code: 3, signal: undefined } }]);
    });

    test("stopping what has ended already is no error and tells nobody again", async () => {
      const machine = harness.machine("fails");
      const told = new Promise((resolve) => driver.observe(resolve));
      await driver.start(machine, 1, ENV);
      await harness.settled(machine);
      await told;
      await driver.stop(machine.id, { signal: "SIGTERM", timeout: ms(1000) });
      expect(exits).toHaveLength(1);
    });

    test("stopping what never ran is no error", async () => {
      const { id } = harness.machine("runs");
      const exit = await driver.stop(id, { signal: "SIGTERM", timeout: ms(1000) });
      expect(exit).toEqual({ code: undefined, signal: undefined });
    });

    test("two stops at once end in the same exit", async () => {
      const machine = await started("runs");
      const how = { signal: "SIGTERM", timeout: ms(20_000) } as const;
      const [first, second] = await Promise.all([driver.stop(machine.id, how), driver.stop(machine.id, how)]);
      expect(first).toEqual(second);
      expect(exits).toHaveLength(1);
    });

    test("a Machine starts again after it was stopped, as a new generation", async () => {
      const machine = await started("runs", 1);
      await driver.stop(machine.id, { signal: "SIGTERM", timeout: ms(20_000) });
      await driver.start(machine, 2, ENV);
      await harness.settled(machine);
      await driver.stop(machine.id, { signal: "SIGTERM", timeout: ms(20_000) });
      expect(exits.map(({ generation }) => generation)).toEqual([1, 2]);
    });

    test("a start that cannot work is refused with PM02 and leaves nothing behind", async () => {
      const machine = harness.machine("missing");
      await expect(driver.start(machine, 1, ENV)).rejects.toMatchObject({ code: "PM02" });
      expect(exits).toEqual([]);
      expect(await driver.stop(machine.id, { signal: "SIGTERM", timeout: ms(0) })).toEqual({
        code: undefined,
        signal: undefined,
      });
    });

    test("a suspended Machine goes on when it is resumed, and can be stopped", async () => {
      const machine = await started("runs");
      await driver.suspend(machine.id);
      await driver.resume(machine.id);
      await driver.stop(machine.id, { signal: "SIGTERM", timeout: ms(20_000) });
      expect(exits).toHaveLength(1);
    });

    test("a suspended Machine can be stopped without being resumed first", async () => {
      const machine = await started("runs");
      await driver.suspend(machine.id);
      await driver.stop(machine.id, { signal: "SIGTERM", timeout: ms(20_000) });
      expect(exits).toHaveLength(1);
    });

    test("suspending what does not run is refused with PM07", async () => {
      await expect(driver.suspend(harness.machine("runs").id)).rejects.toMatchObject({ code: "PM07" });
    });

    withProcesses("a signal reaches the main process", async () => {
      const machine = await started("runs");
      const told = new Promise<Exit>((resolve) => driver.observe((_id, _generation, exit) => resolve(exit)));
      await driver.signal(machine.id, "SIGKILL");
      expect(await told).toEqual({ code: undefined, signal: "SIGKILL" });
    });

    test("a running Machine's port has an address", async () => {
      const machine = await started("runs");
      const [address] = driver.endpoint(machine, port(8080));
      expect(address?.host).toEqual(expect.any(String));
      expect(address?.port).toEqual(expect.any(Number));
    });

    test("an observer that was taken away hears nothing", async () => {
      const machine = await started("runs");
      const heard: unknown[] = [];
      driver.observe((id) => heard.push(id))();
      await driver.stop(machine.id, { signal: "SIGTERM", timeout: ms(20_000) });
      expect(heard).toEqual([]);
    });

    test("a fresh driver recovers nothing, and what was removed can be removed again", async () => {
      const machine = harness.machine("runs");
      expect(await driver.recover([machine])).toEqual([]);
      await driver.release(machine.id);
      await driver.remove(machine.id);
      await driver.remove(machine.id);
    });
  });
}
