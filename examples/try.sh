#!/usr/bin/env bash
# Installs examples/purebench-median and uses it as a user would: in a new folder that also has an attacks/ package.
# The argument is the Python with purebench: examples/try.sh .venv/bin/python
set -euo pipefail
python=$(realpath --no-symlinks "${1:?usage: examples/try.sh PYTHON}")
example=$(cd "$(dirname "$0")/purebench-median" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# a copy, so that building leaves nothing in the tree; a target, so that the environment is unchanged
cp -r "$example" "$work/source"
"$python" -m pip install --quiet --no-deps --no-build-isolation --target "$work/installed" "$work/source"

mkdir -p "$work/research/attacks" "$work/research/defenses"
echo 'raise ImportError("the attacks of the folder were imported")' >"$work/research/attacks/__init__.py"
echo 'raise ImportError("the defenses of the folder were imported")' >"$work/research/defenses/__init__.py"
cp -r "$example/tests" "$example/pyproject.toml" "$work/research/"
cd "$work/research"
export PYTHONPATH="$work/installed"

"$python" -m purebench list defenses | grep soft-median
"$python" -m purebench list attacks | grep salt
"$python" -m purebench run tests/board.yaml -d 'soft-median(size=3)' -d none --images 12 --workers 1 --store found.sqlite
"$python" -m pytest -q -p no:cacheprovider
echo "examples/purebench-median: installed, listed, run and tested"
