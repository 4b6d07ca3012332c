"""The test protocol (paper, section 4): every video of the split is scored by the mean softmax over its clips."""
import signal
from dataclasses import dataclass

import numpy as np
import torch

from utils.data.colour import to_block
from utils.parallel.distributed import any_process, sum_over_processes, world
from utils.parallel.signals import Stopped, StopSignals
from utils.run.log import progress_bar


@dataclass
class VideoScores:
    """Scores of R videos, in the order of the list."""
    probability: np.ndarray  # float32 [R, num_class], mean softmax over clips
    label: np.ndarray        # int64 [R]

    @property
    def prediction(self):
        return self.probability.argmax(axis=1)

    def select(self, mask):
        return VideoScores(self.probability[mask], self.label[mask])


@torch.no_grad()
def score_videos(model, loader, num_seq, device, precision, num_class, clips_at_once):
    """Runs the classifier over a video_loader. Of long videos `clips_at_once` clips are on the device at a time."""
    model.eval()
    signals = StopSignals()
    count = len(loader.dataset)
    probability = torch.zeros(count, num_class)
    label = torch.zeros(count, dtype=torch.long)
    videos = iter(loader)
    for _ in progress_bar(range(-(-count // world())), 'test'):
        signum, = any_process([signals.received])  # also keeps the processes in step: none waits long for another
        if signum:
            name = signal.Signals(signum).name
            raise Stopped(signum, f'stopped by {name}; nothing of a test is saved before its end')
        video = next(videos, None)
        if video is None:
            continue
        logits = []
        for frames in video['frames'].split(clips_at_once):  # [k, N·T, H, W, 3]
            block = to_block(frames.to(device, non_blocking=True), None, num_seq)
            with precision.autocast():
                logits.append(model(block).float())
        probability[video['index']] = torch.cat(logits).softmax(dim=1).mean(dim=0).cpu()
        label[video['index']] = video['label']
    # Each process has scored its own videos and left the others' rows zero.
    return VideoScores(sum_over_processes(probability).numpy(), sum_over_processes(label).numpy())


def summarise(scores):
    """{videos, loss, top1, top5, mean_class}: mean −log p of the true class, and accuracies from 0 to 1.

    mean_class is the mean of the accuracies of the classes that the list has.
    """
    rows = np.arange(len(scores.label))
    true = scores.probability[rows, scores.label]
    better = (scores.probability > true[:, None]).sum(axis=1)
    correct = scores.prediction == scores.label
    per_class = [correct[scores.label == c].mean() for c in np.unique(scores.label)]
    return {'videos': len(scores.label), 'loss': float(-np.log(np.maximum(true, 1e-12)).mean()),
            'top1': float(correct.mean()), 'top5': float((better < 5).mean()), 'mean_class': float(np.mean(per_class))}
