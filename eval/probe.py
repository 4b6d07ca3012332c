"""Linear probe: logistic regression on standardised features, with all labels and with few."""
import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from eval.label_subsets import label_subset
from eval.task import Outcome, choose

DECAYS = tuple(10. ** power for power in range(1, -6, -1))  # weight decay; the strongest first, which wins ties
DEFAULT_DECAY = 1e-2  # where nothing can be held out to choose it
FRACTIONS, PER_CLASS = (0.1, 0.2, 0.5), (5, 20)  # subsets of the labels
SEEDS = range(3)  # of the subsets


def subsets(task):
    """{setting: [rows int64 of the training videos, one for each seed]}; all labels need one only."""
    sizes = [(f'{fraction:.0%} of labels', {'fraction': fraction}) for fraction in FRACTIONS]
    sizes += [(f'{count} per class', {'per_class': count}) for count in PER_CLASS]
    return {'all labels': [np.arange(len(task.train))],
            **{setting: [label_subset(task.train_path, task.train_label, **size, seed=seed) for seed in SEEDS]
               for setting, size in sizes}}


def probe(task):
    """An Outcome for each setting of `subsets`; the weight decay is chosen on held-out groups of the same subset."""
    outcomes = []
    for setting, seeds in subsets(task).items():
        hits, chosen = [], []
        for rows in seeds:
            part = task.part(rows)
            decay = choose(part, DECAYS, DEFAULT_DECAY, predict)
            hits.append(predict(part, decay) == task.test_label)
            chosen.append(f'decay {decay:g}')
        outcomes.append(Outcome('probe', setting, 'top1', np.array(hits, float), chosen))
    return outcomes


def predict(task, decay):
    """Predicted labels [Q] of the test videos, after training with this decay on all training videos of the task."""
    strength = 1 / (decay * len(task.train))  # scikit-learn weighs the summed loss by C against |w|²/2
    model = make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=2000))
    return model.fit(task.train, task.train_label).predict(task.test)
