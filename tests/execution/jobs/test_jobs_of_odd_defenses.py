"""Tests of jobs on defenses that keep state, share draws within a call, or fail on some images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from purebench.boards.jobs import Job
from purebench.boards.parse import load_board
from purebench.core.defense import Defense, as_defense
from purebench.core.errors import PurebenchError
from purebench.core.warning_codes import WarningCode
from purebench.execution.context import Context, prepare
from purebench.execution.early_checks import check_defenses
from purebench.execution.jobs.faults import explain
from purebench.execution.jobs.job import run_job
from purebench.execution.jobs.job_record import JobInputs
from purebench.records.outcome import Outcome
from purebench.records.record import Record

from boards import write_board  # isort: skip


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Context:
    """A board with 6 images, 4 draws and one row, whose defense the tests replace."""
    attacks = {
        "clean": {"use": "clean"},
        "apgd": {"use": "apgd(steps=5)", "gradient": "exact", "eot": 4},
        "dlr": {"use": "apgd(steps=2, loss=dlr)", "gradient": "exact"},
    }
    parts = {"attacks": attacks, "verify": {"draws": 4}, "defenses": {"none": "none"}}
    return prepare(load_board(write_board(tmp_path_factory.mktemp("board"), images=6, block=6, **parts)))


def found(ready: Context, defense: Defense, attack: str) -> Record:
    """Runs an attack on a defense in place of the row of the board, and returns its record."""
    context = replace(ready, defenses={"none": defense}, known={}, sizes={})
    (job,) = (job for job in context.jobs() if isinstance(job, Job) and job.label == attack)
    return run_job(job, context).record


def classifier(ready: Context) -> Callable[[Tensor], Tensor]:
    return ready.defenses["none"].classifier


def at_image(ready: Context, number: int) -> Callable[[Tensor], Tensor]:
    """Returns a function of images [N,C,H,W]: whether each is near the board's image of this number, bool [N]."""
    image = torch.as_tensor(ready.images.take([number]).floats())
    return lambda x: (x - image).abs().flatten(1).amax(1) <= 9 / 255


@pytest.mark.parametrize("attack", ["clean", "apgd"])
def test_a_nan_on_one_image_makes_only_that_image_errored(ready: Context, attack: str) -> None:
    net, here = classifier(ready), at_image(ready, 2)
    record = found(ready, as_defense(lambda x: net(x).masked_fill(here(x)[:, None], float("nan"))), attack)
    assert [outcome is Outcome.ERRORED for outcome in record.outcomes] == [row == 2 for row in range(6)]
    assert [bool(reason) for reason in record.reasons] == [row == 2 for row in range(6)]
    assert "finite logits" in record.reasons[2]
    assert record.draws[2] == ""
    assert record.distances[2] is None
    assert all(len(draws) == 1 for row, draws in enumerate(record.draws) if row != 2)


def test_a_nan_during_verification_makes_only_that_image_errored(ready: Context) -> None:
    """The defense fails near the clean image, where only the adversarial example of the attack lies."""
    net, here = classifier(ready), at_image(ready, 3)
    image = torch.as_tensor(ready.images.take([3]).floats())

    def beside(x: Tensor) -> Tensor:
        moved = here(x) & ((x - image).abs().flatten(1).amax(1) > 1e-3)
        return net(x).masked_fill(moved[:, None] & torch.tensor(not x.requires_grad), float("nan"))

    def start(x: Tensor) -> Tensor:
        return net(x) if torch.is_grad_enabled() else beside(x)

    record = found(ready, as_defense(start), "apgd")
    assert record.outcomes[3] is Outcome.ERRORED
    assert sum(outcome is Outcome.ERRORED for outcome in record.outcomes) == 1


def test_a_fault_on_every_image_is_reported_once_with_its_location(ready: Context) -> None:
    def crashes(x: Tensor) -> Tensor:
        raise RuntimeError("no answer today")

    record = found(ready, as_defense(crashes), "apgd")
    assert record.outcomes == [Outcome.ERRORED] * 6
    line = crashes.__code__.co_firstlineno + 1
    assert record.reason.startswith("RuntimeError: no answer today (")
    assert record.reason.endswith(f"test_jobs_of_odd_defenses.py:{line})")


def test_the_location_of_a_fault_is_in_user_code_and_not_in_a_library() -> None:
    def wrong(x: Tensor) -> Tensor:
        return torch.nn.functional.conv2d(x, x[0, 0])

    with pytest.raises(RuntimeError) as raised:
        as_defense(wrong)(torch.rand(1, 1, 4, 4))
    assert explain(raised.value).endswith(f"test_jobs_of_odd_defenses.py:{wrong.__code__.co_firstlineno + 1})")


def test_an_attack_whose_loss_needs_more_classes_is_skipped(ready: Context) -> None:
    net = classifier(ready)
    two = as_defense(lambda x: torch.stack([net(x)[:, :5].logsumexp(1), net(x)[:, 5:].logsumexp(1)], 1))
    labels = (ready.images.labels >= 5).astype("int64")
    context = replace(ready, images=replace(ready.images, labels=labels, classes=("low", "high")))
    record = found(context, two, "dlr")
    assert record.outcomes == [Outcome.SKIPPED] * 6
    assert "at least 3 classes, but got 2" in record.reason
    assert Outcome.ERRORED not in found(context, two, "apgd").outcomes


def test_a_defense_that_stores_its_outputs_is_verified_without_them(tmp_path: Path) -> None:
    """The defense returns its first output near an image for all later queries, so an attack gets the clean output.

    Adversarial examples of the classifier must break this defense too, although the job queries clean images first.
    """
    attacks = {
        "apgd": {"use": "apgd(steps=20)", "gradient": "exact"},
        "again": {"use": f"{tmp_path}/mine.py:asks", "source": {"defense": "none", "attack": "apgd"}},
    }
    file = tmp_path / "mine.py"
    file.write_text(
        "import torch\nfrom purebench.attacks.black_box.transfer import Transfer\n"
        "from purebench.core.defense import Defense\n"
        "class Asks(Transfer):\n    def __call__(self, view, x, y, threat):\n"
        "        view.scores(x)\n        return super().__call__(view, x, y, threat)\n"
        "def asks(found=None):\n    return Asks(found)\n"
        "class Nearest(torch.nn.Module):\n"
        "    def __init__(self, net):\n        super().__init__()\n        self.net, self.memory = net, []\n"
        "    def forward(self, x):\n        answers = []\n        for image in x:\n"
        "            known = [z for seen, z in self.memory if (seen - image).abs().max() <= 17 / 255]\n"
        "            if not known:\n"
        "                known = [self.net(image[None])[0]]\n"
        "                self.memory.append((image.detach().clone(), known[0].detach()))\n"
        "            answers.append(known[0])\n        return torch.stack(answers)\n"
        "def nearest(classifier):\n    return Defense(Nearest(classifier))\n",
        encoding="utf-8",
    )
    rows = {"none": "none", "nearest": f"{file}:nearest"}
    board = write_board(
        tmp_path, images=6, block=6, threat={"norm": "linf", "radius": "16/255"}, attacks=attacks, defenses=rows
    )
    context = prepare(load_board(board))
    findings = {}
    for job in context.jobs():
        if isinstance(job, Job):
            given = JobInputs(source=findings["none", "apgd"]) if job.source is not None else None
            findings[job.defense.name, job.label] = run_job(job, context, given)
    assert Outcome.MISCLASSIFIED in findings["none", "apgd"].record.outcomes
    assert findings["nearest", "again"].record.outcomes == findings["none", "apgd"].record.outcomes


def test_a_defense_that_replays_its_first_output_is_never_robust(ready: Context) -> None:
    """It stores the output on the clean images and returns it at every later call, also to the attack."""
    net = classifier(ready)

    class Replays(torch.nn.Module):
        first: Tensor | None = None

        def forward(self, x: Tensor) -> Tensor:
            if self.first is None:
                self.first = net(x).detach()
            return self.first[: len(x)] + 0 * x.flatten(1).sum(1, keepdim=True)

    record = found(ready, as_defense(Replays()), "apgd")
    assert Outcome.ROBUST not in record.outcomes


def test_an_ensemble_with_one_choice_per_call_chooses_for_each_image_and_draw(ready: Context) -> None:
    net = classifier(ready)

    def ensemble(x: Tensor) -> Tensor:
        return net(x).roll(int(torch.randint(2, ())), 1)  # the second model is always wrong

    many = replace(ready, board=replace(ready.board, draws=40))  # in 40 draws both models are asked
    record = found(many, as_defense(ensemble, random=True), "clean")
    sure = [draws for draws in record.draws if len(set(draws)) == 2]  # images that the first model classifies rightly
    assert len(sure) > 1
    assert len(set(sure)) == len(sure)  # 40 draws of two images are equal with a probability of 2 ** -40
    assert [warning.code for warning in record.warnings] == [WarningCode.SHARED_DRAWS]


def test_verification_uses_other_random_numbers_than_the_attack(tmp_path: Path) -> None:
    """An attack with these numbers could choose its images by them; this attack only returns its own numbers."""
    file = tmp_path / "peeks.py"
    file.write_text(
        "import torch\nfrom purebench.core.defense import Defense\nfrom purebench.core.answers import Answer\n"
        "from purebench.core.threat import Knowledge\n"
        "def toss(classifier):\n"
        "    def answer(x):\n"
        "        z, wrong = classifier(x), torch.rand(len(x)) < 0.5\n"
        "        return torch.where(wrong[:, None], z.flip(1), z)\n"
        "    return Defense(answer, random=True)\n"
        "class Peeks:\n    knowledge = Knowledge.NONE\n"
        "    def __call__(self, view, x, y, threat):\n"
        "        return Answer(x, claims=(torch.rand(len(x)) < 0.5))\n"
        "def peeks():\n    return Peeks()\n",
        encoding="utf-8",
    )
    parts = {"verify": {"draws": 1}, "defenses": {"toss": f"{file}:toss"}, "attacks": {"p": {"use": f"{file}:peeks"}}}
    context = prepare(load_board(write_board(tmp_path, images=40, block=40, **parts)))
    (job,) = (job for job in context.jobs() if isinstance(job, Job))
    record = run_job(job, context).record
    agree = sum((draw == "0") == bool(claim) for draw, claim in zip(record.draws, record.claims, strict=True))
    assert 10 <= agree <= 30  # of 40


@pytest.mark.slow  # importing the compiler takes seconds
def test_models_wrapped_by_torch_compile_run_uncompiled(ready: Context) -> None:
    graphs: list[object] = []

    def backend(graph: torch.fx.GraphModule, example: list[Tensor]) -> object:
        graphs.append(graph)
        return graph.forward

    net = ready.defenses["none"].classifier
    compiled = found(ready, as_defense(torch.compile(net, backend=backend)), "clean")
    assert compiled.draws == found(ready, as_defense(net), "clean").draws
    assert not graphs


def test_an_invalid_defense_is_rejected_with_the_name_of_its_row(ready: Context) -> None:
    net = classifier(ready)
    with pytest.raises(PurebenchError, match=r"defenses.none: .*wrap it"):
        check_defenses(replace(ready, defenses={"none": as_defense(lambda x: (net(x), net(x)))}))  # type: ignore[arg-type,return-value]


def test_declared_randomness_is_checked_before_the_run(ready: Context) -> None:
    net = classifier(ready)
    noisy = as_defense(lambda x: net(x + 0.3 * torch.randn_like(x)))
    with pytest.raises(PurebenchError, match=r"defenses.none: .*declare random=True"):
        check_defenses(replace(ready, defenses={"none": noisy}))
    (warning,) = check_defenses(replace(ready, defenses={"none": as_defense(net, random=True)}))
    assert warning.startswith("defenses.none: it declares random=True")
    assert check_defenses(ready) == []


def test_a_model_for_another_image_shape_is_rejected_before_the_run(ready: Context) -> None:
    colour = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
    shape = list(ready.images.images.shape[1:])
    with pytest.raises(PurebenchError) as caught:
        check_defenses(replace(ready, defenses={"none": as_defense(colour)}, checked=set()))
    assert f"images of shape {shape}, but it takes {[3, *shape[1:]]}" in str(caught.value)
