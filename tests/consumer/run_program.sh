#!/bin/bash
# run_program.sh PROGRAM README: the program prints what README says it prints, on a new store; and
# it works on the store that it has left behind.
set -euo pipefail
cd "$(dirname "$1")"
rm -rf people.store
said=$("$1")
grep -qF "\`$said\`" "$2" || {
  echo "$1 printed '$said'; $2 says something else"
  exit 1
}
"$1"
