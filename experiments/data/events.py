"""Videos of a sprite in which one thing changes at a known time: how it moves, or how bright the background is.

Position, angle and size go on without a jump, so no single frame tells that the motion has changed. Appearances are
those of the demo (sprites.py): a network that was pretrained on it knows them. Growing and shrinking are left out, as
the sprite jumps from one end of its range of sizes to the other.
"""
import numpy as np

from experiments.data import sprites

KINDS = 'motion', 'brightness'
MOTIONS = [name for name, motion in sprites.MOTIONS.items() if 'grow' not in motion]
MIDDLE = 0.35, 0.75          # share of the video in which the change may be
DIMMED, BRIGHTENED = (0.4, 0.65), (1.6, 2.2)    # what the background's brightness is multiplied by


def draw_event(seed, kind, number, frames):
    """{before, after: names of motions, frame: first one after the change, from 0, gain: of the background, rng} of a
    video. The numbers of both kinds are drawn alike."""
    rng = np.random.default_rng([seed, KINDS.index(kind), number])
    before, after = rng.choice(MOTIONS, 2, replace=False).tolist()
    frame = int(frames * rng.uniform(*MIDDLE))
    gain = float(rng.uniform(*(DIMMED if rng.random() < 0.5 else BRIGHTENED)))
    return {'before': before, 'after': after if kind == 'motion' else before, 'frame': frame,
            'gain': gain if kind == 'brightness' else 1.0, 'rng': rng}


def render(seed, kind, number, frames, size):
    """Yields the frames uint8 [size, size, 3] of one video."""
    event = draw_event(seed, kind, number, frames)
    rng = event['rng']
    background, sprite = sprites.make_appearance(seed, 0, size)
    changed = np.clip(background * event['gain'], 0, 255).astype(np.uint8)
    x, y, angle, phase = rng.uniform(0, size, 2).tolist() + [rng.uniform(0, 360), rng.uniform()]
    travel, turn = rng.uniform(*sprites.TRAVEL) * size, rng.uniform(*sprites.TURN)
    radius = size * sprites.RADIUS[0] * (sprites.RADIUS[1] / sprites.RADIUS[0]) ** phase
    for i in range(frames):
        motion = sprites.MOTIONS[event['after'] if i >= event['frame'] else event['before']]
        if i:
            x, y = ((place + travel * way) % size for place, way in zip((x, y), motion.get('travel', (0, 0))))
            angle += turn * motion.get('turn', 0)
        yield sprites.draw(changed if i >= event['frame'] else background, sprite, x, y, angle, radius)
