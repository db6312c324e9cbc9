import type { DigAnswer } from "./dig.ts";
import type { TextRecord } from "./message-text.ts";

/** The long form, laid out as `dig` and flyctl print it. No final newline. */
export function formatDig(answer: DigAnswer): string {
  const { question, edns, why } = answer;
  const lines = [
    `;; opcode: QUERY, status: ${answer.rcode}, id: ${answer.id}`,
    `;; flags: ${answer.flags.join(" ")}; QUERY: ${question === undefined ? 0 : 1}, ANSWER: ${answer.answers.length}, ` +
      `AUTHORITY: ${answer.authority.length}, ADDITIONAL: ${answer.additional.length + (edns === undefined ? 0 : 1)}`,
  ];
  if (edns !== undefined) {
    const flags = edns.dnssecOk ? " do" : "";
    lines.push("", ";; OPT PSEUDOSECTION:", `; EDNS: version: ${edns.version}, flags:${flags}; udp: ${edns.udpSize}`);
    if (why !== undefined) lines.push(`; EDE: ${why.code}: (${why.text})`);
  }
  if (question !== undefined) {
    lines.push("", ";; QUESTION SECTION:", `;${question.name}\t${question.class}\t ${question.type}`);
  }
  for (const [title, records] of [
    ["ANSWER", answer.answers],
    ["AUTHORITY", answer.authority],
    ["ADDITIONAL", answer.additional],
  ] as const) {
    if (records.length > 0) lines.push("", `;; ${title} SECTION:`, ...records.map(formatRecord));
  }
  lines.push(
    "",
    `;; Query time: ${answer.took} msec`,
    `;; SERVER: ${answer.server.host}#${answer.server.port} (${answer.transport.toUpperCase()})`,
    `;; MSG SIZE  rcvd: ${answer.size}`,
  );
  return lines.join("\n");
}

/** `--short`: the data of each answer, one a line; texts joined and without quotes, as flyctl does. */
export function formatDigShort(answer: DigAnswer): string {
  return answer.answers.map((record) => (record.type === "TXT" ? joinedText(record.data) : record.data)).join("\n");
}

/** What `--short` says instead when the rcode is not NOERROR; undefined when it is. */
export function digFailure(answer: DigAnswer): string | undefined {
  if (answer.rcode === "NOERROR") return undefined;
  return `lookup failed: ${answer.rcode}${answer.why === undefined ? "" : ` (${answer.why.text})`}`;
}

function formatRecord(record: TextRecord): string {
  return `${record.name}\t${record.ttl}\t${record.class}\t${record.type}\t${record.data}`;
}

function joinedText(data: string): string {
  return data
    .slice(1, -1)
    .split('" "')
    .join("")
    .replace(/\\(["\\])/g, "$1");
}
