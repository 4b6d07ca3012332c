"""Whether a pretraining run learns: patterns of its validation statistics in which it does not.

The statistics are those of dpc.validation; dpc/README.md, "Is my run healthy?", shows runs of each kind.
"""
PATIENCE = 3        # validations in a row before a pattern is reported
COLLAPSED = 0.01    # spread, relative to the size of the features
FEW_DIRECTIONS = 8  # effective rank; 50 in a healthy run of the demo, 6 in one that only distinguishes locations


def collapsed(stats):
    return stats['spread'] < COLLAPSED or stats['effective_rank'] < FEW_DIRECTIONS


def copies(stats):
    return stats['top1'] <= max(stats['copy_last'], stats['copy_mean'])


def static(stats):
    """Mostly the right location of the right clip is found, and its time is guessed."""
    found = stats['top1'] + stats['wrong_time']
    return found > 0.5 and stats['guess_time'] > 0 and stats['wrong_time'] / found > 0.95 * stats['guess_time']


def orderless(stats):
    return stats['top1_shuffled'] >= 0.98 * stats['top1']


# name: (statistics it needs, test, what to say)
PATTERNS = {
    'collapsed': (('effective_rank',), collapsed,
                  'the features have collapsed to few directions, so clips are not distinguished; lower --lr, or give '
                  '--warmup_epochs'),
    'copies': (('copy_last',), copies,
               'predictions are no better than repeating what was seen: train longer, or with more negatives (a larger '
               '--batch_size)'),
    'static': (('wrong_time',), static,
               'clip and location are found, the time is guessed: the features may encode appearance, not motion; if '
               'eval/frozen.py finds them no better than random weights, give --clips_per_video 4, so that negatives '
               'share the appearance'),
    'orderless': (('top1_shuffled',), orderless,
                  'predictions are as good when the seen blocks are shuffled: their order is not used; give more '
                  'blocks (--num_seq) or a larger --ds'),
}


class Health:
    """Checks the statistics of one validation after another."""

    def __init__(self):
        self.in_a_row = dict.fromkeys(PATTERNS, 0)

    def warnings(self, stats):
        """Lines to show after this validation: of each pattern once, when it has held for PATIENCE validations."""
        lines = []
        for name, (needed, test, text) in PATTERNS.items():
            holds = all(key in stats for key in needed) and test(stats)
            self.in_a_row[name] = self.in_a_row[name] + 1 if holds else 0
            if self.in_a_row[name] == PATIENCE:
                lines.append(f'for {PATIENCE} validations: {text} (dpc/README.md, "Is my run healthy?")')
        return lines
