#!/bin/sh
# Shows who reaches what. Run it while `flycast up examples/cross-org` runs, in the same folder.
set -u
flycast() { ${FLYCAST:-command flycast} "$@"; }

show() {
  echo "\$ $*"
  "$@" 2>&1
  echo
}

# Both organisations know the ledger by one name; each has an address of its own for it.
show flycast ips list -a ledger
show flycast dig --short -o acme ledger.flycast
show flycast dig --short -o globex ledger.flycast

# A client of globex, and an app of globex, wake it. They see nothing else of acme.
show flycast exec -o globex -- curl -sS http://ledger.flycast
show flycast exec -o globex -- curl -sS http://shop.flycast
show flycast dig --short -o globex ledger.internal

# A third organisation sees neither.
flycast orgs list | grep -q initech || show flycast orgs create initech
show flycast dig --short -o initech ledger.flycast
address=$(flycast dig --short -o acme ledger.flycast)
show flycast exec -o initech -- curl -sS -m 3 "http://[$address]"

# Taking the address back ends it at once; allocating another opens it again.
address=$(flycast dig --short -o globex ledger.flycast)
show flycast ips release -a ledger "$address"
show flycast exec -o globex -- curl -sS -m 3 http://shop.flycast
show flycast ips allocate-v6 --private -a ledger -o globex
show flycast exec -o globex -- curl -sS http://shop.flycast
