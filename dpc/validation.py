"""What a validation of pretraining measures beyond the loss: what is mistaken for what, and a k-NN on the features."""
import torch.nn.functional as F

from backbone.blocks import full_precision
from dpc.metrics import top1_by_step, wrong_answers
from utils.cli import UserError
from utils.data.lists import class_name, group_of, numbered
from utils.neighbours import leave_group_out
from utils.parallel.distributed import from_main, is_main, lists_of_all

NEIGHBOURS = 10
MAX_CLIPS = 5000  # of each process, for the k-NN


class Validation:
    """The loss and statistics of validation clips, as a TrainingRun calls it.

    objective: dpc.objective.Objective. videos: the VideoList validated on; `label` of a clip is its row there.
    knn_every: epochs from one k-NN to the next; 0 for none. clips_per_video: successive clips of a batch that are of
    one video. UserError: a k-NN was asked for, but the videos are of one class.
    """

    def __init__(self, objective, videos, knn_every=0, clips_per_video=1):
        self.objective, self.knn_every, self.clips_per_video = objective, knn_every, clips_per_video
        paths = videos.paths()
        self.class_of, classes = numbered(map(class_name, paths))
        self.group_of, _ = numbered(map(group_of, paths))
        if knn_every and len(classes) < 2:
            raise UserError(f'--knn_every {knn_every}: the validation videos are all of one class, {classes[0]!r}; the '
                            'class is the folder around a frame folder. Leave the flag out')
        self.contexts = []  # of the running validation: [(row of the video, context [D])]

    def __call__(self, model, block, label):
        """A DPC, clips [B, N, C, T, H, W], their rows [B] -> (loss, {name: 0-d tensor})."""
        feature = model.encode(block)                           # [B, N, S, D]
        prediction, target = model.predict(feature)             # [B, P, S, D]
        scored = self.objective(prediction, target)
        mistakes = wrong_answers(prediction, scored.target, scored.first, self.clips_per_video)
        if self.knn_every and len(self.contexts) < MAX_CLIPS:
            with full_precision(feature):
                _, state = model.agg(F.relu(feature))           # [B, S, D], after all N blocks
            self.contexts.extend(zip(label.tolist(), state.mean(dim=1).float().cpu()))
        by_step = top1_by_step(scored.rank, *target.shape[1:3])
        return scored.loss, {**scored.statistics, **by_step, **mistakes}

    def summary(self, epoch):
        """{'knn': top-1 of the k-NN} after the validation of this epoch, counted from 1, if it is due.

        The neighbours of a clip are the other validation clips, without those of its own video or group."""
        contexts, self.contexts = self.contexts, []
        if not self.knn_every or epoch % self.knn_every:
            return {}
        rows, vectors = zip(*lists_of_all(contexts))
        rows = list(rows)
        top1 = leave_group_out(vectors, self.class_of[rows], self.group_of[rows], NEIGHBOURS) if is_main() else None
        return {'knn': from_main(top1)}
