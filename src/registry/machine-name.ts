/** Made-up names for Machines, as the platform gives them: `quiet-harbor-4821`. Short words that offend nobody. */
const FIRST = [
  ..."amber ancient autumn bitter black blue bold brave bright broad calm clear cold cool crimson damp dark dawn deep".split(
    " ",
  ),
  ..."divine dry early empty falling floral fragrant gentle golden green hidden holy icy late lingering little lively".split(
    " ",
  ),
  ..."long misty morning muddy nameless old patient plain polished proud purple quiet rapid restless rough shy silent".split(
    " ",
  ),
  ..."small snowy solitary spring still summer twilight wandering weathered white wild winter wispy young".split(" "),
];
const SECOND = [
  ..."bird bush butterfly breeze brook canyon cherry cloud creek darkness dawn dew dream dust feather field fire".split(
    " ",
  ),
  ..."firefly flower fog forest frog frost glade glitter grass harbor haze hill lake leaf meadow moon morning".split(
    " ",
  ),
  ..."mountain night paper pine pond rain resonance river sea shadow shape silence sky smoke snow snowflake sound".split(
    " ",
  ),
  ..."star sun sunset surf thunder tree violet voice water waterfall wave wildflower wind wood".split(" "),
];

/** A name from 4 random bytes. Names repeat; who needs a unique one asks again with other bytes. */
export function madeUpName(random: Uint8Array): string {
  const number = (random[2] ?? 0) * 256 + (random[3] ?? 0);
  return `${pick(FIRST, random[0] ?? 0)}-${pick(SECOND, random[1] ?? 0)}-${number % 10_000}`;
}

function pick(words: readonly string[], byte: number): string {
  return words[byte % words.length] ?? "plain";
}
