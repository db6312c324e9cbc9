/** Of a stack trace, the frames: what happened stands above them. */
const FRAME = /^\s+at |^\s*\^+$|^Node\.js v\d/;
const LONGEST = 200;

/** What a program said last, as far as it explains its end: at most `count` lines, oldest first, none of them long. */
export function lastWords(lines: readonly string[], count = 5): readonly string[] {
  return lines
    .filter((line) => line.trim() !== "" && !FRAME.test(line))
    .slice(-count)
    .map((line) => (line.length > LONGEST ? `${line.slice(0, LONGEST)}…` : line));
}
