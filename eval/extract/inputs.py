"""Videos that are named on a command line instead of in a list."""
import os
import zipfile
from pathlib import Path

from utils.cli import UserError, beside
from utils.data.files import is_video
from utils.data.frames import ZIP_ERRORS, frame_name
from utils.data.lists import VideoList
from utils.data.video import VideoError, VideoFile
from utils.parallel import distributed
from utils.run.log import warn

WHAT_VIDEOS = 'video files, frame folders, packed files, or folders of these'
NO_VIDEO = f'no video: neither a video file, nor a frame folder or packed file with {frame_name(1)}, …'
NO_VIDEOS = 'no video in this folder: neither video files, nor frame folders or packed files'


def given_videos(given):
    """(VideoList, names of its videos as on the command line, [(name, error) of each one that can't be read]).

    given: video files, frame folders, packed files (with or without .zip), and folders of these at any depth.
    UserError: one isn't there."""
    paths, names, counts, failed = [], [], [], []
    for name in sum(map(videos_in, given), []):
        try:
            counts.append(count_frames(name))
        except VideoError as error:
            failed.append((name, str(error)))
        else:
            paths.append(os.path.abspath(name).removesuffix('.zip'))
            names.append(name)
    return VideoList.from_rows(paths, counts), names, failed


def readable_videos(given):
    """(VideoList, [(name, error) of each one that can't be read, which are shown]). UserError: none can be read."""
    videos, _, failed = given_videos(given)
    for name, error in failed if distributed.is_main() else ():
        warn(f'skipped {name}: {error}')
    if not len(videos):
        raise UserError(f'none of the {len(failed)} videos can be read')
    return videos, failed


def videos_in(path):
    """What a folder holds, sorted: video files, frame folders and packed files; of all else, [path].

    UserError: it isn't there, or the folder holds none."""
    if not os.path.exists(path) and not os.path.exists(f'{path}.zip'):
        raise UserError(f'{path} is not there: give {WHAT_VIDEOS}{beside(path)}')
    if not os.path.isdir(path) or has_frames(path):
        return [path]
    found = [str(each) for each in Path(path).rglob('*')
             if (has_frames(each) if each.is_dir() else is_video(each.name) or each.suffix == '.zip')]
    if not found:
        raise UserError(f'{path}: {NO_VIDEOS}')
    return sorted(found)


def has_frames(folder):
    return os.path.exists(os.path.join(folder, frame_name(1)))


def count_frames(path):
    """Frames of a video. VideoError: it has none, or can't be read."""
    if os.path.isfile(path) and not path.endswith('.zip'):
        with VideoFile(path) as video:
            return video.n_frames
    try:
        if os.path.isdir(path):
            names = os.listdir(path)
        else:
            with zipfile.ZipFile(path.removesuffix('.zip') + '.zip') as archive:
                names = archive.namelist()
    except ZIP_ERRORS:
        names = []
    count = sum(name.startswith('image_') and name.endswith('.jpg') for name in names)
    if not count:
        raise VideoError(NO_VIDEO)
    return count
