import { flyToml } from "./fly-toml-schema.ts";
import { flycastToml } from "./flycast-toml-schema.ts";
import type { JsonSchema } from "./schema.ts";

// What editors understand best (taplo, Even Better TOML).
const DRAFT = "http://json-schema.org/draft-07/schema#";

/** JSON Schema of fly.toml, for editors. Unknown keys are marked; loading only warns of them. */
export const flyTomlJsonSchema: JsonSchema = {
  $schema: DRAFT,
  title: "fly.toml, as Flycast reads it",
  ...flyToml.json,
};

/** JSON Schema of flycast.toml, for editors. */
export const flycastTomlJsonSchema: JsonSchema = { $schema: DRAFT, title: "flycast.toml", ...flycastToml.json };
