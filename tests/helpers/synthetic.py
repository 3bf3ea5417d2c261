"""Builders of synthetic boards: small ones with results computed by hand, and one with minimum-norm attacks."""

import base64
import io
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

from purebench.boards.board import AttackChoice, Board, DatasetChoice, DefenseChoice, Source
from purebench.core.registry import Spec
from purebench.core.threat import ThreatModel
from purebench.core.warning_codes import ResultWarning, WarningCode
from purebench.records.outcome import WORST_CASE, Outcome
from purebench.records.record import Record
from purebench.results.merge import merge as merge_all

CLASSES = ("T-shirt/top", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "boot")
SECONDS = {"attack": 12.5, "verify": 2.0}


def make_board(attacks=("clean", "apgd"), defenses=("plain", "noisy"), images=4, block=2, draws=4, **more):
    """Returns a board with these attacks and defenses; `more` sets its other fields."""
    kinds = {"clean": ("none", 1), "square": ("none", 8), "transfer": ("none", 1)}
    fields = {
        "name": "small",
        "title": "A small board",
        "about": "",
        "dataset": DatasetChoice(Spec("fashion-mnist"), images, block),
        "classifier": Spec("fashion-resnet"),
        "threat": ThreatModel("linf", 16 / 255),
        "radius_text": "16/255",
        "attacks": tuple(AttackChoice(name, Spec(name), *kinds.get(name, ("exact", 8))) for name in attacks),
        "defenses": tuple(DefenseChoice(name, Spec(name, {"alpha": 0.5})) for name in defenses),
        "draws": draws,
        "fresh": draws,
    }
    return Board(**fields | more)


@dataclass(frozen=True)
class NamedJob:
    """The parts of a job that forecasts read."""

    name: str
    label: str
    block: int = 0
    key: str = ""

    @property
    def defense(self):
        return self


def make_record(board, defense, attack, block, answers, *, random=None, seconds=None, reason="", **more):
    """Returns a record from one answer per image: draws such as "1011", or an Outcome with `reason`."""
    start = block * board.dataset.block
    images = list(range(100 + start, 100 + start + len(answers)))
    asked = [not isinstance(answer, Outcome) for answer in answers]
    outcomes = [
        (Outcome.ROBUST if 2 * answer.count("1") > len(answer) else Outcome.MISCLASSIFIED) if one else answer
        for one, answer in zip(asked, answers, strict=True)
    ]
    if random is None:
        random = any(one and len(answer) > 1 for one, answer in zip(asked, answers, strict=True))
    return Record(
        key=f"{board.name}/{defense}/{attack}/{block}",
        board=board.name,
        defense=defense,
        attack=attack,
        block=block,
        images=images,
        labels=[image % len(CLASSES) for image in images],
        outcomes=outcomes,
        draws=[answer if one else "" for one, answer in zip(asked, answers, strict=True)],
        distances=[(0.0 if attack == "clean" else board.threat.radius) if one else None for one in asked],
        reasons=["" if one else reason for one in asked] if reason else [],
        forwards=10 * sum(asked),
        backwards=0 if attack == "clean" else 5 * sum(asked),
        seconds=dict(SECONDS if seconds is None else seconds),
        provenance={
            "defense": {"random": random, "parameters": 1234567, "weights": "ab" * 32, "spec": defense},
            "data": "cd" * 32,
            "versions": {"purebench": "0.1.0", "torch": "2.6.0", "python": "3.11.2"},
            "commit": "0123456789abcdef0123456789abcdef01234567",
            "device": "cpu",
        },
        **more,
    )


def judged(board, records):
    """Returns the records, with a worst-case record added to every complete block that has none.

    Its fresh draws are those of the attack with the fewest right draws, the first one in a tie.
    """
    blocks = {}
    for record in records:
        if record.board == board.name:
            blocks.setdefault((record.defense, record.block), {}).setdefault(record.attack, record)
    names = [attack.name for attack in board.attacks]
    added = []
    for of in blocks.values():
        if WORST_CASE in of or not all(name in of for name in names):
            continue
        first = of[names[0]]
        picks = [_pick([of[name] for name in names], image) for image in range(len(first.images))]
        added.append(
            replace(
                first,
                key=f"{board.name}/{first.defense}/{WORST_CASE}/{first.block}",
                attack=WORST_CASE,
                outcomes=[outcome for outcome, _, _, _ in picks],
                draws=[draws for _, draws, _, _ in picks],
                distances=[distance for _, _, distance, _ in picks],
                picked=[name for _, _, _, name in picks],
                reasons=[],
                nearest=[],
                claims=[],
                certified=[],
                notes=[],
                pictures=[],
                forwards=0,
                backwards=0,
                seconds={},
            )
        )
    return [*records, *added]


def _pick(records, image):
    asked = [record for record in records if record.draws[image : image + 1] not in ([], [""])]
    if not asked:
        some = Outcome.ERRORED if any(record.outcomes[image] is Outcome.ERRORED for record in records) else None
        return some or Outcome.SKIPPED, "", None, None
    least = min(asked, key=lambda record: record.draws[image].count("1"))
    return least.outcomes[image], least.draws[image], least.distances[image], least.attack


def merge(board, records):
    """Calls `purebench.results.merge.merge` after adding missing worst-case records."""
    return merge_all(board, judged(board, records))


def make_png(rng, noise=0.0):
    """Returns a 32×32 grey PNG in base64: a smooth blob with uniform noise of this amplitude."""
    grid = np.linspace(-1, 1, 32)
    blob = np.exp(-4 * ((grid[:, None] - 0.1) ** 2 + (grid[None] + 0.1) ** 2))
    blob += noise * rng.uniform(-1, 1, (32, 32))
    buffer = io.BytesIO()
    Image.fromarray((255 * blob.clip(0, 1)).astype(np.uint8)).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


@dataclass
class Demo:
    """A board of realistic size, with its records, results and original images."""

    board: Board
    records: list
    results: list
    originals: dict
    classes: tuple = CLASSES


def make_results(answers, draws=4, block=2, **more):
    """Returns a board, records and results from {defense: {attack: answers}}; single draws mean a deterministic row."""
    attacks = list(dict.fromkeys(attack for of in answers.values() for attack in of))
    images = max(len(given) for of in answers.values() for given in of.values())
    board = make_board(attacks, tuple(answers), images, block, draws, **more)
    records = []
    for defense, of in answers.items():
        drawn = [given for row in of.values() for given in row if not isinstance(given, Outcome)]
        random = any(len(given) > 1 for given in drawn)
        records += [
            make_record(board, defense, attack, start // block, given[start : start + block], random=random)
            for attack, given in of.items()
            for start in range(0, len(given), block)
        ]
    records = judged(board, records)
    return board, records, merge(board, records)


def cascaded(answers):
    """Converts {attack: answers} to a cascade: images that were wrong on every draw skip the later attacks."""
    broken, left = set(), {}
    for attack, given in answers.items():
        left[attack] = [Outcome.SKIPPED if image in broken else answer for image, answer in enumerate(given)]
        broken |= {i for i, answer in enumerate(given) if not isinstance(answer, Outcome) and "1" not in answer}
    return left


NEAREST_ATTACKS = (
    AttackChoice("clean", Spec("clean")),
    AttackChoice("fmn", Spec("fmn", {"steps": 40}), "exact", 4),
    AttackChoice("apgd-exact", Spec("apgd", {"steps": 50}), "exact", 4),
    AttackChoice("autoattack", Spec("autoattack:standard"), "exact", 1, "deterministic"),
    AttackChoice("transfer", Spec("transfer"), source=Source("vae", "apgd-exact")),
    AttackChoice("deepfool", Spec("foolbox:LinfDeepFoolAttack"), "bpda", 4),
)
# name: (random, clean accuracy, median distance of the nearest images in radii)
NEAREST = {
    "none": (False, 0.94, 0.25),
    "adversarial-training": (False, 0.85, 1.6),
    "vae": (False, 0.78, 0.7),
    "hvae-mix-cosine": (True, 0.84, 1.1),
    "diffpure-t0.15": (True, 0.88, 1.35),
}
REASONS = {"autoattack": "for deterministic defenses only"}


def make_nearest(cascade, images=48, block=12):
    """Returns a board with minimum-norm attacks, success claims of attacks and reused images, as a cascade or not."""
    board = replace(
        make_board((), tuple(NEAREST), images, block, 16, attack_precision="bf16", cascade=cascade),
        attacks=NEAREST_ATTACKS,
        name="fashion-nearest",
        title="Nearest adversarial images",
    )
    rng = np.random.default_rng(3)
    records = []
    for defense, (random, clean, median) in NEAREST.items():
        ours = {image: _look(rng, board, random, clean, median * board.threat.radius) for image in range(images)}
        answers = {attack.name: [ours[image][attack.name][0] for image in ours] for attack in board.attacks}
        for attack, given in (cascaded(answers) if cascade else answers).items():
            rows = [
                (answer, *(ours[image][attack][1:] if answer is not Outcome.SKIPPED else (None, None)))
                for image, answer in enumerate(given)
            ]
            records += [
                _nearest_record(board, defense, random, attack, start // block, rows[start : start + block])
                for start in range(0, images, block)
            ]
    records = judged(board, records)
    return Demo(board, records, merge(board, records), {})


def _look(rng, board, random, clean, median):
    """Returns {attack: (answer, nearest, claim)} of one image, all derived from one random distance."""
    radius, draws = board.threat.radius, 16 if random else 1
    true = 0.0 if rng.random() > clean else median * rng.lognormal(0, 0.5)
    hard = true > 2 * radius and rng.random() < 0.5

    def answer(distance):
        """Right up to `distance`; a random defense is sometimes right beyond it, too."""
        beyond = 0.04 if random and distance and rng.random() < 0.3 else 0.0
        right = beyond if distance <= radius else 0.97 if random else 1.0
        return "".join("01"[int(draw)] for draw in rng.random(draws) < right)

    found = {"clean": (answer(0.0 if not true else 1.0), None, None)}
    for attack, factor in {"fmn": 1.02, "deepfool": 1.2}.items():
        distance = None if hard or rng.random() < 0.05 else true * factor
        found[attack] = (answer(1.0 if distance is None else distance), distance, int(distance is not None))
    found["apgd-exact"] = (answer(true * 1.01), None, None)
    held = answer(true * 1.01)
    claim = int(("1" in held) == (rng.random() < 0.06))
    found["autoattack"] = (Outcome.SKIPPED, None, None) if random else (held, None, claim)
    found["transfer"] = (answer(true * 2), None, None)
    return found


def _nearest_record(board, defense, random, attack, block, rows):
    """Returns a record from (answer, nearest, claim) of each image."""
    answers, distances, claims = zip(*rows, strict=True)
    none = all(answer is Outcome.SKIPPED for answer in answers)
    return make_record(
        board,
        defense,
        attack,
        block,
        list(answers),
        random=random,
        nearest=list(distances) if any(distance is not None for distance in distances) else [],
        claims=list(claims) if any(claim is not None for claim in claims) else [],
        reason=REASONS.get(attack, "every image of the block was broken before") if none else "",
        warnings=[ResultWarning(WarningCode.CONDITIONAL, "conditional")] if none and attack not in REASONS else [],
    )
