"""A puppet of textured capsules that does ten everyday actions, in pairs that differ only by the direction of time.

An action is a pose as a function of the phase of its cycle; the other action of the pair runs the same cycle backwards.
The phase of a video starts anywhere, so a single frame tells at most the pair, never the action.

What varies beside the action are the NUISANCES: the appearance (colours, stripes and the room), the position in the
frame, the size of the puppet, the view (facing, foreshortening, camera roll) and the drift of the camera. Appearance
and position belong to a group, the others to a video. Each has random numbers of its own: fixing one leaves all others
as they are.
"""
import functools

import cv2
import numpy as np

from experiments.data.painting import texture

NUISANCES = ('appearance', 'position', 'size', 'view', 'drift')
APPEARANCE, POSITION, SIZE, VIEW, DRIFT, MOTION = range(6)   # what random numbers are for
FLOOR = 0.62               # height in the frame where the wall meets the floor, from the top; all lengths in the frame
POSITIONS = ((0.32, 0.68), (0.84, 0.95))               # are shares of its side: where the puppet stands (x, y),
HEIGHTS = (0.58, 0.84)                              # how tall it is,
DRIFTS = (0.03, 0.08)                               # how far the camera drifts (amplitude)
DRIFT_PERIODS = (60, 160)                           # frames
ROLL, SQUEEZE = 8, 0.75    # camera roll up to this many degrees, widths down to this share
SHORTER_STROKE = 0.22      # share of the cycle for the quick way back of bending, sitting and spreading arms
MARGIN = 0.2               # what is painted of the room beyond each edge of the frame
SHIFT = 4                  # binary digits behind the point in coordinates given to OpenCV

# Lengths and radii in body heights.
THIGH, SHANK, FOOT, TORSO, NECK, UPPER_ARM, FOREARM = 0.24, 0.23, 0.08, 0.29, 0.11, 0.17, 0.16


# ---- Actions: phase [T] in turns -> angles in degrees that differ from REST, each [T] or a number

# Arms and legs: from straight down, positive forwards. Elbows and knees: how far bent. Lean: torso and head, forwards.
REST = {'lean': 3, 'near_arm': 5, 'far_arm': -5, 'near_elbow': 12, 'far_elbow': 12,
        'near_leg': 4, 'far_leg': -4, 'near_knee': 3, 'far_knee': 3}


def spread_arms(phase):
    p = stroke(phase)
    return {'near_arm': 8 + 125 * p, 'far_arm': -8 - 125 * p, 'near_elbow': 10, 'far_elbow': -10}


def walk(phase):
    swing, lift = np.cos(2 * np.pi * phase), -np.sin(2 * np.pi * phase)
    return {'lean': 5, 'near_leg': 27 * swing, 'far_leg': -27 * swing,
            'near_knee': 6 + 50 * np.maximum(lift, 0), 'far_knee': 6 + 50 * np.maximum(-lift, 0),
            'near_arm': -26 * swing, 'far_arm': 26 * swing, 'near_elbow': 25, 'far_elbow': 25}


def bend(phase):
    p = stroke(phase)
    return {'lean': 3 + 95 * p, 'near_leg': 4 + 12 * p, 'far_leg': -4 + 12 * p, 'near_arm': 5 + 12 * p,
            'far_arm': -5 + 12 * p}


def sit(phase):
    p = stroke(phase)
    return {'lean': 3 + 32 * np.sin(np.pi * 0.75 * p), 'near_leg': 4 + 84 * p, 'far_leg': -4 + 84 * p,
            'near_knee': 3 + 86 * p, 'far_knee': 3 + 80 * p, 'near_arm': 5 + 55 * p, 'far_arm': -5 + 55 * p}


def circle_arms(phase):
    return {'near_arm': -360 * phase, 'far_arm': 180 - 360 * phase, 'near_elbow': 6, 'far_elbow': 6}


# Class -> (pose, direction of time, shortest and longest cycle in frames)
ACTIONS = {
    'OpenArms': (spread_arms, 1, (30, 56)),
    'CloseArms': (spread_arms, -1, (30, 56)),
    'Walk': (walk, 1, (22, 40)),
    'Moonwalk': (walk, -1, (22, 40)),
    'BendDown': (bend, 1, (36, 64)),
    'StraightenUp': (bend, -1, (36, 64)),
    'SitDown': (sit, 1, (36, 64)),
    'StandUp': (sit, -1, (36, 64)),
    'CircleForward': (circle_arms, 1, (24, 48)),
    'CircleBackward': (circle_arms, -1, (24, 48)),
}


def stroke(phase):
    """Phase [T] in turns -> 0 to 1, slowly, and quickly back to 0; a single value tells nothing about the direction."""
    phase = phase % 1
    slow = 1 - SHORTER_STROKE
    return (1 - np.cos(np.pi * np.where(phase < slow, phase / slow, (1 - phase) / SHORTER_STROKE))) / 2


# ---- The puppet, x forwards and y down, standing at (0, 0)

# From the back to the front: joint, joint, radius at each, colour. Colours of far limbs are darker.
LIMBS = [
    ('shoulder', 'far_elbow', 0.045, 0.038, 'shirt'), ('far_elbow', 'far_hand', 0.038, 0.031, 'sleeve'),
    ('far_hand', 'far_hand', 0.038, 0.038, 'skin'),
    ('pelvis', 'far_knee', 0.066, 0.052, 'trousers'), ('far_knee', 'far_ankle', 0.052, 0.038, 'trousers'),
    ('far_ankle', 'far_toe', 0.038, 0.028, 'shoe'),
    ('pelvis', 'near_knee', 0.068, 0.052, 'trousers'), ('near_knee', 'near_ankle', 0.052, 0.038, 'trousers'),
    ('near_ankle', 'near_toe', 0.038, 0.028, 'shoe'),
    ('shoulder', 'head', 0.040, 0.040, 'skin'),
    ('pelvis', 'shoulder', 0.075, 0.095, 'shirt'),
    ('back_of_head', 'back_of_head', 0.090, 0.090, 'hair'), ('head', 'head', 0.080, 0.080, 'skin'),
    ('nose', 'nose', 0.020, 0.020, 'skin'),
    ('shoulder', 'near_elbow', 0.047, 0.040, 'shirt'), ('near_elbow', 'near_hand', 0.040, 0.033, 'sleeve'),
    ('near_hand', 'near_hand', 0.040, 0.040, 'skin'),
]
# Stripes across limbs, from and to which share of their length.
STRIPES = {
    ('pelvis', 'shoulder'): [(-0.1, 0.06, 'belt'), (0.3, 0.48, 'stripe'), (0.66, 0.84, 'stripe')],
    ('shoulder', 'far_elbow'): [(0.45, 0.8, 'stripe')], ('shoulder', 'near_elbow'): [(0.45, 0.8, 'stripe')],
    ('pelvis', 'far_knee'): [(0.35, 0.6, 'patch')], ('pelvis', 'near_knee'): [(0.35, 0.6, 'patch')],
    ('far_knee', 'far_ankle'): [(0.6, 0.9, 'patch')], ('near_knee', 'near_ankle'): [(0.6, 0.9, 'patch')],
}


def skeleton(angles):
    """Angles in degrees, each [T] -> {joint: [T, 2]} in body heights."""
    angle = {name: np.radians(value) for name, value in angles.items()}

    def down(radians):
        """Unit vector that points straight down at 0 and forwards at 90 degrees."""
        return np.stack([np.sin(radians), np.cos(radians)], axis=-1)

    joints, up = {}, -down(-angle['lean'])
    for side in ('near', 'far'):
        shank = angle[f'{side}_leg'] - angle[f'{side}_knee']
        joints[f'{side}_knee'] = THIGH * down(angle[f'{side}_leg'])
        joints[f'{side}_ankle'] = joints[f'{side}_knee'] + SHANK * down(shank)
        joints[f'{side}_toe'] = joints[f'{side}_ankle'] + FOOT * down(shank + np.pi / 2)
    # The feet stay where they are: the lower one on the floor, the puppet's position between them.
    ankles = np.stack([joints['near_ankle'], joints['far_ankle']])
    pelvis = -np.stack([ankles[..., 0].mean(0), ankles[..., 1].max(0)], axis=-1)
    joints = {name: pelvis + joint for name, joint in joints.items()}

    joints['pelvis'], joints['shoulder'] = pelvis, pelvis + TORSO * up
    joints['head'] = joints['shoulder'] + (NECK + 0.03) * up
    ahead = np.stack([-up[:, 1], up[:, 0]], axis=-1)
    joints['back_of_head'] = joints['head'] - 0.022 * ahead + 0.014 * up
    joints['nose'] = joints['head'] + 0.072 * ahead - 0.012 * up
    for side in ('near', 'far'):
        joints[f'{side}_elbow'] = joints['shoulder'] + UPPER_ARM * down(angle[f'{side}_arm'])
        joints[f'{side}_hand'] = joints[f'{side}_elbow'] + FOREARM * down(angle[f'{side}_arm']
                                                                          + angle[f'{side}_elbow'])
    return joints


def outlines(joints):
    """-> [(outline [T, K, 2] in body heights, colour, whether it is of a far limb)] of all limbs, back to front."""
    shapes, far_joints = [], [name for name in joints if name.startswith('far')]
    for start, end, radius, end_radius, colour in LIMBS:
        is_far = start in far_joints or end in far_joints
        shapes.append((capsule(joints[start], joints[end], radius, end_radius), colour, is_far))
        for first, last, stripe in STRIPES.get((start, end), ()):
            shapes.append((band(joints[start], joints[end], radius, end_radius, first, last), stripe, is_far))
    return shapes


def directions(start, end):
    """Unit vectors [T, 2] along and across the way from start to end; any where they are the same joint."""
    along = end - start
    length = np.linalg.norm(along, axis=-1, keepdims=True)
    along = np.where(length > 0, along / np.maximum(length, 1e-9), (1.0, 0.0))
    return along, np.stack([-along[:, 1], along[:, 0]], axis=-1)


def capsule(start, end, radius, end_radius, points=7):
    """The outline of a limb: half a circle around each joint [T, 2]."""
    along, across = (vector[:, None] for vector in directions(start, end))
    turn = np.linspace(-np.pi / 2, np.pi / 2, points)[:, None]
    ahead, aside = np.cos(turn) * along, np.sin(turn) * across
    return np.concatenate([end[:, None] + end_radius * (ahead + aside), start[:, None] - radius * (ahead + aside)], 1)


def band(start, end, radius, end_radius, first, last):
    """The outline of a stripe across a limb, from and to a share of its length."""
    _, across = directions(start, end)
    edges = []
    for share, sides in ((first, (1, -1)), (last, (-1, 1))):
        half_width = radius + min(max(share, 0), 1) * (end_radius - radius)
        edges += [start + share * (end - start) + side * half_width * across for side in sides]
    return np.stack(edges, axis=1)


# ---- The scene and the camera

def render(args, video):
    """Yields the frames uint8 [size, size, 3] of one video.

    args.fixed: the NUISANCES that are the same in all videos
    """
    size, time = args.size, np.arange(args.frames)
    group = [args.seed, video.group]
    alone = [*group, video.clip, list(ACTIONS).index(video.class_name)]

    def random(purpose, key):
        return np.random.default_rng([*key, purpose])

    room, colours = make_appearance(args.seed, None if 'appearance' in args.fixed else video.group, size)
    position, height = np.mean(POSITIONS, axis=1), np.mean(HEIGHTS)
    facing, squeeze, roll, drift = 1, 1, 0, np.zeros((args.frames, 2))
    if 'position' not in args.fixed:
        position = random(POSITION, group).uniform(*np.transpose(POSITIONS))
    if 'size' not in args.fixed:
        height = random(SIZE, alone).uniform(*HEIGHTS)
    if 'view' not in args.fixed:
        rng = random(VIEW, alone)
        facing, squeeze, roll = rng.choice([-1, 1]), rng.uniform(SQUEEZE, 1), np.radians(rng.uniform(-ROLL, ROLL))
    if 'drift' not in args.fixed:
        rng = random(DRIFT, alone)
        turns = rng.uniform(0, 1, 2) + time[:, None] / rng.uniform(*DRIFT_PERIODS, 2)
        drift = rng.uniform(*DRIFTS, 2) * np.sin(2 * np.pi * turns)

    pose, direction, cycle = ACTIONS[video.class_name]
    rng = random(MOTION, alone)
    phase = rng.uniform() + direction * time / rng.uniform(*cycle)
    angles = {name: np.broadcast_to(angle, time.shape) for name, angle in {**REST, **pose(phase)}.items()}

    # body heights -> pixels: squeeze, face left or right, scale, roll, stand at the position, drift with the camera
    rotation = np.array([[np.cos(roll), -np.sin(roll)], [np.sin(roll), np.cos(roll)]])
    camera = size * height * rotation @ np.diag([facing * squeeze, 1])
    origin = (size * (position + drift))[:, None]
    polygons = [(np.rint((outline @ camera.T + origin) * 2 ** SHIFT).astype(np.int32), colours[colour, is_far])
                for outline, colour, is_far in outlines(skeleton(angles))]
    centre = np.array([room.shape[1] - 1, room.shape[0] - 1]) / 2
    turned = cv2.warpAffine(room, cv2.getRotationMatrix2D(centre.tolist(), -np.degrees(roll), 1), room.shape[1::-1])
    for i in time:
        frame = cv2.getRectSubPix(turned, (size, size), (centre - size * drift[i]).tolist())
        for polygon, colour in polygons:
            cv2.fillConvexPoly(frame, polygon[i], colour, cv2.LINE_AA, SHIFT)
        yield frame


@functools.lru_cache(maxsize=64)
def make_appearance(seed, group, size):
    """-> room uint8 [side, side, 3] with a margin beyond the frame, {(colour's name, of a far limb): (b, g, r)}."""
    rng = np.random.default_rng([seed, APPEARANCE] if group is None else [seed, group, APPEARANCE])
    margin = round(MARGIN * size)
    side = size + 2 * margin
    floor = margin + round(FLOOR * size)
    room = texture(rng, side, wavelength=size / 6, contrast=40)
    room[floor:] = texture(rng, side, wavelength=size / 10, contrast=70)[floor:]
    room = cv2.convertScaleAbs(room, alpha=0.5, beta=70)     # paler than the puppet
    for _ in range(3):      # pictures and windows on the wall
        corner = rng.uniform((0.05, 0.1), (0.85, 0.45)) * side
        width = rng.uniform(0.08, 0.2, 2) * side
        for inset, colour in ((0, rng.uniform(40, 215, 3)), (0.02 * size, rng.uniform(40, 215, 3))):
            start, end = np.rint(corner + inset).astype(int), np.rint(corner + width - inset).astype(int)
            end[1] = min(end[1], floor - 2)
            cv2.rectangle(room, start.tolist(), end.tolist(), colour.tolist(), cv2.FILLED)
    colours = {name: rng.uniform(20, 235, 3) for name in ('shirt', 'stripe', 'sleeve', 'belt', 'trousers', 'patch',
                                                          'shoe', 'hair')}
    colours['skin'] = rng.uniform(0.35, 1) * np.array([150, 180, 240])
    return room, {(name, is_far): tuple((colour * (0.65 if is_far else 1)).tolist())
                  for name, colour in colours.items() for is_far in (False, True)}
