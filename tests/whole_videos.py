"""What a VideoDataset reads of a video, as whole clips."""
import torch


def whole_video(dataset, index):
    """All that is known of a video, and its clips in each view: frames uint8 [V·K, N·T, H, W, 3], start int64 [V·K]. Of
    an unreadable one {index, broken: str}."""
    pieces = [dataset[piece] for piece in dataset.pieces(index)]
    for piece in pieces:
        if 'broken' in piece:
            return piece
    assert [bool(piece['last']) for piece in pieces] == [False] * (len(pieces) - 1) + [True]
    blocks = torch.cat([piece['blocks'] for piece in pieces], dim=1)                # [V, U, T, H, W, 3]
    start, rows = torch.from_numpy(dataset.plan(index).start), torch.from_numpy(dataset.plan(index).rows)
    return {**dataset.about(index), 'start': start.repeat(len(blocks)),
            'frames': blocks[:, rows].flatten(0, 1).flatten(1, 2)}
