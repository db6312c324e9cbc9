const PREAMBLE = `
unset FLYCAST_INIT
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
fail() { echo "flycast-step: $1" >&2; exit 70; }
dir=$1; shift
`;

/**
 * The lab's own root: a small tmpfs with the computer's folders bound into it, so that folders such as `/data` (a
 * volume's destination) and `/.fly` can be made for Machines without a trace on the computer and without root.
 */
const bindFolders = (root: string): string => `
mount -t tmpfs -o mode=755,nosuid,nodev,size=4m,nr_inodes=16k tmpfs ${root} || fail "mount a tmpfs"
# Functions, for their own arguments: names may hold spaces, and one cp or mkdir for all of them takes a tenth of the time.
copy_links() {
  for entry in /* /.[!.]*; do if [ -L "$entry" ]; then set -- "$@" "$entry"; fi; done
  [ $# -eq 0 ] || cp -P "$@" ${root}/
}
bind_folders() {
  for entry in /* /.[!.]*; do
    case $entry in /run|/proc|/sys) continue ;; esac
    if [ -d "$entry" ] && [ ! -L "$entry" ]; then set -- "$@" "${root}$entry"; fi
  done
  mkdir "$@" && for target; do mount --rbind "\${target#${root}}" "$target" 2>/dev/null; done
}
copy_links && bind_folders
cd ${root} && mkdir proc run sys .old || fail "lay out the root"
`;

const CHANGE_ROOT = `
pivot_root . .old && cd / && umount -l /.old && rmdir /.old || fail "change the root"
`;

const KERNEL = `
for key in all default; do echo 0 > /proc/sys/net/ipv6/conf/$key/disable_ipv6; done || fail "switch IPv6 on"
# A neighbour by ARP is only who may stand there: its table is the whole computer's, and a Machine could fill it.
for key in all default; do echo 1 > /proc/sys/net/ipv4/conf/$key/rp_filter; done
{ echo 1 > /proc/sys/net/ipv6/ip_nonlocal_bind &&
  echo 1 > /proc/sys/net/ipv6/conf/all/forwarding &&
  echo 0 > /proc/sys/net/ipv4/ip_forward; } || fail "set kernel parameters"
echo 1 > /proc/sys/net/ipv4/tcp_tw_reuse
echo "28672 65535" > /proc/sys/net/ipv4/ip_local_port_range
ip link set lo up || fail "run ip (iproute2)"
cd "$dir" || fail "enter $dir"
`;

/**
 * Folders of /run that are no meeting places: the programs of NixOS, and disks that a desktop has mounted. Machines see
 * them as well.
 */
export const RUN_KEPT = ["booted-system", "current-system", "media", "opengl-driver", "wrappers"];

/**
 * Process 1 of the lab: a shell, because a Node process there would leave orphans as zombies. It runs the command given
 * to it and ends with it, and with process 1 the kernel ends everything else. `/run` is fresh: unix sockets with a path
 * (nscd, resolved, docker) would otherwise lead out of the network namespace.
 */
const LAB_SCRIPT = `${PREAMBLE}
# The computer's /run is kept at hand while the new root covers it.
mount --rbind /run /sys || fail "bind /run"
${bindFolders("/run")}
mount -t proc -o nosuid,nodev,noexec proc proc || fail "mount /proc"
mount -t tmpfs -o mode=755,nosuid,nodev tmpfs run || fail "mount /run"
for name in ${RUN_KEPT.join(" ")}; do
  if [ -d "/sys/$name" ]; then mkdir "run/$name" && mount --rbind "/sys/$name" "run/$name"; fi
done
umount -l /sys && mount --rbind /sys sys || fail "bind /sys"
${CHANGE_ROOT}${KERNEL}
"$@" & core=$!
exec 3>&-
wait $core
`;

/** Host mode: processes are the computer's own, and so is `/run`, where the next core finds what this one leaves. */
const HOST_SCRIPT = `${PREAMBLE}
mkdir -p -m 700 /run/flycast/root && { [ -e /run/netns ] || mkdir /run/netns; } || fail "write to /run"
${bindFolders("/run/flycast/root")}
mount --rbind /proc proc || fail "bind /proc"
mount --bind /run run && mount --rbind /sys sys || fail "bind /run and /sys"
${CHANGE_ROOT}${KERNEL}
exec "$@"
`;

/** Prefix of the line on stderr by which the script names the step that failed. */
export const STEP_MARK = "flycast-step: ";

export interface LabCommand {
  readonly argv: readonly string[];
  /** To be added to the environment: the script, which as an argument would fill the screen of everybody who runs `ps`. */
  readonly env: Readonly<Record<string, string>>;
}

/**
 * How to build a lab around a command. `--pdeathsig` ends `unshare` with the thread that spawned it, `--kill-child`
 * ends process 1 with `unshare`: between them no part survives another, SIGKILL of any included.
 */
export function labCommand(
  how: { readonly privileged: boolean; readonly folder: string },
  command: readonly string[],
): LabCommand {
  const user = how.privileged ? [] : ["--user", "--map-current-user", "--keep-caps"];
  const outermost = ["setpriv", "--pdeathsig", "KILL"];
  const spaces = ["unshare", ...user, "--net", "--mount", "--pid", "--fork", "--kill-child"];
  return {
    argv: [...outermost, ...spaces, "sh", "-c", 'eval "$FLYCAST_INIT"', "flycast-lab", how.folder, ...command],
    env: { FLYCAST_INIT: LAB_SCRIPT },
  };
}

/**
 * How to run a command in the persistent network namespace `name` of host mode, with a mount namespace of its own. It
 * dies with the thread that spawned it; the network namespace, and Machines in theirs, stay. Root only.
 */
export function hostCommand(
  how: { readonly name: string; readonly folder: string },
  command: readonly string[],
): LabCommand {
  const spaces = ["nsenter", `--net=/run/netns/${how.name}`, "unshare", "--mount"];
  return {
    argv: [
      "setpriv",
      "--pdeathsig",
      "KILL",
      ...spaces,
      "sh",
      "-c",
      'eval "$FLYCAST_INIT"',
      "flycast-host",
      how.folder,
      ...command,
    ],
    env: { FLYCAST_INIT: HOST_SCRIPT },
  };
}
