"""Recognition before the end: a linear probe on the contexts of videos of which the first part was seen."""
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from eval.forecast.completed import MAPPED, PREDICTED, REPEATED, SEEN
from eval.forecast.contexts import Contexts
from eval.protocols.linear_probe import chosen_probe, quick_fits
from eval.protocols.protocol import Outcome, Task
from eval.protocols.results import cell_of, estimate_of, interval_text, markdown, named

PROTOCOL = 'anticipation'
# What the classifier gets, in the column `feature` of the results. OWN_PROBE: SEEN, but the probe is trained on the
# same part of the training videos; the others are classified by a probe trained on whole training videos.
OWN_PROBE = 'own probe'
FEATURES = {SEEN: 'context', PREDICTED: 'context, predicted', MAPPED: 'context, mapped', REPEATED: 'context, repeated',
            OWN_PROBE: 'context, own probe'}
PREDICTIONS = PREDICTED, MAPPED
RIVALS = SEEN, REPEATED, OWN_PROBE  # of the predictions
EXPLAINED = ('context: of the observed blocks; predicted: the prediction is rolled out to the length of the video; '
             'mapped: a linear map takes it to features, fitted without labels; repeated: the last seen block takes '
             'its place; all four by a probe trained on whole videos',
             'own probe: as context, by a probe trained on the same part of the training videos; the roll-out is '
             'computed from the state after the seen blocks, so a probe may know as much without it')
GAINS = 'Predictions minus what they compete with, on the same test videos'
SATURATED = 0.95  # share of the accuracy on whole videos from which a curve is said to be flat


def setting_of(fraction: float) -> str:
    """
    >>> setting_of(0.25), setting_of(1)
    ('25% observed', '100% observed')
    """
    return f'{100 * fraction:g}% observed'


def anticipation(task: Task, contexts: Contexts, observe: Sequence[float]) -> dict[str, list[Outcome]]:
    """{feature: [Outcome of each fraction in `observe`]}. task: of `contexts`, whose vectors are rows of these."""
    train, test = contexts.train[task.train], contexts.test[task.test]         # [R, F + 1, D], [Q, F, K, D]
    of_whole, *of_parts = (replace(task, train=train[:, f]) for f in (-1, *range(len(observe))))
    found = {}
    with quick_fits():
        trained = chosen_probe(of_whole)
        for k, name in enumerate(contexts.inputs):
            found[FEATURES[name]] = [outcome_of(task, trained, test[:, f, k], fraction)
                                     for f, fraction in enumerate(observe)]
        found[FEATURES[OWN_PROBE]] = [outcome_of(task, trained if fraction == 1 else chosen_probe(part), test[:, f, 0],
                                                 fraction)
                                      for f, (fraction, part) in enumerate(zip(observe, of_parts))]
    return found


def outcome_of(task: Task, trained: tuple, vectors: np.ndarray, fraction: float) -> Outcome:
    """trained: of `chosen_probe`. vectors [Q, D]."""
    classifier, decay, folds = trained
    hits = (classifier.predict(vectors) == task.test_label)[None].astype(float)
    return Outcome(PROTOCOL, setting_of(fraction), 'top1', hits, task.test_group, [decay], [folds])


def gain_rows(outcomes: dict[tuple[str, str], Sequence[Outcome]], observe: Sequence[float]) -> list[dict]:
    """A row for each number of PREDICTIONS and each of RIVALS: its value minus that of the rival with the same weights,
    on the same test videos, with its interval. None of whole videos, to which nothing is added.

    outcomes: of each (weights, feature)."""
    predictions = [FEATURES[name] for name in PREDICTIONS]
    return [{'weights': weights, 'feature': feature, 'than': FEATURES[rival], **named(one), **estimate_of(one, other)}
            for (weights, feature), found in outcomes.items() if feature in predictions for rival in RIVALS
            for one, other, fraction in zip(found, outcomes[weights, FEATURES[rival]], observe) if fraction < 1]


def result_tables(rows: Sequence[dict], gains: Sequence[dict], names: dict[str, str]) -> list[str]:
    """Lines of Markdown tables: the values by the part observed, and what the predictions gain if there are `gains`.

    rows: of results.json. names: {weights: what they are called}."""
    lines = markdown(*value_table(rows, names))
    if gains:
        lines += ['', f'## {GAINS}', '', *markdown(*gain_table(gains, names))]
    return lines


def value_table(rows: Sequence[dict], names: dict[str, str]) -> tuple[list[str], list[list[str]]]:
    """(header, body): a line for each part observed, a column for each of FEATURES."""
    return grid(rows, ('weights', 'setting', 'feature'), {each: each for each in FEATURES.values()}, cell_of, names)


def gain_table(gains: Sequence[dict], names: dict[str, str]) -> tuple[list[str], list[list[str]]]:
    """(header, body): a line for each prediction and part observed, a column for each of RIVALS."""
    return grid(gains, ('weights', 'feature', 'setting', 'than'),
                {f'minus {FEATURES[rival]}': FEATURES[rival] for rival in RIVALS}, difference_cell, names)


def grid(rows: Sequence[dict], keys: Sequence[str], columns: dict[str, str], cell: Callable,
         names: dict[str, str]) -> tuple[list[str], list[list[str]]]:
    """keys: of a row, what stands in the columns before; columns: {heading of a column: value of the last key}."""
    cells = {tuple(row[key] for key in keys): cell(row) for row in rows}
    body = [[*(names.get(each, each).removesuffix(' observed') for each in line),
             *(cells.get((*line, column), '–') for column in columns.values())]
            for line in dict.fromkeys(key[:-1] for key in cells)]
    return [*('observed' if key == 'setting' else key for key in keys[:-1]), *columns], body


def difference_cell(row: dict) -> str:
    return f'{100 * row["value"]:+.1f} {interval_text(row)}'


def prediction_facts(gains: Sequence[dict], names: dict[str, str]) -> list[str]:
    """For each of the weights in `names` lines on what each prediction gains."""
    facts = []
    for weights, name in names.items():
        own = [row for row in gains if row['weights'] == weights]
        if own and own[0]['low'] is None:
            facts.append(f'{name}: {own[0]["groups"]} groups of test videos are too few to say what a prediction gains')
        else:
            facts += [f'{name}: "{feature}" ' + '; '.join(
                said_of([row for row in own if (row['feature'], row['than']) == (feature, FEATURES[rival])])
                for rival in RIVALS) for feature in dict.fromkeys(row['feature'] for row in own)]
    return facts


def curve_facts(outcomes: dict[tuple[str, str], Sequence[Outcome]], observe: Sequence[float], names: dict[str, str],
                chance: float) -> list[str]:
    """For each of the weights in `names` a line on whether the curve of the own probe rises to the end of a video or is
    flat before; none where the intervals of the differences say neither, or the whole video is not above chance.

    outcomes: of each (weights, feature)."""
    facts = []
    for weights, name in names.items():
        *parts, whole = outcomes[weights, FEATURES[OWN_PROBE]]
        if observe[-1] < 1 or not parts:
            continue
        at_end = estimate_of(whole)
        if at_end['low'] is None:
            facts.append(f'{name}: {at_end["groups"]} groups of test videos are too few to say from which part on the '
                         'curve of the own probe is flat')
            continue
        if at_end['low'] <= chance:
            continue
        rises = [estimate_of(whole, minus=part) for part in parts]
        flat = [f for f, part in enumerate(parts) if part.hits.mean() >= SATURATED * at_end['value']
                and all(rise['low'] <= 0 for rise in rises[f:])]
        if rises[-1]['low'] > 0:
            facts.append(f'{name}: the curve of the own probe rises to the end: whole videos minus {parts[-1].setting} '
                         f'{difference_cell(rises[-1])}')
        elif flat:
            facts.append(f'{name}: the curve of the own probe is flat from {parts[flat[0]].setting} (whole videos '
                         f'minus this {difference_cell(rises[flat[0]])}), as it is where actions are cyclic or show at '
                         'once: little is left to anticipate')
    return facts


def said_of(gains: Sequence[dict]) -> str:
    """'beats "context" at 10% and is worse than it at 50% observed'. gains: against one rival, of some part."""
    than = f'"{gains[0]["than"]}"'
    parts = [f'{verb} {", ".join(row["setting"].removesuffix(" observed") for row in found)}'
             for verb, found in ((f'beats {than} at', [row for row in gains if row['low'] > 0]),
                                 (f'is worse than {than} at', [row for row in gains if row['high'] < 0])) if found]
    return f'{" and ".join(parts)} observed' if parts else f'is no different from {than} at any of {len(gains)} parts'
