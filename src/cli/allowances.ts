import { ALLOWANCES } from "../config/flycast-toml-schema.ts";
import { AppError } from "../core/errors.ts";

/** `--allow X` names a refusal that there is. @errors invalid */
export function checkAllowances(names: readonly string[]): void {
  const known: readonly string[] = ALLOWANCES;
  const unknown = names.find((name) => !known.includes(name));
  if (unknown !== undefined) throw new AppError("invalid", `--allow ${unknown}: there is only ${known.join(", ")}`);
}
