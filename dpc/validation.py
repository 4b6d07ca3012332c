"""What a validation of pretraining measures beyond the loss: what is mistaken for what, what predictions are worth,
how rich the features are, and a k-NN on them."""
import torch
import torch.nn.functional as F

from backbone.blocks import full_precision
from dpc.health import Health
from dpc.metrics import Moments, control_predictions, guesses, top1, top1_by_step, wrong_answers
from utils.cli import UserError
from utils.data.classes import numbered
from utils.knn_vote import leave_group_out, one_group_a_class
from utils.parallel.distributed import from_main, is_main, lists_of_all
from utils.run.log import warn

NEIGHBOURS = 10
MAX_CLIPS = 5000  # of each process, for the k-NN
FEW_PREDICTIONS = 200  # shares of so few say little: the health of the run is not checked


class Validation:
    """The loss and statistics of validation clips, as utils.run.validation.validate calls it.

    objective: dpc.objective.Objective. videos: the VideoList validated on; `label` of a clip is its row there.
    knn_every: epochs from one k-NN to the next; 0 for none. clips_per_video: successive clips of a batch that are of
    one video. UserError: a k-NN was asked for, but the videos are of one class or have several labels.
    """

    def __init__(self, objective, videos, knn_every=0, clips_per_video=1):
        self.objective, self.knn_every, self.clips_per_video = objective, knn_every, clips_per_video
        self.class_of, classes = numbered(names[0] for names in videos.classes())
        self.group_of, _ = numbered(videos.groups())
        if knn_every and len(classes) < 2:
            raise UserError(f'--knn_every {knn_every}: the validation videos are all of one class, {classes[0]!r}; the '
                            'class is the label in the list, else the folder around a frame folder. Leave the flag out')
        if knn_every and videos.has_several_labels():
            raise UserError(f'--knn_every {knn_every}: some validation videos have several labels. Leave the flag out')
        if knn_every and is_main() and one_group_a_class(self.class_of.tolist(), self.group_of.tolist()):
            warn(f'--knn_every {knn_every}: the validation videos of every class are of one group, whose clips do not '
                 'vote for each other: knn is NaN; raise --val_fraction')
        self.health, self.unchecked = Health(), False

    def restart(self):
        """Begins a validation."""
        self.targets, self.states = Moments(), Moments()
        self.contexts = []  # for the k-NN: [(row of the video, context [D])]
        self.random = torch.Generator().manual_seed(0)  # the same shuffles every time

    def __call__(self, model, block, label):
        """A DPC, clips [B, N, C, T, H, W], their rows [B] -> (loss, {name: 0-d tensor})."""
        feature = model.encode(block)                           # [B, N, S, D]
        prediction, target = model.predict(feature)             # [B, P, S, D]
        scored = self.objective(prediction, target)
        with full_precision(feature):
            _, state = model.agg(F.relu(feature))               # [B, S, D], after all N blocks
        self.targets.add(target)
        self.states.add(state)
        if self.knn_every and len(self.contexts) < MAX_CLIPS:
            self.contexts.extend(zip(label.tolist(), state.mean(dim=1).float().cpu()))
        controls = {name: top1(each, scored.target, scored.first)
                    for name, each in control_predictions(model, feature, self.random).items()}
        return scored.loss, {**scored.statistics, **top1_by_step(scored.rank, *target.shape[1:3]), **controls,
                             **wrong_answers(prediction, scored.target, scored.first, self.clips_per_video),
                             **guesses(scored.target, self.clips_per_video)}

    def summary(self, epoch):
        """{name: number} of the whole validation after this epoch, counted from 1.

        effective_rank of the targets, and spread_state and effective_rank_state of the states. knn, if it is due: the
        neighbours of a clip are the other validation clips, without those of its own video or group."""
        _, rank = self.targets.read()
        spread_state, rank_state = self.states.read()
        stats = {'effective_rank': rank, 'spread_state': spread_state, 'effective_rank_state': rank_state}
        self.predictions = self.targets.count()
        if self.knn_every and epoch % self.knn_every == 0:
            stats['knn'] = self.knn()
        return stats

    def knn(self):
        rows, vectors = zip(*lists_of_all(self.contexts))
        rows = list(rows)
        return from_main(leave_group_out(vectors, self.class_of[rows], self.group_of[rows], NEIGHBOURS)
                         if is_main() else None)

    def warnings(self, stats):
        """Lines about what is wrong with the run, from the statistics of a validation."""
        if self.predictions >= FEW_PREDICTIONS:
            return self.health.warnings(stats)
        told, self.unchecked = self.unchecked, True
        return [] if told else [f'a validation makes {self.predictions} predictions, too few to check the health of '
                                f'the run ({FEW_PREDICTIONS} at least): raise --val_fraction or --clips_per_video']
