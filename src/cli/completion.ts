import type { Command } from "commander";
import type { GlobalOptions } from "./command.ts";
import { EXIT, print } from "./output.ts";

interface Place {
  /** The words before it, such as `machines list`; empty for the program itself. */
  readonly path: string;
  /** Commands below it, and words that its argument may be. */
  readonly commands: readonly { readonly name: string; readonly text: string }[];
  readonly options: readonly Flag[];
}

interface Flag {
  readonly name: string;
  readonly text: string;
  /** What may follow it, where that is a list. */
  readonly values: readonly string[];
}

const SHELLS: Readonly<Record<string, (places: readonly Place[]) => string>> = { bash, zsh, fish };

/** Prints the completion of a shell, made from the program itself: pressing Tab starts no process. */
export function completion(program: Command) {
  return async (options: GlobalOptions, args: readonly string[]): Promise<number> => {
    const make = SHELLS[args[0] ?? ""] ?? bash;
    const text = make(placesOf(program, ""));
    print(options.json === true ? JSON.stringify({ shell: args[0], script: text }) : text);
    return EXIT.done;
  };
}

function placesOf(command: Command, path: string): readonly Place[] {
  const inner = command.commands.flatMap((one) => [one.name(), ...one.aliases()].map((name) => ({ one, name })));
  const place: Place = {
    path,
    commands: [
      ...command.commands.map((one) => ({ name: one.name(), text: one.description() })),
      ...(command.registeredArguments[0]?.argChoices ?? []).map((name) => ({ name, text: name })),
    ],
    options: [
      ...command.options.flatMap(({ long, description, argChoices }) =>
        long ? [{ name: long, text: description, values: argChoices ?? [] }] : [],
      ),
      { name: "--help", text: "display help", values: [] },
    ],
  };
  return [place, ...inner.flatMap(({ one, name }) => placesOf(one, `${path} ${name}`.trim()))];
}

/** `PATH --OPTION` and the words that may follow. */
function valuesOf(places: readonly Place[]): readonly { readonly where: string; readonly values: readonly string[] }[] {
  return places.flatMap(({ path, options }) =>
    options.flatMap(({ name, values }) => (values.length === 0 ? [] : [{ where: `${path} ${name}`, values }])),
  );
}

function bash(places: readonly Place[]): string {
  const cases = places.map(
    ({ path, commands, options }) =>
      `    ${quoted(path)}) words=${quoted([...commands, ...options].map(({ name }) => name).join(" "))} ;;`,
  );
  return `# bash completion of flycast. Load it with: source <(flycast completion bash)
_flycast() {
  local current="\${COMP_WORDS[COMP_CWORD]}" before="\${COMP_WORDS[COMP_CWORD-1]}" path="" word words i
  for ((i = 1; i < COMP_CWORD; i++)); do
    word="\${COMP_WORDS[i]}"
    case "$word" in -*) continue ;; esac
    [ -n "$(_flycast_words "\${path:+$path }$word")" ] && path="\${path:+$path }$word"
  done
  words="$(_flycast_values "$path $before")"
  COMPREPLY=($(compgen -W "\${words:-$(_flycast_words "$path")}" -- "$current"))
}
_flycast_values() {
  case "$1" in
${valuesOf(places)
  .map(({ where, values }) => `    ${quoted(where)}) printf '%s' ${quoted(values.join(" "))} ;;`)
  .join("\n")}
  esac
}
_flycast_words() {
  local words=""
  case "$1" in
${cases.join("\n")}
  esac
  printf '%s' "$words"
}
complete -o default -F _flycast flycast`;
}

function zsh(places: readonly Place[]): string {
  const cases = places.map(({ path, commands, options }) => {
    const items = [...commands, ...options].map(({ name, text }) =>
      quoted(`${name.replaceAll(":", "\\:")}:${text.replaceAll(":", "\\:")}`),
    );
    return `    ${quoted(path)}) items=(${items.join(" ")}) ;;`;
  });
  return `#compdef flycast
# zsh completion of flycast. Load it with: source <(flycast completion zsh)
_flycast_items() {
  items=()
  case "$1" in
${cases.join("\n")}
  esac
}
_flycast() {
  local place="" word i
  local -a items
  for ((i = 2; i < CURRENT; i++)); do
    word="\${words[i]}"
    [[ "$word" == -* ]] && continue
    _flycast_items "\${place:+$place }$word"
    (( $#items )) && place="\${place:+$place }$word"
  done
  case "$place \${words[CURRENT-1]}" in
${valuesOf(places)
  .map(({ where, values }) => `    ${quoted(where)}) items=(${values.join(" ")}) ;;`)
  .join("\n")}
    *) _flycast_items "$place" ;;
  esac
  _describe 'flycast' items || _files
}
compdef _flycast flycast`;
}

function fish(places: readonly Place[]): string {
  const lines = places.flatMap(({ path, commands, options }) => {
    const words = path === "" ? [] : path.split(" ");
    const inside = commands.map(({ name }) => name).join(" ");
    const here = words.map((word) => `__fish_seen_subcommand_from ${word}`);
    const notDeeper = inside === "" ? [] : [`not __fish_seen_subcommand_from ${inside}`];
    const when = [...here, ...notDeeper].join("; and ");
    const condition = when === "" ? "" : ` -n ${quoted(when)}`;
    return [
      ...commands.map(({ name, text }) => `complete -c flycast -f${condition} -a ${name} -d ${quoted(text)}`),
      ...options.map(({ name, text, values }) => {
        const following = values.length === 0 ? "" : ` -x -a ${quoted(values.join(" "))}`;
        return `complete -c flycast${condition} -l ${name.slice(2)}${following} -d ${quoted(text)}`;
      }),
    ];
  });
  return ["# fish completion of flycast. Load it with: flycast completion fish | source", ...lines].join("\n");
}

/** For bash, zsh and fish alike, since no text of ours ends in a backslash. */
function quoted(text: string): string {
  return `'${text.replaceAll("'", `'"'"'`)}'`;
}
