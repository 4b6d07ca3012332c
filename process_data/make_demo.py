"""Makes the demo data set: small videos in UCF101's layout whose classes differ only by motion.

    {video_root}/{Class}/v_{Class}_g01_c01.avi
    {split_root}/classInd.txt  trainlist01.txt  testlist01.txt  ... 03

One textured sprite moves over a static textured background. All clips of a group gNN share sprite, texture and colours,
as the clips of a UCF101 group share their scene. Group gNN looks the same in *every* class, so appearance says nothing
about the class, even to a network that memorises it. Position (the frame wraps around at its edges), orientation and
log size of the sprite are uniformly distributed at all times in every class, so no single frame reveals the class; only
the change from frame to frame does.
"""
import argparse
import os
import sys

import cv2
import numpy as np

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, ROOT)
from process_data import layout  # noqa: E402
from utils.cli import Parser, UserError, run_cli, whole_number  # noqa: E402

# One motion per class: direction of travel (x, y; y points down), turning direction, growth direction.
MOTIONS = {
    'MoveRight': dict(travel=(1, 0)),
    'MoveLeft': dict(travel=(-1, 0)),
    'MoveUp': dict(travel=(0, -1)),
    'MoveDown': dict(travel=(0, 1)),
    'TurnClockwise': dict(turn=1),
    'TurnCounterclockwise': dict(turn=-1),
    'Grow': dict(grow=1),
    'Shrink': dict(grow=-1),
}
CLIPS_PER_GROUP = 2
SPLITS = 3
FPS = 25
SPRITE = 64                  # side of the square image of a sprite, px
RADIUS = (0.18, 0.42)        # smallest and largest sprite radius, as a share of the frame's side
TRAVEL = (0.012, 0.028)      # share of the frame's side per frame
TURN = (3.0, 8.0)            # degrees per frame
GROW = (0.025, 0.05)         # share of the range of log sizes per frame; wraps around at the end of the range


def parse_args(argv=None):
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--video_root', default=layout.DEMO_VIDEOS,
                        help='folder for the videos (default: %(default)s)')
    parser.add_argument('--split_root', default=layout.DEMO_SPLITS,
                        help='folder for the split files and classInd.txt (default: %(default)s)')
    parser.add_argument('--videos_per_class', default=32, type=int,
                        help='videos per class, a quarter of them in each test split (default: %(default)s)')
    parser.add_argument('--size', default=80, type=int, help='side of the square frames, px (default: %(default)s)')
    parser.add_argument('--frames', default=64, type=int, help='frames per video (default: %(default)s)')
    parser.add_argument('--seed', default=0, type=whole_number,
                        help='the same seed gives the same bytes (default: %(default)s)')
    args = parser.parse_args(argv)
    if args.videos_per_class < 4 * CLIPS_PER_GROUP:
        parser.error(f'--videos_per_class must be at least {4 * CLIPS_PER_GROUP}')
    if args.size < 16 or args.frames < 1:
        parser.error('--size must be at least 16 and --frames at least 1')
    return args


def main(args):
    videos = [(name, group, clip)
              for name in MOTIONS
              for group, clip in group_and_clip(args.videos_per_class)]
    for name, group, clip in videos:
        background, sprite = make_look(np.random.default_rng([args.seed, group]), args.size)
        rng = np.random.default_rng([args.seed, group, clip, list(MOTIONS).index(name)])
        frames = render(rng, background, sprite, MOTIONS[name], args.size, args.frames)
        path = os.path.join(args.video_root, relative_path(name, group, clip))
        make_folder(os.path.dirname(path))
        write_video(path, frames)
    make_folder(args.split_root)
    write_splits(args.split_root, videos)
    print(f'{len(videos)} videos of {len(MOTIONS)} classes in {args.video_root}, split files in {args.split_root}')


def group_and_clip(videos_per_class):
    """[(group, clip), ...], both from 1."""
    return [(1 + i // CLIPS_PER_GROUP, 1 + i % CLIPS_PER_GROUP) for i in range(videos_per_class)]


def relative_path(name, group, clip):
    return f'{name}/v_{name}_g{group:02d}_c{clip:02d}.avi'


def make_look(rng, size):
    """-> background [size, size, 3] and sprite [SPRITE, SPRITE, 4] (BGR and coverage), both float32 0..255."""
    background = texture(rng, size, wavelength=size / 8, contrast=40)
    paint = texture(rng, SPRITE, wavelength=SPRITE / 3, contrast=128)
    # An irregular star-shaped outline, so that rotation is visible.
    y, x = (np.mgrid[:SPRITE, :SPRITE] + 0.5 - SPRITE / 2) * (2 / SPRITE)
    angle, distance = np.arctan2(y, x), np.hypot(x, y)
    outline = 0.72 + sum(rng.uniform(0.03, 0.1) * np.cos(k * (angle - rng.uniform(0, 2 * np.pi))) for k in (1, 2, 3, 5))
    coverage = np.clip((outline - distance) * SPRITE / 4, 0, 1) * 255
    return background, np.dstack([paint, coverage]).astype(np.float32)


def texture(rng, size, wavelength, contrast):
    """Smooth noise of two colours, `contrast` apart in each channel: [size, size, 3], float32 0..255.

    The edges wrap around.
    """
    noise = cv2.GaussianBlur(np.tile(rng.standard_normal((size, size)), (3, 3)), (0, 0), wavelength / 4)
    noise = noise[size:2 * size, size:2 * size]
    share = (1 / (1 + np.exp(-4 * noise / noise.std())))[..., None]
    colour = rng.uniform(0, 255, 3)
    other = np.where(colour < 128, colour + contrast, colour - contrast)
    return (share * colour + (1 - share) * other).astype(np.float32)


def render(rng, background, sprite, motion, size, n_frames):
    """Yields n_frames frames uint8 [size, size, 3] of the sprite with the given motion from a random start.

    Every class draws all random numbers, whether it uses them or not, so that all classes share one distribution.
    """
    time = np.arange(n_frames)
    start, angle, phase = rng.uniform(0, size, 2), rng.uniform(0, 360), rng.uniform()
    travel, turn, grow = rng.uniform(*TRAVEL) * size, rng.uniform(*TURN), rng.uniform(*GROW)
    direction = np.array(motion.get('travel', (0, 0)))
    x, y = (start[:, None] + direction[:, None] * travel * time) % size
    angles = angle + motion.get('turn', 0) * turn * time
    phases = (phase + motion.get('grow', 0) * grow * time) % 1
    radii = size * RADIUS[0] * (RADIUS[1] / RADIUS[0]) ** phases
    for i in time:
        yield draw(background, sprite, x[i], y[i], angles[i], radii[i], size)


def draw(background, sprite, x, y, angle, radius, size):
    """One frame uint8 [size, size, 3]: the sprite at (x, y) px, rotated clockwise by `angle` degrees."""
    scale = 2 * radius / SPRITE
    whole_x, whole_y = int(x), int(y)
    # Draw at the centre (plus the sub-pixel part), then roll into place, so that edges wrap around.
    affine = cv2.getRotationMatrix2D((SPRITE / 2, SPRITE / 2), -angle, scale)
    affine[:, 2] += np.array([size // 2 + x - whole_x, size // 2 + y - whole_y]) - SPRITE / 2
    placed = cv2.warpAffine(sprite, affine, (size, size), flags=cv2.INTER_LINEAR)
    placed = np.roll(placed, (whole_y - size // 2, whole_x - size // 2), axis=(0, 1))
    coverage = placed[..., 3:] / 255
    return (background + coverage * (placed[..., :3] - background) + 0.5).astype(np.uint8)


def write_video(path, frames):
    """Motion JPEG in .avi: the only encoder that every build of OpenCV has."""
    writer = None
    for frame in frames:
        if writer is None:
            height, width = frame.shape[:2]
            writer = cv2.VideoWriter(path, cv2.VideoWriter_fourcc(*'MJPG'), FPS, (width, height))
            if not writer.isOpened():
                raise UserError(f'{path}: OpenCV cannot write it; is the folder writable and the disk not full?')
        writer.write(frame)
    writer.release()


def write_splits(split_root, videos):
    """UCF101's split files: the test videos of split k are the k-th quarter of the groups."""
    names = list(MOTIONS)
    write_lines(os.path.join(split_root, 'classInd.txt'), [f'{i} {name}' for i, name in enumerate(names, 1)])
    n_groups = max(group for _, group, _ in videos)
    for split in range(1, SPLITS + 1):
        test_groups = range(1 + (split - 1) * n_groups // 4, 1 + split * n_groups // 4)
        train = [video for video in videos if video[1] not in test_groups]
        test = [video for video in videos if video[1] in test_groups]
        write_lines(os.path.join(split_root, f'trainlist{split:02d}.txt'),
                    [f'{relative_path(*video)} {names.index(video[0]) + 1}' for video in train])
        write_lines(os.path.join(split_root, f'testlist{split:02d}.txt'), [relative_path(*video) for video in test])


def write_lines(path, lines):
    with layout.write_whole(path) as file:
        file.writelines(line + '\n' for line in lines)


def make_folder(path):
    try:
        os.makedirs(path, exist_ok=True)
    except OSError as error:
        raise UserError(f'{path}: cannot make this folder ({error.strerror}); choose another') from error


if __name__ == '__main__':
    run_cli(main, parse_args())
