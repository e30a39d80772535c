"""Judges taste: innovation, complexity and correctness of what was measured, three times each.

The grades are kept beside what is counted; they steer the search only as far as `--judge-share`
says.
"""

import random
from collections.abc import Mapping, Sequence
from typing import Any

from move37.history import History
from move37.records import Judgement, Measured, Record
from move37.research.roles import Asker, read_grade
from move37.research.showing import shown

ROLE = "judge"
TIMES = 3
GRADES = ("innovation", "complexity", "correctness")


def judge(
    asker: Asker, experiment: Sequence[Record], history: Sequence[Record]
) -> Judgement | None:
    """Returns and keeps the judgement of an experiment that was measured.

    None where no answer can be read.

    The material comes in an order of the dice, and each part of it first once: models prefer what
    they read first.
    """
    last = experiment[-1]
    candidate = last.candidate
    if candidate.proposal.is_baseline or not isinstance(last.outcome, Measured):
        return None
    told = shown(candidate.id, [*History.of(history).of_candidate(candidate.id), *experiment])
    assert told is not None
    parts = ["motivation", "program", "result"]

    def read(answer: Mapping[str, Any]) -> dict[str, float]:
        return {key: read_grade(key, answer[key]) for key in GRADES}

    dice = f"{last.experiment}/{candidate.id}"
    spec = asker.choose(ROLE, dice)
    answers = []
    random.Random(dice).shuffle(parts)
    for first in range(TIMES):
        values = told | {"parts": parts[first:] + parts[:first]}
        found = asker.ask(spec, ROLE, values, GRADES, read, experiment=last.experiment)
        if found is None:
            break
        answers.append(found)
    if not answers:
        return None
    grades = {key: [answer[key] for answer in answers] for key in GRADES}
    means = {key: sum(values) / len(values) for key, values in grades.items()}
    spread = max(max(values) - min(values) for values in grades.values())
    judgement = Judgement(
        last.experiment, candidate.id, spec.name, len(answers), **means, spread=spread
    )
    asker.notes.append_judgement(judgement)
    return judgement
