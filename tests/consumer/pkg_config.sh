#!/bin/bash
# pkg_config.sh SOURCE PROGRAM README: builds and runs SOURCE with nothing but what pkg-config answers.
# PREFIX, LIBDIR, CXX and STATIC (--static or nothing) come from the environment.
set -euo pipefail
export PKG_CONFIG_PATH="$PREFIX/$LIBDIR/pkgconfig"
prefix=$(pkg-config --variable=prefix millrace)
[[ $prefix -ef $PREFIX ]] || {
  echo "millrace.pc does not know where it was moved: $prefix"
  exit 1
}
read -ra cflags < <(pkg-config --cflags millrace)
read -ra libs < <(pkg-config ${STATIC:-} --libs millrace)
mkdir -p "$(dirname "$2")"
"$CXX" -std=c++20 "${cflags[@]}" "$1" -o "$2" "${libs[@]}" -Wl,-rpath,"$PREFIX/$LIBDIR"
exec bash "$(dirname "$0")/run_program.sh" "$2" "$3"
