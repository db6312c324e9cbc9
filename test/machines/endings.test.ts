import { expect, test } from "vitest";
import { AppError } from "../../src/core/errors.ts";
import { describeFailure } from "../../src/machines/endings.ts";

test("people are told what a Machine said last; the message that clients may see is without it", () => {
  const error = new AppError("machine_exited", "the Machine's main process ended: exit code 1", {
    details: { code: 1, lastWords: ["TypeError: no", "password: 1234"] },
  });
  expect(describeFailure(error)).toBe(
    "the Machine's main process ended: exit code 1. It said: TypeError: no | password: 1234",
  );
  expect(error.message).not.toContain("1234");
  expect(describeFailure(new AppError("PM02", "no such program"))).toBe("no such program");
});
