import { expect, test } from "vitest";
import { Listed } from "../../src/proxy/listed.ts";
import { HOME, OTHER } from "./values.ts";

const use = (ports: readonly number[], ...networks: (typeof HOME)[]) => ({
  ports: new Set(ports),
  networks: new Set(networks),
});

test("a port is listed on a network with its first user there, and no more with its last", () => {
  const listed = new Listed();
  const next = () => {
    const changes = listed.changes();
    listed.told(changes);
    return changes;
  };
  listed.count(use([80, 443], HOME, OTHER), 1);
  listed.count(use([80], HOME), 1);
  expect(next()).toEqual({
    added: [
      { network: HOME, port: 80 },
      { network: HOME, port: 443 },
      { network: OTHER, port: 80 },
      { network: OTHER, port: 443 },
    ],
    removed: [],
  });
  expect(next()).toEqual({ added: [], removed: [] });
  listed.count(use([80, 443], HOME, OTHER), -1);
  expect(next()).toEqual({
    added: [],
    removed: [
      { network: HOME, port: 443 },
      { network: OTHER, port: 80 },
      { network: OTHER, port: 443 },
    ],
  });
  listed.count(use([80], HOME), -1);
  expect(next()).toEqual({ added: [], removed: [{ network: HOME, port: 80 }] });
});

test("what changed and changed back is not told, and what was not heard is told again", () => {
  const listed = new Listed();
  listed.count(use([80], HOME), 1);
  expect(listed.changes().added).toHaveLength(1);
  expect(listed.changes().added).toHaveLength(1);
  listed.count(use([80], HOME), -1);
  expect(listed.changes()).toEqual({ added: [], removed: [] });
});
