#!/bin/bash
# readme.sh README SOURCE: the first C++ block of README is SOURCE, character by character.
set -euo pipefail
diff <(awk '/^```cpp$/ { on = 1; next } /^```$/ { if (on) exit } on' "$1") "$2" ||
  { echo "$1 shows another program than the tested $2"; exit 1; }
[[ -s $2 ]]
