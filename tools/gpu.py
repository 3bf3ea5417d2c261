"""Runs GPU tests, the speed table, boards or trainings within a time limit; started by gpu.sh.

Everything is done in steps, each in a separate process. A finished step leaves a file in the work folder and is not run
again; a board resumes from its store, a training from its state. Results are packed into the output folder, in parts of
at most 16 MiB.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from purebench.core.errors import PurebenchError
from purebench.records.provenance import device_name, versions

ROOT = Path(__file__).resolve().parent.parent
PART = 15 * 2**20
"""Size of a part of the packed results, in bytes."""
MOST = 48 * 2**20
"""Size of the packed results, in bytes, above which stores and the states of finished trainings are left out."""
LOOK = 0.5
"""Seconds between two looks at the clock, which a signal may have ended."""
GRACE = 20.0
"""Seconds that a step has to finish once its time is over, before it is killed."""
DONE, FAILED, BAD, OUT_OF_TIME = 0, 1, 2, 3
SPEED = {
    **{
        f"ratio-{model}-eot{eot}": ["--part", "ratio", "--model", model, "--eot", str(eot)]
        for model in ("fashion-resnet", "resnet18", "vit", "convnext")
        for eot in (1, 8)
    },
    "overhead": ["--part", "overhead"],
    "breakable": ["--part", "breakable"],
}
"""The parts of the speed table, by name."""


@dataclass(frozen=True)
class Step:
    """A process to run: its name, its command, and the file that marks it as finished."""

    name: str
    command: list[str]
    done: Path
    accepts: tuple[int, ...] = (0,)
    """Exit codes that do not count as failures."""


@dataclass
class Clock:
    """The time limit: the start and the end of all steps, in seconds since the epoch; SIGTERM ends them at once."""

    began: float
    end: float

    @property
    def left(self) -> float:
        """Seconds left for steps."""
        return self.end - time.time()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the requested task; see gpu.sh for the exit codes."""
    options = parse(arguments)
    reserve = min(60.0, 6.0 * options.minutes)  # for packing
    clock = Clock(options.began, options.began + 60 * options.minutes - reserve)
    work, out = options.work.resolve(), options.out.resolve()

    def end(number: int, frame: object) -> None:
        clock.end = 0.0

    signal.signal(signal.SIGTERM, end)
    try:
        if options.resume is not None:
            unpack(options.resume, options.what, work)
        folder = work / options.what
        folder.mkdir(parents=True, exist_ok=True)
        device = device_name(options.device)
        told = [run(step, clock, options.device) for step in steps(options, folder)]
    except (PurebenchError, RuntimeError, AssertionError) as error:
        print(f"gpu: {str(error).splitlines()[0]}", file=sys.stderr)
        return BAD
    packed = pack(folder, out)
    found = {
        "what": options.what,
        "command": shlex.join(["tools/gpu.sh", *(sys.argv[1:] if arguments is None else arguments)]),
        "commit": options.commit or commit(),
        "device": device,
        "versions": versions(),
        "began": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(clock.began)),
        "seconds": round(time.time() - clock.began, 1),
        "complete": all(step["state"] == "done" for step in told),
        "steps": told,
        "files": packed,
    }
    text = json.dumps(found, indent=1, sort_keys=True) + "\n"
    (out / f"{options.what}.provenance.json").write_text(text, encoding="utf-8")
    for step in told:
        print(f"{step['state']}: {step['name']} ({step['seconds']} s)")
    print(f"results: {out}")
    states = {step["state"] for step in told}
    return FAILED if "failed" in states else OUT_OF_TIME if states - {"done"} else DONE


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Parse the options; arguments after `--` are passed to pytest, the benchmark, `purebench run` or `train`."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    cut = words.index("--") if "--" in words else len(words)
    made = argparse.ArgumentParser(prog="tools/gpu.sh", description=__doc__.splitlines()[0])
    made.add_argument("--began", type=float, default=time.time(), help=argparse.SUPPRESS)
    made.add_argument("what", choices=("tests", "speed", "boards", "train"))
    made.add_argument("--minutes", type=float, required=True, help="time limit, installation included")
    made.add_argument("--wheels", type=Path, help="folder of wheels that are installed beside purebench")
    made.add_argument("--work", type=Path, default=ROOT / "build" / "gpu", help="where it works (build/gpu)")
    made.add_argument("--out", type=Path, default=Path(os.environ.get("OUT", "out")), help="results ($OUT, else out)")
    made.add_argument("--resume", type=Path, metavar="FOLDER", help="go on from the results in this folder")
    made.add_argument("--device", default="cuda", help="cuda, cuda:0 or cpu (cuda)")
    made.add_argument("--commit", default="", help="the commit, where the machine has no git history")
    made.add_argument("--board", action="append", default=[], help="boards: a board, may be given several times")
    made.add_argument("--images", type=int, help="boards: only the first so many images")
    made.add_argument("--recipe", action="append", default=[], help="train: a recipe, may be given several times")
    made.add_argument("--budget", type=float, metavar="MINUTES", help="train: of each recipe (the recipe's own)")
    made.add_argument("--only", action="append", choices=SPEED, help="speed: only this part, may be repeated")
    options = made.parse_args(words[:cut])
    options.extra = words[cut + 1 :]
    if not options.minutes > 0:
        made.error(f"--minutes: expected a positive number, but got {options.minutes:g}")
    if (options.what == "boards") != bool(options.board):
        made.error("--board: expected with `boards`, and with nothing else")
    if (options.what == "train") != bool(options.recipe):
        made.error("--recipe: expected with `train`, and with nothing else")
    if options.budget is not None and (options.what != "train" or not options.budget > 0):
        made.error("--budget: expected a positive number of minutes with `train`, and with nothing else")
    return options


def steps(options: argparse.Namespace, folder: Path) -> Iterator[Step]:
    """Return the steps in order."""
    if options.what == "tests":
        report = folder / "junit.xml"
        command = [sys.executable, "-m", "pytest", "-q", "-m", "gpu", f"--junit-xml={report}", str(ROOT / "tests/gpu")]
        yield Step("tests", [*command, *options.extra], folder / "tests.done")
    elif options.what == "speed":
        for name in options.only or SPEED:
            script = [sys.executable, str(ROOT / "benchmarks/attacks.py"), "speed", *SPEED[name]]
            command = [*script, "--device", options.device, "--json", str(folder / f"{name}.json")]
            # 1: a bar was missed, which the file records; some bars cannot be met because peers are missing here
            yield Step(name, [*command, *options.extra], folder / f"{name}.done", (0, 1))
    elif options.what == "train":
        for recipe in options.recipe:
            place = folder / recipe
            command = [sys.executable, "-m", "purebench", "train", recipe, "--device", options.device]
            command += ["--out", str(place)]
            command += [] if options.budget is None else ["--minutes", f"{options.budget:g}"]
            yield Step(recipe, [*command, *options.extra], place / "train.done")
    else:
        for board in options.board:
            name = Path(board).parent.name if board.endswith((".yaml", ".yml")) else board
            place = folder / name
            command = [sys.executable, "-m", "purebench", "run", board, "--device", options.device]
            command += ["--store", str(place / "records.sqlite"), "--page", str(place / "page.html")]
            command += ["--results", str(place / "results")]
            command += [] if options.images is None else ["--images", str(options.images)]
            suffix = "" if options.images is None else f"-{options.images}"
            yield Step(name, [*command, *options.extra], place / f"board{suffix}.done")


def run(step: Step, clock: Clock, device: str) -> dict[str, Any]:
    """Run a step unless it is finished or time is over; return its outcome."""
    began = time.time()
    step.done.parent.mkdir(parents=True, exist_ok=True)
    told: dict[str, Any] = {"name": step.name, "command": shlex.join(step.command), "seconds": 0.0}
    if step.done.is_file() and step.done.read_text(encoding="utf-8") == told["command"]:
        return told | {"state": "done", "earlier": True}
    if clock.left <= 0:
        return told | {"state": "out of time"}
    print(f"{step.name}: {clock.left / 60:.1f} minutes left", flush=True)
    code = watched(step.command, clock, step.done.with_suffix(".log"), device)
    told["seconds"] = round(time.time() - began, 1)
    if code is None:
        return told | {"state": "out of time"}
    if code not in step.accepts:
        return told | {"state": "failed", "exit code": code}
    step.done.write_text(told["command"], encoding="utf-8")
    return told | {"state": "done", "exit code": code}


def watched(command: list[str], clock: Clock, log: Path, device: str) -> int | None:
    """Run a process whose output is shown and kept; return its exit code, None if it was killed."""
    environment = {**os.environ, "PYTHONUNBUFFERED": "1", "PYTHONIOENCODING": "utf-8", "PUREBENCH_TEST_DEVICE": device}
    with log.open("ab") as kept:
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=kept, stderr=subprocess.STDOUT)
        try:
            while clock.left > 0:
                with suppress(subprocess.TimeoutExpired):
                    return process.wait(min(LOOK, max(clock.left, 0.1)))
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(GRACE)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            return None
        finally:
            shown = log.read_bytes()[-8000:].decode(errors="replace")
            print(shown, flush=True)


def pack(folder: Path, out: Path) -> list[str]:
    """Write the folder as NAME.tar.gz.000, .001, … into `out`; see MOST for what is left out of it.

    Returns the names of the parts.
    """
    out.mkdir(parents=True, exist_ok=True)
    whole = folder.parent / f"{folder.name}.tar.gz"
    with tarfile.open(whole, "w:gz") as archive:
        archive.add(folder, folder.name)
    if whole.stat().st_size > MOST:
        print("stores, and states of finished trainings, are too large for the results; they stay in the work folder")
        with tarfile.open(whole, "w:gz") as archive:
            archive.add(folder, folder.name, filter=lambda one: None if spare(one.name, folder) else one)
    names = []
    with whole.open("rb") as file:
        while part := file.read(PART):
            names.append(f"{whole.name}.{len(names):03}")
            (out / f"{names[-1]}.new").write_bytes(part)
    for old in out.glob(f"{whole.name}.[0-9][0-9][0-9]"):  # those of an earlier run, which are kept until here
        old.unlink()
    for name in names:
        (out / f"{name}.new").replace(out / name)
    whole.unlink()
    return names


def spare(name: str, folder: Path) -> bool:
    """Return whether a file in the folder, by its name in the archive, is left out of results that are too large."""
    finished = (folder.parent / name).with_name("train.done").is_file()
    return "records.sqlite" in name or (name.endswith(".state.pt") and finished)


def unpack(earlier: Path, what: str, work: Path) -> None:
    """Unpack the parts written by `pack` into the work folder. Raises PurebenchError if there are none."""
    parts = sorted(earlier.glob(f"{what}.tar.gz.[0-9][0-9][0-9]"))
    if not parts:
        raise PurebenchError(f"--resume: expected {what}.tar.gz.000 in {earlier}, but it is not there.")
    work.mkdir(parents=True, exist_ok=True)
    whole = work / f"{what}.resumed.tar.gz"
    with whole.open("wb") as file:
        for part in parts:
            with part.open("rb") as one:
                shutil.copyfileobj(one, file)
    with tarfile.open(whole) as archive:
        archive.extractall(work, filter="data")
    whole.unlink()


def commit() -> str:
    """Return the commit of this checkout, with `+` if files differ from it; empty without git."""
    try:
        hashed, changed = (
            subprocess.run(["git", "-C", ROOT, *words], capture_output=True, text=True, check=True).stdout.strip()
            for words in (["rev-parse", "HEAD"], ["status", "--porcelain", "--untracked-files=no"])
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return hashed + ("+" if changed else "")


if __name__ == "__main__":
    sys.exit(main())
