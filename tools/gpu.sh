#!/usr/bin/env bash
# Runs GPU tests, the speed table, boards or trainings on a machine with CUDA, Python 3.12 and torch 2.11, within a time
# limit.
#
#   tools/gpu.sh tests --minutes 5 --wheels .whl
#   tools/gpu.sh speed --minutes 9 --wheels .whl
#   tools/gpu.sh boards --minutes 9 --wheels .whl --board fashion-linf --images 200
#   tools/gpu.sh train --minutes 9 --wheels .whl --recipe fashion-vae --budget 6 -- --data FOLDER
#
# Nothing is fetched: --wheels DIR holds the packages that the machine lacks, and purebench is built from this checkout
# with the machine's own setuptools (77 or newer) or with a wheel of it. Both are installed into --work (default
# build/gpu); the machine's packages stay as they are. Results and their provenance go to --out (default $OUT, else out).
# Started again with the same --work, or with --resume FOLDER (an earlier --out), it resumes. The results are also packed
# when it is asked to end (SIGTERM) after the installation.
#
# The wheels, collected on a machine with a network:
#   flags="--only-binary=:all: --python-version 3.12 --dest .whl"
#   flags="$flags --platform manylinux_2_28_x86_64 --platform manylinux_2_17_x86_64"
#   pip download $flags pydantic
#   pip download $flags --no-deps adversarial-robustness-toolbox foolbox eagerpy robustbench pyautoattack geotorch \
#     torchdiffeq torchsde trampoline gitpython gitdb smmap six setuptools diffusers importlib-metadata
# All options: tools/gpu.sh boards --help. Exit code: 0, 1 if something failed, 2 for bad input, 3 if time ran out.
set -euo pipefail
cd "$(dirname "$0")/.."
began=$(date +%s)
python=${PYTHON:-python3}
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1

work=build/gpu wheels=""
words=("$@")
while [ $# -gt 0 ]; do
  case $1 in
    --work) work=${2:?--work: expected a folder}; shift ;;
    --work=*) work=${1#*=} ;;
    --wheels) wheels=${2:?--wheels: expected a folder of wheels}; shift ;;
    --wheels=*) wheels=${1#*=} ;;
    --) break ;;
  esac
  shift
done
mkdir -p "$work"
work=$(cd "$work" && pwd)
install() { $python -m pip install --quiet --no-index --no-deps --no-compile --no-cache-dir --target "$@"; }

if [ -n "$wheels" ] && [ ! -e "$work/wheels/.complete" ]; then
  rm -rf "$work/wheels"
  install "$work/wheels" "$wheels"/*.whl
  touch "$work/wheels/.complete"
fi
# Built at every start because the checkout may have changed, and from a copy so that no build folder is left in it.
rm -rf "$work/site" "$work/tree"
mkdir -p "$work/tree"
cp -R pyproject.toml README.md LICENSE suite attacks defenses leaderboards "$work/tree/"
PYTHONPATH=$work/wheels install "$work/site" --no-build-isolation "$work/tree"
rm -rf "$work/tree"

export PYTHONPATH=$work/site:$work/wheels
exec $python tools/gpu.py --began "$began" "${words[@]}"
