#!/bin/sh
# Makes benches/compare/.venv with the peers. One for which there is no wheel is left out, and its column stays empty.
# Where the OpenBLAS inside numpack's wheel asks for a newer glibc than there is, Debian's takes its place.
set -eu
cd "$(dirname "$0")"
python3 -m venv .venv
pip() { .venv/bin/pip install --quiet --disable-pip-version-check --only-binary :all: "$@"; }
pip -r requirements.txt || while read -r package; do
  pip "$package" || echo "$package cannot be installed here: its column stays empty" >&2
done <requirements.txt

if ! .venv/bin/python -c 'import numpack' 2>/dev/null && command -v apt-get >/dev/null 2>&1; then
  libs=$(echo .venv/lib/python3*/site-packages)/numpack.libs
  debs=$(mktemp -d)
  (cd "$debs" && apt-get download libopenblas0-pthread libgfortran5 libquadmath0 >/dev/null 2>&1 &&
    for deb in *.deb; do dpkg -x "$deb" x; done) || true
  found=$(find "$debs" -name libopenblas.so.0 2>/dev/null | head -1)
  if [ -n "$found" ]; then
    cp -L "$found" "$libs"/libopenblas-*.so.0
    find "$debs" \( -name 'libgfortran.so.5' -o -name 'libquadmath.so.0' \) -exec cp -L {} "$libs" \;
  fi
  rm -rf "$debs"
fi
LD_LIBRARY_PATH=$(echo "$PWD"/.venv/lib/python3*/site-packages/numpack.libs) .venv/bin/python -c 'import numpack' 2>/dev/null ||
  echo "numpack cannot be loaded here: its column stays empty" >&2
touch .venv/stamp
