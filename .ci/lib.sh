# Functions that quickstart, run_tests and .ci/setup share. Sourced by bash; $root is the repository.
#
# What is downloaded lies in the cache folder, so that a second clone needs no network. The cache may
# be deleted at any time.

cache=${XDG_CACHE_HOME:-${HOME:-/tmp}/.cache}/emporium

say() { printf '%s\n' "$*"; }
warn() { printf 'note: %s\n' "$*" >&2; }
die() {
  printf '\nerror: %s\n' "$1" >&2
  shift
  [ $# -eq 0 ] || printf '  %s\n' "$@" >&2
  exit 1
}

# Runs a command with its output in a log file; shows the end of it when the command fails.
logged() {
  local log=$1
  shift
  mkdir -p "$(dirname "$log")"
  if ! "$@" >"$log" 2>&1; then
    tail -n 40 "$log" >&2
    return 1
  fi
}

# dependencies KIND GROUP... prints "NAME VERSION [SHA256 FILE]" lines.
dependencies() {
  local kind=$1
  shift
  awk -v kind="$kind" -v groups=" $* " \
    '$1 == kind && index(groups, " " $2 " ") { $1 = ""; $2 = ""; sub(/^ +/, ""); print }' \
    "$root/dependencies.txt"
}

# The first Python with pip; packages are only downloaded with it, never installed.
pip_python() {
  local python
  for python in python3 /usr/bin/python3; do
    if "$python" -m pip --version >/dev/null 2>&1; then
      printf '%s\n' "$python"
      return
    fi
  done
  return 1
}

# fetch_wheel NAME puts the wheel into the cache and its path into $wheel. A file that lies there
# already, from an earlier run or put there by hand, is taken when its hash is right.
fetch_wheel() {
  local name=$1 version sha file python tag out
  local tags=()
  read -r version sha file < <(awk -v name="$name" \
    '$1 == "wheel" && $3 == name { print $4, $5, $6 }' "$root/dependencies.txt")
  [ -n "${file:-}" ] || die "dependencies.txt names no wheel $name"
  wheel=$cache/wheels/$file
  mkdir -p "$cache/wheels"
  if [ -f "$wheel" ] && printf '%s  %s\n' "$sha" "$wheel" | sha256sum -c --quiet 2>/dev/null; then
    return
  fi
  rm -f "$wheel"
  python=$(pip_python) || die "no Python with pip, which downloads $name" \
    "Install python3-pip and run this again."
  for tag in 28 27 26 25 24 17; do tags+=(--platform "manylinux_2_${tag}_x86_64"); done
  say "  downloading $name $version"
  out=$(mktemp -d "$cache/wheels/new.XXXXXX")
  printf '%s==%s --hash=sha256:%s\n' "$name" "$version" "$sha" >"$out/requirement"
  if ! "$python" -m pip download -q --disable-pip-version-check --no-deps --no-cache-dir \
    --only-binary :all: --python-version 3.11 --implementation cp --abi cp311 --abi none \
    "${tags[@]}" --platform manylinux2014_x86_64 --platform any \
    --require-hashes -r "$out/requirement" -d "$out" >"$out/log" 2>&1; then
    tail -n 5 "$out/log" >&2
    rm -rf "$out"
    die "could not download $name==$version from the Python package index" \
      "To go on: check the network and run this again, or put the file" \
      "  $file" "into $cache/wheels, or (LibTorch only) set LIBTORCH_ROOT to an unpacked copy."
  fi
  mv "$out/$file" "$wheel" || die "pip downloaded $name==$version, but not as $file"
  rm -rf "$out"
}

# build_emporium PRESET [TARGET...] configures, and builds these targets or everything.
build_emporium() {
  local preset=$1 log=build/$1/log
  shift
  mkdir -p "build/$preset"
  logged "$log-configure" cmake --preset "$preset" || die "configuring failed" "The whole output: $log-configure"
  if [ -t 1 ]; then
    NINJA_STATUS='  [%f/%t, %es] ' ninja -C "build/$preset" -j "$(nproc)" "$@"
  else
    # Not a terminal: a line now and then instead of one for every file.
    NINJA_STATUS='[%f/%t, %es] ' ninja -C "build/$preset" -j "$(nproc)" "$@" 2>&1 |
      tee "$log-build" | awk '/^\[[0-9]+\/[0-9]+/ {
        split($1, n, "[][/,]"); if (n[2] == n[3] || ++seen % 25 == 0) { print "  " $0; fflush() } next }
        /^ninja: Entering/ { next } { print "  " $0; fflush() }'
  fi || die "the build failed; the compiler's words stand above" \
    "Build one file at a time with less memory: ninja -C build/$preset -j1"
}
