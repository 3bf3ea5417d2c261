"""Starts the benchmarks of the attacks, each with its own tables, bars and flags.

    python benchmarks/attacks.py                        the list of benchmarks
    python benchmarks/attacks.py speed --help           cost beside the peers'
    python benchmarks/attacks.py strength --help        random defenses, beside the peers at equal gradient cost
    python benchmarks/attacks.py reference --help       AutoAttack's package, our adapter, the native attacks
    python benchmarks/attacks.py precision --help       bf16 beside float32
    python benchmarks/attacks.py gradient-noise --help  signal-to-noise ratio of the gradients of random defenses
    python benchmarks/attacks.py all --json FOLDER      all with their defaults, one file each in FOLDER

`tools/peers.sh DIR` installs peers that cannot share an environment with purebench; then use DIR/bin/python. Those
that cannot be imported are listed as missing. Exit code 1 if a bar is missed, 2 for bad input.
"""

from __future__ import annotations

import sys

import speed
from attack_parts import gradient_noise, precision, reference, strength

BENCHMARKS = {
    "speed": speed.main,
    "strength": strength.main,
    "reference": reference.main,
    "precision": precision.main,
    "gradient-noise": gradient_noise.main,
}


def main(arguments: list[str] | None = None) -> int:
    """Run one benchmark with the arguments after its name, or all; return the largest exit code."""
    words = sys.argv[1:] if arguments is None else arguments
    if words and words[0] in BENCHMARKS:
        return BENCHMARKS[words[0]](words[1:])
    if words == ["all"] or (len(words) == 3 and words[:2] == ["all", "--json"]):
        files = {name: ["--json", f"{words[2]}/{name}.json"] if len(words) == 3 else [] for name in BENCHMARKS}
        return max(run(files[name]) for name, run in BENCHMARKS.items())
    print(__doc__)
    return 0 if not words or words[0] in ("--help", "-h") else 2


if __name__ == "__main__":
    sys.exit(main())
