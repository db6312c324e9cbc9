/**
 * Process 1 of the lab: a shell, because a Node process there would leave orphans as zombies. It builds the lab's own
 * root, runs the command given to it, and ends with it, and with process 1 the kernel ends everything else.
 *
 * The root is a small tmpfs with the computer's folders bound into it, so that folders such as `/data` (a volume's
 * destination) and `/.fly` can be made for Machines without a trace on the computer and without root. `/run` is fresh:
 * unix sockets with a path (nscd, resolved, docker) would otherwise lead out of the network namespace.
 */
const INIT_SCRIPT = `
unset FLYCAST_INIT
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
fail() { echo "flycast-step: $1" >&2; exit 70; }
dir=$1; shift
mount -t tmpfs -o mode=755,nosuid,nodev,size=4m,nr_inodes=16k tmpfs /run || fail "mount a tmpfs"
for entry in /* /.[!.]*; do
  name=\${entry#/}
  case $name in run|proc) continue ;; esac
  if [ -L "$entry" ]; then cp -P "$entry" "/run/$name"
  elif [ -d "$entry" ]; then mkdir "/run/$name" && mount --rbind "$entry" "/run/$name" 2>/dev/null
  fi
done
cd /run && mkdir proc run .old || fail "lay out the root"
mount -t proc -o nosuid,nodev,noexec proc proc || fail "mount /proc"
mount -t tmpfs -o mode=755,nosuid,nodev tmpfs run || fail "mount /run"
pivot_root . .old && cd / && umount -l /.old && rmdir /.old || fail "change the root"
for key in all default; do echo 0 > /proc/sys/net/ipv6/conf/$key/disable_ipv6; done || fail "switch IPv6 on"
{ echo 1 > /proc/sys/net/ipv6/ip_nonlocal_bind &&
  echo 1 > /proc/sys/net/ipv6/conf/all/forwarding &&
  echo 0 > /proc/sys/net/ipv4/ip_forward; } || fail "set kernel parameters"
echo 1 > /proc/sys/net/ipv4/tcp_tw_reuse
echo "28672 65535" > /proc/sys/net/ipv4/ip_local_port_range
ip link set lo up || fail "run ip (iproute2)"
cd "$dir" || fail "enter $dir"
"$@" & core=$!
exec 3>&-
wait $core
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
    env: { FLYCAST_INIT: INIT_SCRIPT },
  };
}
