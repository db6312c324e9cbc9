#!/bin/sh
# A laptop without a laptop: a network namespace of its own, joined to this computer by WireGuard alone, as root.
# Run it while `flycast up examples/wireguard` runs, in the same folder. It leaves nothing behind.
set -eu
flycast() { ${FLYCAST:-command flycast} "$@"; }
[ "$(id -u)" = 0 ] || { echo "run it as root: it makes a network interface" >&2; exit 1; }

name=try-$$
work=$(mktemp -d)
pid=
tidy() {
  flycast wireguard remove personal "$name" || true
  [ -z "$pid" ] || kill "$pid" 2>/dev/null || true
  ip link del "wg-$$" 2>/dev/null || true
  ip netns del "$name" 2>/dev/null || true
  rm -rf "$work" "/etc/netns/$name"
}
trap tidy EXIT

show() {
  echo "\$ $*"
  "$@" 2>&1
  echo
}

show flycast wireguard create personal iad "$name" "$work/fly.conf"
show flycast wireguard list

# What `wg-quick up` does, but with the interface in a namespace: its packets leave from here, the programs live there.
ip netns add "$name"
if ! ip link add "wg-$$" type wireguard 2>/dev/null; then
  wireguard-go --foreground "wg-$$" >"$work/log" 2>&1 &
  pid=$!
  until wg show "wg-$$" >/dev/null 2>&1; do sleep 0.1; done
fi
wg-quick strip "$work/fly.conf" >"$work/stripped"
wg setconf "wg-$$" "$work/stripped"
ip link set "wg-$$" netns "$name"
value() { sed -n "s/^$1 = //p" "$work/fly.conf"; }
ip -n "$name" addr add "$(value Address)" dev "wg-$$" nodad
ip -n "$name" link set "wg-$$" mtu 1420 up
ip -n "$name" -6 route add "$(value AllowedIPs)" dev "wg-$$"
mkdir -p "/etc/netns/$name"
echo "nameserver $(value DNS)" >"/etc/netns/$name/resolv.conf"

laptop() {
  echo "laptop\$ $*"
  ip netns exec "$name" "$@" 2>&1
  echo
}
laptop dig +short AAAA hello.flycast
laptop curl -sS http://hello.flycast
laptop dig +short TXT _peer.internal
