#!/usr/bin/env bash
# Makes an environment in which purebench and all its peers can be imported by one process.
#
#   tools/peers.sh DIR          then: DIR/bin/python benchmarks/speed.py
#
# torchattacks' wheel installs a package `robustbench` over the real one, and adversarial-library (adv-lib) needs visdom:
# neither can share an environment with purebench. DIR is a separate environment with only these two, which looks for
# everything else (purebench from this tree, torch, Foolbox, ART, AutoAttack's package) in ours. All contestants
# thus run on the same torch in one process, and ours is unchanged. Our environment is .venv, or $PUREBENCH_VENV.
set -euo pipefail

if [ $# -ne 1 ] || [ "$1" = --help ] || [ "$1" = -h ]; then
  sed -n '2,9s/^# \{0,1\}//p' "$0"
  [ $# -eq 1 ] && exit 0 || exit 2
fi
folder=$1
root=$(cd "$(dirname "$0")/.." && pwd)
ours=${PUREBENCH_VENV:-$root/.venv}/bin/python
if ! "$ours" -c 'import purebench, torch' 2>/dev/null; then
  echo "expected purebench in $ours, but it cannot be imported there; run 'make setup' first, or set PUREBENCH_VENV" >&2
  exit 2
fi

"$ours" -m venv "$folder"
python=$folder/bin/python
site() { "$1" -c 'import sysconfig; print(sysconfig.get_path("purelib"))'; }
# addsitedir also reads the .pth files there, by which the editable purebench is found
echo "import site; site.addsitedir('$(site "$ours")')" >"$(site "$python")/ours.pth"

pip=("$python" -m pip install --quiet --disable-pip-version-check)
"${pip[@]}" 'setuptools>=77,<81' # visdom's build imports pkg_resources
"${pip[@]}" --no-build-isolation visdom==0.2.4
"${pip[@]}" --no-deps torchattacks==3.5.1 adv-lib==0.2.8 # torchattacks asks for a requests of 2021

"$python" - <<'PYTHON'
from importlib.metadata import version

import adv_lib.attacks, art, foolbox, purebench, pyautoattack, torchattacks  # noqa: E401, F401

for name in ("torch", "torchattacks", "adv-lib", "foolbox", "adversarial-robustness-toolbox", "pyautoattack"):
    print(f"{name} {version(name)}")
PYTHON
echo "$python is ready"
