"""Which file that a command wrote for a video belongs to which video of an events csv."""
import os
from pathlib import Path

import pandas as pd

from utils.cli import UserError
from utils.video.files import is_video

TEXT = 'video', 'kind', 'group'  # columns whose cells stay as they are written: '001', 'NA', ''


def read_events(path, columns):
    """A table of the csv at `path`. UserError: it lacks some of the `columns`."""
    events = pd.read_csv(path, dtype=dict.fromkeys(TEXT, str), keep_default_na=False, na_values={'seconds': ['']})
    if lacking := [name for name in columns if name not in events]:
        raise UserError(f'--events {path}: it has no columns {" and ".join(lacking)}')
    return events


def files_of_videos(names, files, folder, command):
    """{name: (path of the video, its file)} of the `names` in an events csv.

    A name means the video of this path, else the one whose path ends with it or is its end; the ending of a video file
    may be left out where that tells no two apart. files: [(path of a video, file), …], which `command` wrote to
    `folder`. UserError: a name fits no video or several, or two names fit one."""
    found, named, forms = {}, {}, [forms_of(path) for path, _ in files]
    for name in names:
        fitting = [[each for each, form in zip(files, forms) if is_end(own, form[i])]
                   for i, own in enumerate(forms_of(name))]
        first, *others = next(filter(None, fitting), [None])
        if first is None:
            raise UserError(f'--events: {name} is not among the videos in {folder}: give all of them to one run of '
                            f'{command}')
        path, file = first
        if others:
            raise UserError(f'--events: {name} may be {path} ({file}) or {others[0][0]} ({others[0][1]}): name it by '
                            'as much of its path as tells them apart')
        if file in named:
            raise UserError(f'--events: {named[file]} and {name} both fit {path} ({file}): give a video one name, and '
                            f'{command} paths that tell videos apart')
        found[name], named[file] = first, name
    return found


def forms_of(path):
    """The path as it is, its parts, and these without the ending of a packed or video file.

    >>> forms_of('../a/run.avi')
    (('../a/run.avi',), ('a', 'run.avi'), ('a', 'run'))
    """
    plain = path.removesuffix('.zip')
    return (path,), parts_of(path), parts_of(os.path.splitext(plain)[0] if is_video(plain) else plain)


def parts_of(path):
    return tuple(part for part in Path(path).parts if part not in ('/', '..'))


def is_end(one, other):
    """Whether the parts of one path are the last ones of the other."""
    shorter, longer = sorted((one, other), key=len)
    return bool(shorter) and longer[-len(shorter):] == shorter
