"""Tests the measurements of the benchmarks: counts of passes, clocks, paired intervals, bars."""

import json
import math
import subprocess
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn

from purebench.attacks.gradient.pgd import PGD
from purebench.attacks.views.gradient_modes import exact
from purebench.core.defense import as_defense
from purebench.core.errors import PurebenchError
from purebench.core.seeds import seeded
from purebench.core.threat import ThreatModel


@pytest.fixture
def linear(script):
    """A linear model with counters and four images that it classifies correctly."""
    subjects = script("attack_parts.subjects")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = subjects.Counted(nn.Sequential(nn.Flatten(), nn.Linear(12, 3)))
        x = torch.rand(4, 3, 2, 2)
    return subjects.Subject(model, False, x, subjects.answers(model, x, 1)[:, 0])


def test_gradients_are_counted_in_the_backward_pass(linear):
    linear.model.reset()
    leaf = linear.x.clone().requires_grad_()
    logits = linear.model(leaf)
    assert (linear.model.forwards, linear.model.gradients) == (4, 0)
    torch.autograd.grad(logits.sum(), leaf)
    linear.model(linear.x)
    assert (linear.model.forwards, linear.model.gradients) == (8, 4)
    assert not any(value.requires_grad for value in linear.model.parameters())


def test_an_attack_counts_as_many_passes_as_the_model_saw(script):
    subjects = script("attack_parts.subjects")
    model, _, x, y = subjects.fashion()
    subject = subjects.Subject(subjects.Counted(model), False, x[:4], y[:4])
    view = exact(as_defense(subject.model))
    with seeded("copy"):
        PGD(steps=3)(view, subject.x, subject.y, ThreatModel("linf", 1e-6))
    assert view.backwards == subject.model.gradients == 3 * 4
    assert view.forwards == subject.model.forwards == 3 * 4


@pytest.mark.parametrize("name", ["purebench PGD", "purebench APGD", "Foolbox PGD", "ART PGD", "AutoAttack APGD"])
def test_each_contestant_computes_the_nominal_number_of_gradients(script, linear, name):
    contestants = script("attack_parts.contestants")
    (one,) = contestants.taking_part({}, (name,))
    task = contestants.Task(linear, ThreatModel("linf", 1e-6), steps=10)
    run = one.prepare(task)
    linear.model.reset()
    found = run()
    extra = 4 if name == "AutoAttack APGD" else 0  # it computes the gradient at its starting point in addition
    assert linear.model.gradients == task.nominal + extra
    assert task.threat.size(found - linear.x).max() <= 1.1e-6


def test_draws_are_averaged_and_counted(script, linear):
    contestants, subjects = script("attack_parts.contestants"), script("attack_parts.subjects")
    noisy = subjects.Counted(subjects.NoisyInput(linear.model, 0.1))
    mean = contestants.MeanOfDraws(noisy, 4000)
    spread = mean(linear.x[:1]) - linear.model(linear.x[:1]).log_softmax(1)
    assert spread.abs().max() < 0.02
    assert noisy.forwards == 4000


def test_rounds_are_interleaved_and_failing_contestants_are_listed(script, linear, monkeypatch):
    contestants, timing = script("attack_parts.contestants"), script("attack_parts.timing")
    now, calls = [0.0], []

    def make(name, seconds):
        def prepare(task):
            def run():
                if task.steps == 20:
                    calls.append(name)
                now[0] += seconds
                return linear.x

            return run

        return contestants.Contestant(name, "pgd", "x", "", prepare)

    def broken(task):
        raise RuntimeError("no such device")

    task = contestants.Task(linear, ThreatModel("linf", 0.1), steps=20)
    faulty = contestants.Contestant("faulty", "pgd", "x", "", broken)
    tasks = {one.name: (one, task) for one in (make("slow", 3.0), faulty, make("quick", 1.0))}
    missing = {}
    found = timing.measure(tasks, linear, 3, lambda: now[0], missing, "test")
    assert found["slow"].seconds == [3, 3, 3]
    assert found["quick"].median == 1
    assert calls == ["slow", "quick", "slow", "quick", "quick", "slow"]
    assert missing == {"faulty": "RuntimeError: no such device"}
    assert found[timing.UNIT].gradients == 4 * timing.UNIT_PASSES
    ours = contestants.Contestant("ours", "pgd", "purebench", "", broken)
    with pytest.raises(RuntimeError, match="no such device"):
        timing.measure({"ours": (ours, task)}, linear, 1, lambda: 0.0, missing, "test")


def test_the_paired_interval_agrees_with_scipy(script):
    rng = np.random.default_rng(3)
    first, second = rng.random(40), rng.random(40)
    ours = script("common.paired").difference(first, second, seed=1)
    theirs = stats.bootstrap(
        (100 * (first - second),), np.mean, method="percentile", n_resamples=20_000, rng=np.random.default_rng(2)
    ).confidence_interval
    assert ours.points == pytest.approx(100 * (first - second).mean())
    assert (ours.low, ours.high) == (pytest.approx(theirs.low, abs=0.6), pytest.approx(theirs.high, abs=0.6))
    assert ours == script("common.paired").difference(first, second, seed=1)
    with pytest.raises(ValueError, match="N ≥ 1"):
        script("common.paired").difference([], [])


def test_bars_decide_the_exit_code(script, tmp_path, capsys):
    reporting = script("common.reporting")
    report = reporting.Report("test", {})
    report.at_most("one", 1.0, 1.0)
    report.missing["torchattacks PGD"] = "No module named 'torchattacks'"
    assert report.close(None) == 0
    assert "missing: torchattacks PGD (No module" in capsys.readouterr().out
    report.below("two", 1.0, 1.0)
    report.at_most("three", math.nan, 1.0)
    assert report.close(tmp_path / "new" / "report.json") == 1
    kept = json.loads((tmp_path / "new" / "report.json").read_text(encoding="utf-8"))
    assert [bar["met"] for bar in kept["bars"]] == [True, False, False]
    assert kept["missing"] == report.missing
    assert "torch" in kept["versions"]


def test_invalid_input_is_reported_with_exit_code_2(script, capsys):
    options = SimpleNamespace(device="nowhere", threads=1, default_malloc=True, json=None)
    assert script("common.reporting").perform("test", options, lambda report: None) == 2
    assert "nowhere" in capsys.readouterr().err


def test_adversarial_examples_outside_the_threat_model_are_rejected(script, linear):
    subjects, threat = script("attack_parts.subjects"), ThreatModel("linf", 0.1)
    kept = subjects.constrained(linear.x.clamp(0.2, 0.8) + 0.1 * 0.00001, linear.x.clamp(0.2, 0.8), threat)
    assert threat.size(kept - linear.x.clamp(0.2, 0.8)).max() <= 0.1
    with pytest.raises(PurebenchError, match="linf distance"):
        subjects.constrained(linear.x + 0.11, linear.x, threat)
    with pytest.raises(PurebenchError, match="linf distance"):
        subjects.constrained(linear.x * math.nan, linear.x, threat)


def test_too_few_correctly_classified_images_are_rejected(script, linear):
    with pytest.raises(PurebenchError, match="expected 4 correctly classified images, but there are only 0"):
        script("attack_parts.subjects").chosen(linear.model, linear.x, linear.y + 1, 4, draws=1, least=1.0)


def test_resnet18_reads_weights_with_either_naming(script, tmp_path):
    subjects = script("attack_parts.subjects")
    model = subjects.resnet18()
    names = {
        name.replace("downsample", "shortcut").replace("fc.", "linear."): value
        for name, value in model.state_dict().items()
    }
    torch.save(names, tmp_path / "other.pt")
    again = subjects.resnet18(tmp_path / "other.pt")
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in model.state_dict().items())
    assert model.eval()(torch.rand(1, 3, 32, 32)).shape == (1, 10)
    torch.save({"a": torch.zeros(1)}, tmp_path / "none.pt")
    with pytest.raises(PurebenchError, match="--weights"):
        subjects.resnet18(tmp_path / "none.pt")


def test_the_peers_script_parses_and_prints_its_help():
    peers = Path(__file__).parents[2] / "tools" / "peers.sh"
    subprocess.run(["bash", "-n", peers], check=True)
    told = subprocess.run(["bash", peers, "--help"], check=True, capture_output=True, text=True).stdout
    assert told.startswith("Makes an environment")
    assert "PUREBENCH_VENV" in told
