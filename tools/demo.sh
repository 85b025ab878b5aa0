#!/bin/bash
# demo.sh MILLRACE: takes this machine's package records into a store, kills the import with SIGKILL
# in the middle, and shows that the reopened store holds exactly a prefix of them in which every
# acknowledged record stands. Then imports them all, stops in order and shows the report. Builds two
# indexes, builds one anew while the records are written again, looks some up, and audits it all.
set -euo pipefail
export LC_ALL=C

millrace=$(realpath "$1")
work=$(mktemp -d)
importer=''
feeder=''
cleanup() {
  for process in $importer $feeder; do kill -KILL "$process" 2>/dev/null || true; done
  rm -rf "$work"
}
trap cleanup EXIT

title() { printf '\n-- %s\n' "$*"; }
fail() {
  printf 'demo: FAILED: %s\n' "$*" >&2
  exit 1
}

# Prints the stanzas of the files given, the first of each package.
first_of_each_package() {
  awk 'BEGIN { RS = ""; ORS = "\n\n"; FS = "\n" }
       { package = ""; architecture = ""
         for (i = 1; i <= NF; ++i) {
           if ($i ~ /^Package: /) package = $i
           if ($i ~ /^Architecture: /) architecture = $i
         }
         if (package != "" && architecture != "" && !seen[package]++) print }' "$@"
}

# The first N stanzas of a file.
first_stanzas() { awk -v n="$1" 'BEGIN { RS = ""; ORS = "\n\n" } NR > n { exit } { print }' "$2"; }

gather() {
  title "Real records: the packages of this machine"
  cat /var/lib/dpkg/status >"$work/sources"
  if command -v apt-cache >/dev/null; then
    { echo && apt-cache dumpavail 2>/dev/null; } >>"$work/sources" || true
  fi
  first_of_each_package "$work/sources" >"$work/packages"
  total=$(grep -c '^Package: ' "$work/packages")
  printf '%s packages, %s\n' "$total" "$(du -h "$work/packages" | cut -f1)"
  ((total > 3)) || fail "this machine has no package records"
}

# Feeds half to an import through a pipe that stays open, so that it cannot come to its end; once all
# of these are acknowledged, another quarter, and kills it with the first that is acknowledged of
# them. Sets `acknowledged` to the last number it told.
import_and_kill() {
  title "Import them, and kill the import with SIGKILL in the middle"
  mkfifo "$work/pipe" "$work/told" "$work/go_on"
  local half=$((total / 2))
  {
    first_stanzas "$half" "$work/packages"
    read -r _ <"$work/go_on"
    first_stanzas $((total - total / 4)) "$work/packages" |
      awk -v n="$half" 'BEGIN { RS = ""; ORS = "\n\n" } NR > n { print }'
    exec tail -f /dev/null
  } >"$work/pipe" &
  feeder=$!
  "$millrace" import "$work/store" packages - --format=deb822 --verbose \
    <"$work/pipe" >"$work/told" 2>"$work/messages" &
  importer=$!
  acknowledged=0
  local killed='' word number
  while read -r word number; do
    [[ $word == acknowledged ]] || fail "the import stopped by itself: $word $number"
    acknowledged=$number
    ((acknowledged != half)) || echo now >"$work/go_on"
    if [[ -z $killed ]] && ((acknowledged > half)); then
      kill -KILL "$importer"
      killed=yes
    fi
  done <"$work/told"
  local code=0
  wait "$importer" 2>/dev/null || code=$?
  importer=''
  kill -KILL "$feeder" 2>/dev/null || true
  wait "$feeder" 2>/dev/null || true
  feeder=''
  ((code == 137)) || { cat "$work/messages" >&2; fail "the import ended with $code"; }
  printf 'killed after it had acknowledged %s of %s records\n' "$acknowledged" "$total"
}

check_what_survived() {
  title "Open the store again: what does it hold?"
  "$millrace" stat "$work/store" | sed -n 1,4p
  local found
  found=$("$millrace" count "$work/store" packages)
  printf '%s records: %s acknowledged and %s whose answer was still under way\n' \
    "$found" "$acknowledged" "$((found - acknowledged))"
  ((found >= acknowledged)) || fail "$((acknowledged - found)) acknowledged records are lost"
  first_stanzas "$found" "$work/packages" |
    "$millrace" import "$work/clean" packages - --format=deb822 2>/dev/null
  cmp <("$millrace" scan "$work/store" packages) <("$millrace" scan "$work/clean" packages) ||
    fail "the store differs from one that was given its first $found records"
  printf 'byte for byte what a store holds that was given the first %s records and never killed\n' \
    "$found"
}

import_all() {
  title "Import all of them, stop in order, and account for every message"
  "$millrace" import "$work/store" packages "$work/packages" --format=deb822 --verbose \
    2>"$work/messages" >"$work/report"
  cat "$work/messages"
  sed -n '/^stopped in /,$p' "$work/report"
  ! grep -q UNBALANCED "$work/report" || fail "the counts of the report do not add up"
  local count
  count=$("$millrace" count "$work/store" packages)
  ((count == total)) || fail "$count records in the store, not $total"
  printf 'every line adds up, and the store counts %s records\n' "$count"
}

answer() {
  title "And it answers"
  local id
  id=$("$millrace" scan "$work/store" packages --limit=1 --prefix=dpkg: |
    sed -n 's/^{"_id":"\([^"]*\)".*/\1/p')
  printf '$ millrace get STORE packages %s\n' "$id"
  "$millrace" get "$work/store" packages "$id" | cut -c1-200
  printf '$ millrace stat STORE\n'
  "$millrace" stat "$work/store"
}

build_indexes() {
  title "Two indexes: a package has one name, a section many packages"
  "$millrace" index create "$work/store" packages Package --unique
  "$millrace" index create "$work/store" packages Section
  "$millrace" index list "$work/store"
  title "Build one anew, while all packages are written again"
  "$millrace" import "$work/store" packages "$work/packages" --format=deb822 --rebuild=Section
}

# find ARGUMENTS...: shows what is looked up, and the beginning of what is found.
find_and_show() {
  printf '$ millrace find STORE packages %s\n' "$*"
  "$millrace" find "$work/store" packages "$@" | cut -c1-100
}

look_up() {
  title "Look packages up: one by its name, some by how it begins, a section, a range"
  find_and_show Package dpkg
  find_and_show Package lib --prefix --limit=2
  find_and_show Section libs --limit=2
  find_and_show Section - --from=admin --to=b --limit=2
  local found=0 sectioned
  found=$("$millrace" find "$work/store" packages Section - | wc -l)
  sectioned=$(grep -c '^Section: ' "$work/packages")
  ((found == sectioned)) || fail "the index finds $found packages of $sectioned with a section"
  printf 'through the index: every one of %s packages that have a section\n' "$found"
}

audit() {
  title "Audit: indexes and counts against the records, both ways"
  "$millrace" index audit "$work/store" || fail "the audit found something"
}

gather
import_and_kill
check_what_survived
import_all
answer
build_indexes
look_up
audit
title "Done: nothing acknowledged was lost, nothing appeared in part, the indexes are right"
