"""A network on its way along videos: each block is encoded once, however many of the overlapping clips it is in.

BN in eval mode normalises each block on its own, so that the outputs are those of whole clips to float rounding. Blocks
of several videos share a batch, as most videos have few.
"""
import torch

from utils.data.colour import to_block


class Track:
    """One view of a video: its clips that are not yet done, and the maps that these need."""

    def __init__(self, rows):
        """rows: int64 [K, N], see utils.data.clips.Plan."""
        self.rows, self.outputs = rows.tolist(), []
        self.encoded, self.clip = 0, 0  # next block to encode, next clip to summarise
        self.maps = {}                  # block: its map

    def add(self, feature_map):
        """That of its next block."""
        self.maps[self.encoded] = feature_map
        self.encoded += 1

    def ready(self):
        """Yields the maps [N, …] of each clip that has all of them now."""
        while self.clip < len(self.rows) and self.rows[self.clip][-1] < self.encoded:
            yield torch.stack([self.maps[row] for row in self.rows[self.clip]])
            self.clip += 1
        first = self.rows[self.clip][0] if self.clip < len(self.rows) else self.encoded
        self.maps = {row: feature_map for row, feature_map in self.maps.items() if row >= first}


class Walk:
    """Takes pieces of a VideoDataset, gives the outputs of its videos, see eval.extract.inference.outputs_of.

    clips_at_once: as many clips are summarised at a time, and as many blocks encoded as these have."""

    def __init__(self, encode, summarise, dataset, precision, clips_at_once):
        self.encode, self.summarise, self.dataset, self.precision = encode, summarise, dataset, precision
        self.clips_at_once, self.blocks_at_once = clips_at_once, clips_at_once * dataset.num_seq
        self.videos = {}                # index: (what is known of the video, a Track for each view), in order
        self.blocks, self.owners = [], []   # not yet encoded: uint8 [T, H, W, 3], and the Track of each

    def add(self, piece):
        """The next piece. Encodes as many batches of blocks as are complete."""
        if 'broken' in piece:
            self.videos.pop(int(piece['index']), None)
            return
        for track, blocks in zip(self._tracks(int(piece['index'])), piece['blocks']):
            self.blocks.extend(blocks)
            self.owners.extend([track] * len(blocks))
        while len(self.blocks) >= self.blocks_at_once:
            self._encode(self.blocks_at_once)

    def encode_rest(self):
        """After the last piece."""
        if self.blocks:
            self._encode(len(self.blocks))

    def finished(self):
        """Yields (video, output) of each video that is finished, in order, once."""
        for index, (video, tracks) in list(self.videos.items()):
            if any(len(track.outputs) < len(track.rows) for track in tracks):
                return
            del self.videos[index]
            yield video, torch.stack([output for track in tracks for output in track.outputs])

    def _tracks(self, index):
        if index not in self.videos:
            plan, views = self.dataset.plan(index), len(self.dataset.views_of(index))
            video = {**self.dataset.about(index), 'start': torch.from_numpy(plan.start).repeat(views)}
            self.videos[index] = video, [Track(plan.rows) for _ in range(views)]
        return self.videos[index][1]

    @torch.no_grad()
    def _encode(self, count):
        """Encodes the first `count` waiting blocks, and summarises the clips that are complete then."""
        block = to_block(torch.stack(self.blocks[:count]).to(self.precision.device), None, 1)   # [B, 1, C, T, H, W]
        with self.precision.autocast():
            maps = self.encode(block)[:, 0]
        owners = self.owners[:count]
        for track, feature_map in zip(owners, maps):
            track.add(feature_map)
        del self.blocks[:count], self.owners[:count]
        self._summarise([(track, clip) for track in dict.fromkeys(owners) for clip in track.ready()])

    def _summarise(self, clips):
        """clips: [(Track, maps [N, …]), …]"""
        for first in range(0, len(clips), self.clips_at_once):
            tracks, maps = zip(*clips[first:first + self.clips_at_once])
            with self.precision.autocast():
                outputs = self.summarise(torch.stack(maps)).float().cpu()
            for track, output in zip(tracks, outputs):
                track.outputs.append(output)
