import { expect, test } from "vitest";
import { loadsOf } from "../../src/machines/loads.ts";
import type { Machine } from "../../src/registry/model.ts";
import type { RegistryView } from "../../src/registry/view.ts";

const machine = (id: string, ...ports: readonly number[]): Machine =>
  ({ id, app: "a", config: { services: ports.map((internalPort) => ({ internalPort })) } }) as unknown as Machine;

test("services that share an internal port are one series, and Machines without claims are none", () => {
  const view = { machines: () => [machine("m1", 80, 80, 5432), machine("m2", 80)] } as unknown as RegistryView;
  const claims = new Map([["m1 80", 3]]);
  const pool = { load: (id: string, port: number) => claims.get(`${id} ${port}`) ?? 0 };
  expect([...loadsOf(view, pool)]).toEqual([{ app: "a", machine: "m1", service: 80, claims: 3 }]);
});
