/** The page about the HTTP API: its table of operations is made from the API's own description. */
import { buildSchema } from "graphql";
import { SDL } from "../src/api/graphql/schema.ts";
import { createApi, type ApiOptions } from "../src/api/server.ts";
import { systemClock } from "../src/core/clock.ts";

type Json = ReturnType<typeof JSON.parse>;

const INTRO = `# HTTP API

Two faces of the same commands: the command line, and an HTTP API that clients of the platform's Machines API can use
unchanged. It listens on a loopback port (\`[node] api\`; \`flycast status\` prints it) and, inside every network, at
\`http://_api.internal:4280\`. \`GET /openapi.json\` describes all of it to programs, routes of our own included.

## The platform's own clients

\`flyctl\` asks the node instead of the platform with these:

\`\`\`sh
export FLY_API_BASE_URL=http://127.0.0.1:4280    # what \`flycast status\` calls API
export FLY_FLAPS_BASE_URL=$FLY_API_BASE_URL FLY_UIEX_BASE_URL=$FLY_API_BASE_URL
export FLY_API_TOKEN="$(cat .flycast/token)"
export FLY_NO_UPDATE_CHECK=1 FLY_SEND_METRICS=0 FLY_SYNTHETICS_AGENT=0
flyctl status -a web
\`\`\`

A client library takes the same address as its API and GraphQL base. What the command line sends was read in its sources and is
asked, document by document, by our tests; the npm library \`fly-admin\` is run by them as it is.

- A deploy needs an image's name and private addresses: \`flyctl deploy --image NAME --flycast\`, or \`--no-public-ips\`. An image is
  a name here, with a digest of that name: nothing is fetched or built, and the command comes from \`[processes]\` or
  \`[experimental]\`. \`flycast deploy FOLDER\` needs none of it.
- \`flyctl logs\` is told lines with their position, so that none is told twice and none is missed between two questions.
- \`flyctl wireguard create\` writes the port 51820 into its file, whatever the answer: let clients in there (\`[node] wireguard\`).
- Tunnels (\`flyctl dig\`, \`ping\`, \`proxy\`) are plain WireGuard here, and not WebSockets, which is the command line's default: say
  \`flyctl wireguard websockets disable\` once, and leave the variable \`CI\` unset.
- The organisation \`personal\` has the raw slug \`personal_org\`, since the command line expects another one there. Either is taken.
- \`flyctl tokens create org\` makes a token; those of one app, with an end or with other limits are refused, since ours are for whole
  organisations and stay until revoked.
- Builders, public addresses, certificates, domains, extensions, members, replay sources, SSH keys and secret keys have no meaning
  here: lists of them are empty, and what would make one is refused (422, or an error in GraphQL) with what to do instead.

## Who may ask what

- A bearer token: \`Authorization: Bearer TOKEN\`, or the platform's form \`FlyV1 TOKEN[,TOKEN…]\`. The node's own token lies in its
  state folder, in the file \`token\`, which only its owner reads. \`flycast tokens create -o ORG\` makes one that sees and touches
  one organisation alone.
- Without a token: \`/\` (404, which clients probe), \`/healthz\`, \`/readyz\`, \`/openapi.json\`, and \`/metrics\` from outside. All
  else is 401.
- From inside a network a token must be of the organisation that the network belongs to (else 403), and the node's own token
  counts for that organisation only.
- An app of another organisation is 403, a name that is free 404.
- The \`Host\` must be \`localhost\`, a loopback address or the address that the connection came in on; inside \`_api.internal\`,
  \`flaps\` or a private address. An \`Origin\` must be our own. Web pages cannot use the API.

## Limits

A body has at most 1 MiB (413), a head 32 KiB (431). A source address inside may ask 50 times a second (200 at once) and hold 64
connections; outside it is 1000 (5000 at once) and 512. Too much is 429 with \`Retry-After\`; a GraphQL
query counts as several requests when it is long, has many values in its answer or asks about the schema. One has at most 2,000
tokens, 12 levels and 1,000 fields, and its answer 10,000 things and 20,000 values. JSON is nested 100 levels deep at most.

## Errors

\`{"error": TEXT, "status": "unknown" | "name_taken" | "insufficient_capacity", "code": CODE, "next": COMMAND?}\`. \`code\` is one of
[errors.md](errors.md). 400 malformed · 401, 403 tokens · 404 · 408 a wait or an \`exec\` took too long · 409 somebody else holds
the Machine's lease · 412 the Machine's state does not allow it · 413 · 422 refused, with the reason, what this node does not
do included · 429. Bad input is never a 5xx. Every answer has \`fly-request-id\`.

## Machines

\`config.init.exec\`, else \`entrypoint\` and \`cmd\` together, is the command; an image alone is refused, since this node runs
processes. \`config.metadata.flycast_folder\` names the working folder (default \`/\`). Fields without meaning here are kept and given
back. As root, Machines of the API run as their organisation's user (\`flycast orgs update ORG --user NAME\`) and are refused
where there is none.

- **Create** and **start** answer before the Machine is up: wait for \`started\`. \`skip_launch\` leaves it \`created\`.
- **Update**: what runs gets a new life with the new version, and is \`replacing\` until then; with \`skip_launch\` it stops. What is
  stopped stays so; a suspended Machine loses its memory. An equal config changes nothing.
- **Wait**: \`state\` may be given several times; \`settled\` is any state that stays. A version that is not the newest is \`replaced\`.
- Stops and the like answer after ten seconds at the latest; \`"pending": true\` says that the command goes on.
- Events (the last 20 of a Machine) and destroyed Machines (the last 200 of the node, which can still be looked at and waited for)
  are memory only: a restart of the node forgets them.
- **Metadata** of one key or of all is changed without a new version of the Machine.
- A **lease** is memory only: a restart of the node forgets it. Who holds it, why and until when is in the Machine; its \`nonce\`, with
  which it is released, only in the lease itself.
- A body is read as JSON, whatever its \`Content-Type\` says.
- **exec** runs words, not a shell, beside the main process, as its user, for at most 60 s; it gives back 256 KiB of each output.

## Secrets

Values go in and never come out: they lie in the state folder, in \`keys/secrets/APP.json\` (0600), not in the catalogue, and reach
Machines in their environment at the next start. Lists show names and digests.`;

const GRAPHQL = `## GraphQL

\`POST /graphql\` has what the platform's command line needs of it. Errors carry the platform's \`extensions.code\`, and ours in
\`extensions.flycast\`. What is missing is named in the error, with the reason. Introspection answers.`;

const OWN = `## Flycast's own

What lies under \`/flycast/v1\` is for the command line and whoever likes it, and not yet held stable.`;

/** Markdown, without the notice on top. */
export function apiPage(): readonly string[] {
  return [INTRO, operations(), OWN, GRAPHQL, fieldsOf("Queries", "Query"), fieldsOf("Mutations", "Mutation")];
}

/** Nothing is asked of the parts while the routes are made, so that they may be missing. */
function operations(): string {
  const nothing = { subscribe: () => () => undefined };
  const registry = { view: {}, commands: {}, changes: nothing };
  const options = { registry, clock: systemClock, version: "", nodeToken: "", regions: () => [], nodeRegion: "iad" };
  const document = createApi(options as unknown as ApiOptions).describe() as Json;
  const rows = Object.entries<Json>(document.paths).flatMap(([path, methods]) =>
    Object.entries<Json>(methods).map(([method, operation]) => {
      const [status, success] = Object.entries<Json>(operation.responses).find(([code]) => code !== "default") ?? [];
      const query = (operation.parameters ?? []).filter((one: Json) => one.in === "query").map((one: Json) => one.name);
      const asked = [
        ...(query.length > 0 ? [`\`?${query.join("&")}\``] : []),
        ...bodyOf(operation),
        ...(operation.description === undefined ? [] : [operation.description]),
      ].join(" ");
      return `| \`${method.toUpperCase()} ${path}\` | ${asked} | ${status} ${success?.description ?? ""} |`;
    }),
  );
  return ["## Operations", "", "| Operation | Takes | Answers |", "|---|---|---|", ...rows].join("\n");
}

/** One line: an operation is looked for by its name. */
function fieldsOf(title: string, type: "Query" | "Mutation"): string {
  const schema = buildSchema(SDL);
  const root = type === "Query" ? schema.getQueryType() : schema.getMutationType();
  const names = Object.keys(root?.getFields() ?? {});
  return `${title}: ${names.map((name) => `\`${name}\``).join(", ")}.`;
}

function bodyOf(operation: Json): string[] {
  const schema = operation.requestBody?.content?.["application/json"]?.schema;
  if (schema === undefined) return [];
  const name = /\/([^/]+)$/.exec(schema.$ref ?? "")?.[1];
  if (name !== undefined) return [name];
  const keys = Object.keys(schema.properties ?? {});
  return [keys.length === 0 ? "JSON" : `\`{${keys.join(", ")}}\``];
}
