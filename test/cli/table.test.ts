import { expect, test } from "vitest";
import { framedTable } from "../../src/cli/table.ts";

test("a framed table has the form of flyctl's list of WireGuard peers", () => {
  const rows = [
    ["laptop", "iad", "fdaa:8000:1:a7b::a:102"],
    ["ci", "ams", "fdaa:8000:1:a7b::a:202"],
  ];
  expect(framedTable(["Name", "Region", "Peer IP"], rows)).toBe(
    [
      "+--------+--------+------------------------+",
      "|  NAME  | REGION |        PEER IP         |",
      "+--------+--------+------------------------+",
      "| laptop | iad    | fdaa:8000:1:a7b::a:102 |",
      "| ci     | ams    | fdaa:8000:1:a7b::a:202 |",
      "+--------+--------+------------------------+",
    ].join("\n"),
  );
  expect(framedTable(["Name"], [])).toBe("+------+\n| NAME |\n+------+\n+------+");
});
