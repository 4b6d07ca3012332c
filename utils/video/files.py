"""Walks folders to find what is in them: video files, frame folders, packed frames. No torch."""
import errno
import os
import pathlib

from utils.cli import UserError
from utils.video.frames import frame_name, has_frames

VIDEO_EXTENSIONS = frozenset('.avi .mp4 .m4v .mov .mkv .webm .mpg .mpeg .mpe .vob .wmv .flv .f4v .3gp .3g2 .ts .mts '
                             '.m2ts .ogv .ogg .asf .divx'.split())
PICTURE_EXTENSIONS = frozenset('.jpg .jpeg .png .bmp .webp'.split())


def is_video(name):
    return os.path.splitext(name)[1].lower() in VIDEO_EXTENSIONS


def find_videos(video_root, frame_root=None):
    """Sorted paths, relative to video_root, of the videos and of folders that are named like one but contain none.

    frame_root is left out. Says how many other files there are. UserError: a folder can't be listed.
    """
    frames = frame_root and os.path.realpath(frame_root)
    found, folders, skipped = [], [], 0
    for path, entry, _ in walk(video_root, lambda folder: os.path.realpath(folder) == frames):
        if is_video(path):
            (folders if is_folder(entry) else found).append(path)
        else:
            skipped += not is_folder(entry)
    if skipped:
        print(f"{skipped} files without a video's extension skipped")
    return sorted([*found, *set(folders).difference(map(os.path.dirname, found))])


def find_frame_folders(frame_root):
    """Sorted list of every frame folder in a frame root, loose or packed. Does not list the frames."""
    return sorted({path if is_frame_folder else path.removesuffix('.zip')
                   for path, entry, is_frame_folder in walk(frame_root, has_frames)
                   if is_frame_folder or path.endswith('.zip') and not is_folder(entry)})


def other_pictures(root):
    """For an error about missing frames: pictures found below a folder, and how frames are named. '' without any."""
    first = next((path for path, entry, _ in walk(root, has_frames) if is_picture(path) and not is_folder(entry)), None)
    if first is None:
        return ''
    folder = os.path.join(root, os.path.dirname(first)).rstrip('/')
    names = sorted(filter(is_picture, os.listdir(folder)))[:2]
    return (f': {folder} has pictures named {", ".join(names)}, …, but the frames of a video are JPEG files named '
            f'{frame_name(1)}, {frame_name(2)}, … in a folder of its own; rename or convert them, or extract the '
            'videos with process_data/extract_frames.py')


def is_picture(name):
    return os.path.splitext(name)[1].lower() in PICTURE_EXTENSIONS


def walk(root, is_closed, hidden=False):
    """Yields (path relative to the root, os.DirEntry, whether it is a closed folder) of all below a folder.

    is_closed: path of a folder -> whether to leave out what is in it. Links back to a folder above are not entered.
    hidden: also yield what has a hidden name, without entering it. UserError: a folder can't be listed.
    """
    waiting = ['']
    while waiting:
        parent = waiting.pop()
        for entry in entries_of(os.path.join(root, parent)):
            is_hidden = entry.name.startswith('.')
            if is_hidden and not hidden:
                continue
            path = os.path.join(parent, entry.name)
            is_open = not is_hidden and is_folder(entry)
            closed = is_open and is_closed(entry.path)
            if is_open and not closed and not leads_back(entry.path):
                waiting.append(path)
            yield path, entry, closed


def entries_of(folder):
    """Content of a folder: an unsorted list of os.DirEntry."""
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError as error:
        raise UserError(f'{folder}: cannot be listed ({error.strerror}); fix that and run again') from error


def is_folder(entry):
    """Whether an os.DirEntry is a folder or a link to one. Links to nowhere or to themselves are not."""
    try:
        return entry.is_dir()
    except OSError as error:
        if error.errno == errno.ELOOP:
            return False
        raise UserError(f'{entry.path}: cannot be read ({error.strerror}); fix that and run again') from error


def leads_back(path):
    """Whether `path` is a link to a folder that contains it. Following such a link would never end."""
    above = pathlib.Path(path).absolute().parents
    # Compare with the real paths of all folders above, and with the parents of these: other links may be on the way.
    return os.path.islink(path) and any(pathlib.Path(os.path.realpath(path)) in (real, *real.parents)
                                        for real in map(pathlib.Path.resolve, above))
