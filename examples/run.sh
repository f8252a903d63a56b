#!/bin/sh
# Runs the README's session and every example in a temporary folder, and checks that they succeed.
# The binaries must be built (`cargo build --workspace --bins`); `make examples` does both.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
target=${CARGO_TARGET_DIR:-$root/target}
case $target in /*) ;; *) target=$root/$target ;; esac
bin=$target/debug
work=$(mktemp -d "${TMPDIR:-/tmp}/hyperslab-examples.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM
mkdir "$work/examples"
cp -R "$root/examples/data" "$work/examples/data"
cd "$work"
export HOME="$work"

# Runs a command; its output is shown only when it fails, or does not hold the text expected of it.
run() {
    expected=$1
    shift
    if ! "$@" >output.txt 2>&1; then
        echo "FAILED: $*" >&2
        cat output.txt >&2
        exit 1
    fi
    if ! grep -q -e "$expected" output.txt; then
        echo "FAILED: $*: no '$expected' in its output" >&2
        cat output.txt >&2
        exit 1
    fi
    echo "ok: ${1##*/}${2:+ $2}${3:+ $3}"
}

for script in "$root"/examples/*.sql; do
    [ -e "$script" ] || continue
    run . "$bin/hyperslab" "$(basename "$script" .sql).slab" -f "$script"
done
for source in "$root"/examples/src/bin/*.rs; do
    [ -e "$source" ] || continue
    name=$(basename "$source" .rs)
    run . "$bin/$name"
done
