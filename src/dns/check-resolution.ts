import { AppError, toAppError } from "../core/errors.ts";
import { dig } from "./dig.ts";

/** What came of asking a server. */
export interface ResolutionCheck {
  readonly what: string;
  readonly ok: boolean;
  /** One line for people. */
  readonly detail: string;
}

/**
 * Whether a DNS server of ours answers private names, and forwards the others: what `flycast doctor` shows. Asked for are
 * `_api.internal`, which every network has, and the name servers of the root, which every resolver knows. Never rejects.
 */
export async function checkResolution(server: {
  readonly host: string;
  readonly port: number;
}): Promise<readonly ResolutionCheck[]> {
  const other = await check("other names", server, ".", "NS");
  return [
    await check("private names", server, "_api.internal", "AAAA"),
    // The computer's own resolver said so, not the node: that is where to look.
    other.ok ? other : { ...other, detail: `${other.detail}; [dns] upstreams in flycast.toml names other resolvers` },
  ];
}

async function check(
  what: string,
  server: { readonly host: string; readonly port: number },
  name: string,
  type: string,
): Promise<ResolutionCheck> {
  try {
    const answer = await dig({ server, name, type });
    if (answer.rcode === "NOERROR" && answer.answers.length > 0) {
      return { what, ok: true, detail: `${name} ${type} answered in ${answer.took} ms` };
    }
    const reason = answer.why === undefined ? "" : ` (${answer.why.text})`;
    throw new AppError("not_found", `${name} ${type}: ${answer.rcode}${reason}`);
  } catch (thrown) {
    return { what, ok: false, detail: toAppError(thrown).message };
  }
}
