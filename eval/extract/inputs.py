"""Videos that are named on a command line instead of in a list."""
import os
from pathlib import Path

from utils.cli import UserError, beside
from utils.data.lists import VideoList
from utils.parallel import distributed
from utils.run.log import warn
from utils.text import counted, distinct
from utils.video.files import is_folder, is_video, other_pictures, walk
from utils.video.frames import has_frames
from utils.video.reader import VideoError
from utils.video.sources import count_frames

WHAT_VIDEOS = 'video files, frame folders, packed files, or folders of these'


def names_given(given):
    """Names of the single videos on a command line: video files, frame folders, packed files (with or without .zip),
    and folders of these at any depth. Reads none of them. UserError: one isn't there."""
    return sum(map(videos_in, given), [])


def given_videos(given):
    """(VideoList, names of its videos, [(name, error) of each one that can't be read]). given: of `names_given`."""
    paths, names, counts, failed = [], [], [], []
    for name in given:
        path = os.path.abspath(name).removesuffix('.zip')
        if not is_there(path):
            failed.append((name, 'is not there'))
            continue
        try:
            counts.append(count_frames(path))
        except (UserError, VideoError) as error:
            failed.append((name, str(error)))
        else:
            paths.append(path)
            names.append(name)
    return VideoList.from_rows(paths, counts), names, failed


def readable_videos(given):
    """(VideoList, [(name, error) of each one that can't be read, which are shown]). UserError: none can be read."""
    videos, _, failed = given_videos(given)
    for name, error in failed if distributed.is_main() else ():
        warn(f'skipped {name}: {error}')
    if not len(videos):
        raise UserError(f'none of the {counted(len(failed), "video")} can be read')
    return videos, failed


def stems_of(names):
    """What the files made of each video are called: its name without folder and ending; of equal ones the second is
    {stem}_2, …

    >>> stems_of(['a/run.mp4', 'b/run.mp4', 'walk'])
    ['run', 'run_2', 'walk']
    """
    return distinct([Path(name).name if os.path.isdir(name) else Path(name).stem for name in names], '_')


def is_there(path):
    """Whether a video, or a folder of some, is at `path`, or packed beside it."""
    return os.path.exists(path) or os.path.exists(f'{path}.zip')


def videos_in(path):
    """What a folder holds, sorted: video files, frame folders and packed files; of all else, [path].

    UserError: it isn't there, or the folder holds none."""
    if not is_there(path):
        raise UserError(f'{path} is not there: give {WHAT_VIDEOS}'
                        + beside(path, lambda each: os.path.isdir(each) or is_video(each) or each.endswith('.zip')))
    if not os.path.isdir(path) or has_frames(path):
        return [path]
    found = [entry.path for name, entry, is_frame_folder in walk(path, has_frames)
             if is_frame_folder or (is_video(name) or name.endswith('.zip')) and not is_folder(entry)]
    if not found:
        raise UserError(f'{path}: no video in this folder: neither video files, nor frame folders or packed files'
                        + other_pictures(path))
    return sorted(found)
