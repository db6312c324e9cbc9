import { describe, expect, test } from "vitest";
import { checkReferences, expandReferences } from "../../src/config/references.ts";
import { parseFlyToml } from "../../src/config/parse-fly-toml.ts";

const dial = (app: string, port: number) => (app === "api" && port === 80 ? "127.0.0.1:31080" : undefined);

describe("references in an environment", () => {
  test("become what is dialled, as often as they stand there", () => {
    const env = { URL: "http://${api.flycast:80}/v1", TWO: "${api.flycast:80},${api.flycast:80}", PLAIN: "x" };
    expect(expandReferences(env, dial)).toEqual({
      URL: "http://127.0.0.1:31080/v1",
      TWO: "127.0.0.1:31080,127.0.0.1:31080",
      PLAIN: "x",
    });
  });

  test("leave everything else alone", () => {
    const env = { A: "${HOME} $PORT ${api.flycast} ${other.flycast:1} $${", __PROTO__: "${}" };
    expect(expandReferences(env, dial)).toEqual(env);
  });

  test("do not expand what an expansion wrote", () => {
    expect(expandReferences({ A: "${api.flycast:80}" }, () => "${api.flycast:80}")).toEqual({ A: "${api.flycast:80}" });
  });

  const text =
    'app = "api"\n[[services]]\ninternal_port = 1\nports = [{ port = 80 }, { start_port = 9000, end_port = 9009 }]';
  const services = parseFlyToml(text, "fly.toml").config?.services ?? [];
  const apps = new Map([["api", services]]);

  const cases: readonly [string, number][] = [
    ["${api.flycast:80}", 0],
    ["${api.flycast:9009}", 0],
    ["${HOME}", 0],
    ["${api.flycast:81}", 1],
    ["${apo.flycast:80}", 1],
    ["${api.flycast}", 1],
    ["${api.flycast:}", 1],
    ["${api.flycast:99999}", 1],
    ["${API.flycast:80} ${api.flycast:1}", 2],
  ];
  test.each(cases)("%s has %d problems", (value, count) => {
    expect(checkReferences(value, apps)).toHaveLength(count);
  });

  test("to an app whose fly.toml is broken are not blamed for it", () => {
    expect(checkReferences("${web.flycast:80}", apps, new Set(["api", "web"]))).toEqual([]);
  });
});
