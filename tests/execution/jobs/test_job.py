"""Tests of attack jobs: reproducibility, outcomes, the check of the threat model, and independent verification."""

from __future__ import annotations

import base64
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from purebench.boards.parse import load_board
from purebench.core.compute.devices import single_thread
from purebench.core.defense import Function, as_defense
from purebench.core.errors import PurebenchError
from purebench.core.threat import ThreatModel
from purebench.execution.context import Context, prepare
from purebench.execution.jobs.job import run_job
from purebench.execution.jobs.job_record import JobResult
from purebench.execution.jobs.threat_check import Violation, constrain
from purebench.records.outcome import Outcome
from purebench.records.record import Record

from boards import write_board  # isort: skip


def context(folder: Path, **parts: object) -> Context:
    return prepare(load_board(write_board(folder, images=4, **parts)))


def find(context: Context, defense: str, attack: str) -> JobResult:
    (job,) = (j for j in context.jobs() if (j.defense.name, j.label, j.block) == (defense, attack, 0))
    return run_job(job, context)


def without_time(record: Record) -> Record:
    return replace(record, seconds={})


def test_a_record_depends_only_on_its_job_and_the_callers_random_state_is_kept(tmp_path: Path) -> None:
    ready = context(tmp_path)
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first = find(ready, "coin", "apgd")
    assert torch.equal(torch.rand(3), expected)
    torch.manual_seed(6)
    second = find(ready, "coin", "apgd")
    assert without_time(first.record) == without_time(second.record)
    assert (first.adversarial == second.adversarial).all()  # type: ignore[union-attr]
    other = prepare(replace(ready.board, seed=1))
    assert find(other, "coin", "clean").record.draws != find(ready, "coin", "clean").record.draws


def test_random_defenses_are_verified_with_all_draws_and_deterministic_ones_with_one(tmp_path: Path) -> None:
    ready = context(tmp_path)
    assert [len(draws) for draws in find(ready, "coin", "clean").record.draws] == [6] * 4
    assert [len(draws) for draws in find(ready, "none", "clean").record.draws] == [1] * 4
    mixed = "".join(find(ready, "coin", "clean").record.draws)
    assert 0.2 < mixed.count("1") / len(mixed) < 0.9


def test_outcomes_agree_with_the_draws(tmp_path: Path) -> None:
    record = find(context(tmp_path), "coin", "apgd").record
    for outcome, draws in zip(record.outcomes, record.draws, strict=True):
        held = draws.count("1") > len(draws) / 2
        assert outcome is (Outcome.ROBUST if held else Outcome.MISCLASSIFIED)
    assert record.forwards > 4 * 6
    assert record.backwards > 0


@pytest.mark.parametrize(
    ("defense", "reason"), [("nan", "NaN"), ("shape", r"shape \[4,K\]"), ("crash", "no answer today")]
)
def test_a_faulty_defense_gives_an_errored_record(tmp_path: Path, defense: str, reason: str) -> None:
    ready = context(tmp_path, defenses={defense: f"{tmp_path}/defenses.py:{defense}", "none": "none"})
    for attack in ("clean", "apgd", "square"):
        found = find(ready, defense, attack)
        assert found.record.outcomes == [Outcome.ERRORED] * 4
        assert found.record.draws == [""] * 4
        assert re.search(reason, found.record.reason)
        assert not re.search("Fault|NotLogits|PurebenchError|Violation", found.record.reason)
        assert found.adversarial is None
    assert find(ready, "none", "clean").record.outcomes[0] is not Outcome.ERRORED


@pytest.mark.parametrize(
    ("attack", "reason"),
    [("too_far", "linf distance"), ("outside", "outside"), ("nan", "finite"), ("shape", "shape")],
)
def test_an_attack_outside_the_threat_model_is_errored(tmp_path: Path, attack: str, reason: str) -> None:
    ready = context(tmp_path, attacks={"a": {"use": f"{tmp_path}/attacks.py:{attack}"}})
    record = find(ready, "none", "a").record
    assert record.outcomes == [Outcome.ERRORED] * 4
    assert reason in record.reason
    assert "Violation" not in record.reason


def test_rounding_errors_beyond_the_radius_are_projected_and_noted(tmp_path: Path) -> None:
    ready = context(tmp_path, attacks={"a": {"use": f"{tmp_path}/attacks.py:rounding"}})
    record = find(ready, "none", "a").record
    assert any("rounding corrected" in note for note in record.notes)
    assert max(record.distances) <= 8 / 255 + 1e-7  # type: ignore[type-var,operator]


def test_attacks_that_do_not_apply_are_skipped(tmp_path: Path) -> None:
    attacks = {"d": {"use": "clean", "only": "deterministic"}, "r": {"use": "clean", "only": "random"}}
    ready = context(tmp_path, attacks=attacks)
    assert find(ready, "none", "d").record.outcomes[0] is not Outcome.SKIPPED
    assert find(ready, "none", "r").record.outcomes == [Outcome.SKIPPED] * 4
    assert find(ready, "coin", "d").record.outcomes == [Outcome.SKIPPED] * 4


def test_constrain_keeps_images_inside_the_threat_model() -> None:
    x = torch.rand(3, 1, 4, 4)
    threat = ThreatModel("l2", 0.5)
    inside = threat.project(x + torch.randn_like(x), x)
    kept, notes = constrain(inside, x, threat)
    torch.testing.assert_close(kept, inside, atol=1e-6, rtol=0)
    assert notes == []
    with pytest.raises(Violation):
        constrain(x + 1.0, x, threat)


def test_out_of_memory_errors_halve_the_device_batch_and_not_the_block(tmp_path: Path) -> None:
    ready = context(tmp_path)
    classifier = ready.defenses["none"].classifier

    def tight(x: torch.Tensor) -> torch.Tensor:
        if len(x) > 3:
            raise torch.OutOfMemoryError("out of memory")
        return classifier(x)

    small = replace(ready, defenses={**ready.defenses, "none": as_defense(tight)})
    with single_thread(torch.device("cpu")):
        expected, found = find(ready, "none", "clean").record, find(small, "none", "clean").record
    assert found.draws == expected.draws
    assert found.notes == ["out of memory: device batch halved to 2"]


def test_records_contain_pictures_of_the_first_images_of_the_first_block(tmp_path: Path) -> None:
    pictures = find(context(tmp_path), "coin", "apgd").record.pictures
    assert len(pictures) == 4
    assert base64.b64decode(pictures[0].adversarial)[:4] == b"\x89PNG"


def test_a_defense_that_modifies_its_buffers_is_errored(tmp_path: Path) -> None:
    class Counts(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("passes", torch.zeros(()))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.get_buffer("passes").add_(1)
            return x.flatten(1)[:, :10]

    ready = context(tmp_path)
    counted = replace(ready, defenses={**ready.defenses, "none": as_defense(Counts())})
    record = find(counted, "none", "clean").record
    assert set(record.outcomes) == {Outcome.ERRORED}
    assert "weights and buffers" in record.reason


def test_an_attack_that_modifies_the_clean_images_is_errored(tmp_path: Path) -> None:
    file = tmp_path / "mutates.py"
    file.write_text(
        "from purebench.core.threat import Knowledge\n"
        "class Mutates:\n    knowledge = Knowledge.NONE\n"
        "    def __call__(self, view, x, y, threat):\n        return x.zero_().add_(0.5)\n"
        "def attack():\n    return Mutates()\n",
        encoding="utf-8",
    )
    ready = context(tmp_path, attacks={"a": {"use": f"{file}:attack"}})
    assert "linf distance" in find(ready, "none", "a").record.reason


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("claims=torch.zeros(1, dtype=torch.bool)", "one per image, but got shape [1]"),
        ("claims=torch.zeros(9, dtype=torch.bool)", "one per image, but got shape [9]"),
        ("claims=[True] * len(x)", "one per image, but got list"),
        ("certified=[0.1]", "certified radii, one per image, but got 1"),
        ("images=x[:-1]", "one per input image, but got"),
    ],
)
def test_attack_answers_of_the_wrong_length_are_errored_and_name_the_field(
    tmp_path: Path, given: str, message: str
) -> None:
    file = tmp_path / "claims.py"
    file.write_text(
        "import torch\nfrom purebench import Knowledge\nfrom purebench.core.answers import Answer\n"
        "class Claims:\n    knowledge = Knowledge.NONE\n"
        f"    def __call__(self, view, x, y, threat):\n        return Answer(**{{'images': x}} | dict({given}))\n"
        "def attack():\n    return Claims()\n",
        encoding="utf-8",
    )
    record = find(context(tmp_path, attacks={"a": {"use": f"{file}:attack"}}), "none", "a").record
    assert set(record.outcomes) == {Outcome.ERRORED}
    assert message in record.reason


def test_gradient_attacks_are_skipped_only_if_a_blocked_gradient_is_declared(tmp_path: Path) -> None:
    ready = context(tmp_path)
    blocked = Function(lambda x: x.detach() * 0.9, random=False)
    for differentiable, outcome in ((False, Outcome.SKIPPED), (True, Outcome.ERRORED)):
        blocked.differentiable = differentiable
        defense = as_defense(blocked, ready.defenses["none"].classifier)
        record = find(replace(ready, defenses={**ready.defenses, "none": defense}), "none", "apgd").record
        assert set(record.outcomes) == {outcome}
        assert "gradient" in record.reason


def test_a_factory_that_modifies_the_shared_classifier_is_rejected(tmp_path: Path) -> None:
    """Otherwise the row `none` would be evaluated with the modified classifier."""
    for name, change in {
        "hooked": "classifier.register_forward_pre_hook(lambda module, given: (given[0].round(),))",
        "edited": "classifier.weight.data.mul_(0.9) if hasattr(classifier, 'weight') else "
        "[value.data.mul_(0.9) for value in classifier.parameters()]",
        "patched": "setattr(classifier, 'forward', lambda x: x.flatten(1)[:, :10])",
    }.items():
        (tmp_path / f"{name}.py").write_text(
            f"from purebench import Defense\ndef changed(classifier):\n    {change}\n    return Defense(classifier)\n",
            encoding="utf-8",
        )
        rows = {"none": "none", name: f"{tmp_path}/{name}.py:changed"}
        board = load_board(write_board(tmp_path / name, defenses=rows))
        with pytest.raises(
            PurebenchError, match=f"{name}: expected a factory that does not modify the board's classifier"
        ):
            prepare(board)
