"""Videos that are named on a command line instead of in a list."""
import os
import zipfile
from pathlib import Path

from utils.cli import UserError
from utils.data.frames import ZIP_ERRORS, frame_name
from utils.data.lists import VideoList


def given_videos(given):
    """(VideoList, names of its videos as on the command line, [(name, error) of each one that has no frames]).

    given: frame folders, packed files (with or without .zip), and folders of these at any depth. UserError: none has
    frames."""
    paths, names, counts, failed = [], [], [], []
    for name in sum(map(videos_in, given), []):
        count = count_frames(name)
        if count:
            paths.append(os.path.abspath(name).removesuffix('.zip'))
            names.append(name)
            counts.append(count)
        else:
            failed.append((name, f'no frame folder or packed file: it has no {frame_name(1)}, …; '
                                 'process_data/extract_frames.py makes them of videos'))
    if not paths:
        raise UserError(': '.join(failed[0]))
    return VideoList.from_rows(paths, counts), names, failed


def videos_in(path):
    """The frame folders and packed files in a folder, sorted; of what is itself one, or nothing of the kind, [path]."""
    if not os.path.isdir(path) or has_frames(path):
        return [path]
    found = [str(each) for each in Path(path).rglob('*') if each.suffix == '.zip' or (each.is_dir() and has_frames(each))]
    return sorted(found) or [path]


def has_frames(folder):
    return os.path.exists(os.path.join(folder, frame_name(1)))


def count_frames(path):
    """Frames of the video `path`, loose or packed; 0 if there are none or it can't be read."""
    try:
        if os.path.isdir(path):
            names = os.listdir(path)
        else:
            with zipfile.ZipFile(str(path).removesuffix('.zip') + '.zip') as archive:
                names = archive.namelist()
    except ZIP_ERRORS:
        return 0
    return sum(name.startswith('image_') and name.endswith('.jpg') for name in names)
