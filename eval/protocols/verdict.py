"""What a frozen evaluation shows, in a sentence to repeat. The command, the report and the demo say the same."""
from collections.abc import Sequence

from eval.protocols.results import short_names

SOLVED = 0.9  # top-1 from which appearance alone is said to solve a data set
APPEARANCE = {'one frame': 'one frame', 'colour histogram': 'colours'}  # protocol: what a sentence calls it


def verdict(rows: Sequence[dict], differences: Sequence[dict]) -> str:
    """rows: of results.json. differences: of differences.json. '' if they compare nothing and know no appearance.

    A row counts where the 95% interval of the difference is above or below zero. Whole videos of anticipation have one
    number for all features, which counts once.

    >>> row = {'feature': 'block', 'protocol': 'knn', 'setting': 'all labels', 'metric': 'top1', 'low': .1, 'high': .5}
    >>> rows = [{**row, 'weights': 'a.pth.tar', 'value': .47}, {**row, 'weights': 'random', 'value': .14}]
    >>> verdict(rows, [{**row, 'weights': 'a.pth.tar', 'than': 'random', 'value': .33, 'groups': 12}])
    'pretrained beats random weights in 1 of 1 rows: knn on block, all labels (47% against 14%)'
    """
    differences = [row for row in differences
                   if row['setting'] != '100% observed' or row['feature'] == 'context']
    pairs = list(dict.fromkeys((row['weights'], row['than']) for row in differences))
    said = [comparison(rows, [row for row in differences if (row['weights'], row['than']) == pair],
                       *names_of(pair, differences)) for pair in pairs]
    return '; '.join([*said, *appearance_alone(rows)])


def names_of(pair: tuple[str, str], differences: Sequence[dict]) -> list[str]:
    """What a sentence calls the weights and those they are compared with: of a single pair what they are."""
    if len({(row['weights'], row['than']) for row in differences}) == 1:
        return ['pretrained', 'random weights']
    weights = list(dict.fromkeys(name for row in differences for name in (row['weights'], row['than'])))
    shown = {**dict(zip(weights, short_names(weights))), 'random': 'random weights'}
    return [shown[each] for each in pair]


def comparison(rows: Sequence[dict], differences: Sequence[dict], name: str, other: str) -> str:
    """'{name} beats {other} in 7 of 12 rows, most in …'. differences: of these two."""
    known = [row for row in differences if row['low'] is not None]
    if not known:
        return f'{differences[0]["groups"]} groups of test videos are too few to say whether {name} beats {other}'
    better = [row for row in known if row['low'] > 0]
    worse = [row for row in known if row['high'] < 0]
    if not better and not worse:
        return f'no difference between {name} and {other} in any of {len(known)} rows'
    parts = [f'{verb} {other} in {len(found)} of {len(known)} rows{", most in " if len(found) > 1 else ": "}'
             + where(rows, max(found, key=lambda row: abs(row['value'])))
             for verb, found in (('beats', better), ('is worse than', worse)) if found]
    return f'{name} {", and ".join(parts)}'


def where(rows: Sequence[dict], difference: dict) -> str:
    """'knn on block, all labels (47% against 14%)'; other metrics than top-1 are named."""
    key = 'feature', 'protocol', 'setting', 'metric'
    value = {row['weights']: row['value'] for row in rows if all(row[name] == difference[name] for name in key)}
    metric = '' if difference['metric'] == 'top1' else f', {difference["metric"]}'
    return (f'{difference["protocol"]} on {difference["feature"]}, {difference["setting"]}{metric} '
            f'({value[difference["weights"]]:.0%} against {value[difference["than"]]:.0%})')


def appearance_alone(rows: Sequence[dict]) -> list[str]:
    """What one frame or colours alone reach with all labels, the better of both, if they were evaluated."""
    top1 = [row for row in rows if row['metric'] == 'top1' and row['setting'] == 'all labels']
    alone = [row for row in top1 if row['protocol'] in APPEARANCE]
    if not alone:
        return []
    best = max(alone, key=lambda row: row['value'])
    reached = f'({APPEARANCE[best["protocol"]]}: {best["value"]:.0%})'
    if best['value'] >= SOLVED:
        return [f'appearance alone solves this set {reached}']
    if best['value'] >= max((row['value'] for row in top1 if row['protocol'] not in APPEARANCE), default=1):
        return [f'appearance alone is as good {reached}: this set shows nothing of motion']
    return [f'appearance alone does not solve this set {reached}']
