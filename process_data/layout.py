"""What lies where: videos and frame folders.

    {video_root}/…/{class}/{video}.mp4
    {frame_root}/…/{class}/{video}/image_00001.jpg …      or packed, {frame_root}/…/{class}/{video}.zip

A video is known everywhere by its `folder`: the path of its frame folder relative to the frame root, with '/'.
"""
import argparse
import contextlib
import errno
import hashlib
import os
import pathlib
import zipfile

from process_data.errors import UserError

DATA_ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'data')
DEMO_VIDEOS, DEMO_SPLITS, DEMO_FRAMES = (os.path.join(DATA_ROOT, f'demo_{name}')
                                         for name in ('videos', 'splits', 'frames'))
DATASETS = ('ucf101', 'hmdb51', 'k400', 'demo', 'folder')
VIDEO_EXTENSIONS = frozenset('.avi .mp4 .m4v .mov .mkv .webm .mpg .mpeg .mpe .vob .wmv .flv .f4v .3gp .3g2 .ts .mts '
                             '.m2ts .ogv .ogg .asf .divx'.split())


def frame_name(number):
    """Name of the number-th frame, from 1."""
    return f'image_{number:05d}.jpg'


def is_frame(name):
    return name.startswith('image_') and name.endswith('.jpg')


def is_video(name):
    return os.path.splitext(name)[1].lower() in VIDEO_EXTENSIONS


def folder_of(video):
    """Frame folder of a video, both relative to their roots."""
    return os.path.splitext(video)[0]


def entries_of(folder):
    """What lies in a folder, as os.DirEntry: a list in no order."""
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError as error:
        raise UserError(f'{folder}: cannot be listed ({error.strerror}); mend that and run again') from error


def is_folder(entry):
    """Whether an os.DirEntry is a folder or a link to one. A link that leads nowhere, or to itself, is none."""
    try:
        return entry.is_dir()
    except OSError as error:
        if error.errno == errno.ELOOP:
            return False
        raise UserError(f'{entry.path}: cannot be read ({error.strerror}); mend that and run again') from error


def leads_back(path):
    """Whether it is a link to a folder that it lies in: following it would go round for ever."""
    above = pathlib.Path(path).absolute().parents
    # By their real paths, and by those of the folders that these lie in: it may come by way of other links.
    return os.path.islink(path) and any(pathlib.Path(os.path.realpath(path)) in (real, *real.parents)
                                        for real in map(pathlib.Path.resolve, above))


def frame_names(path):
    """Sorted names of the frames of one frame folder, loose (a folder) or packed (`path + '.zip'`)."""
    if os.path.isdir(path):
        return sorted(entry.name for entry in entries_of(path) if is_frame(entry.name))
    with zipfile.ZipFile(path + '.zip') as packed:
        return sorted(filter(is_frame, packed.namelist()))


@contextlib.contextmanager
def open_frames(path):
    """Gives a function from the name of a frame to its bytes, for a frame folder, loose or packed."""
    if os.path.isdir(path):
        yield lambda name: pathlib.Path(path, name).read_bytes()
    else:
        with zipfile.ZipFile(path + '.zip') as packed:
            yield packed.read


class Loose:
    """Takes the frames of a video as files of an existing folder."""

    def __init__(self, folder):
        self.folder = folder

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def add(self, name, jpeg):
        path = os.path.join(self.folder, name)
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        try:
            while jpeg:
                jpeg = jpeg[os.write(file, jpeg):]
        except OSError as error:
            raise OSError(error.errno, error.strerror, path) from error
        finally:
            os.close(file)


class Packer:
    """Takes the frames of a video as entries of one uncompressed zip, at `path`."""

    # Entries carry no time of their own, so that the same frames always give the same bytes.
    TIME = (1980, 1, 1, 0, 0, 0)

    def __init__(self, path):
        self.file = zipfile.ZipFile(path, 'w', zipfile.ZIP_STORED)

    def __enter__(self):
        return self

    def add(self, name, jpeg):
        self.file.writestr(zipfile.ZipInfo(name, self.TIME), jpeg)

    def __exit__(self, *_):
        self.file.close()


def find_frame_folders(frame_root):
    """Every frame folder below the frame root, loose or packed, without listing the frames: sorted list."""
    found = set()
    for path, entry, is_frame_folder in scan(frame_root):
        if is_frame_folder:
            found.add(path)
        elif entry.name.endswith('.zip') and not entry.name.startswith('.') and not is_folder(entry):
            found.add(path[:-len('.zip')])
    return sorted(found)


def scan(frame_root):
    """Yields (path relative to the root, os.DirEntry, whether it is a loose frame folder) of all below the frame root.

    It doesn't go into frame folders and hidden folders, nor by a link back to a folder above.
    """
    waiting = ['']
    while waiting:
        parent = waiting.pop()
        for entry in entries_of(os.path.join(frame_root, parent)):
            path = f'{parent}/{entry.name}'.lstrip('/')
            is_open = not entry.name.startswith('.') and is_folder(entry)
            is_frame_folder = is_open and os.path.exists(os.path.join(entry.path, frame_name(1)))
            if is_open and not is_frame_folder and not leads_back(entry.path):
                waiting.append(path)
            yield path, entry, is_frame_folder


def stable_hash(name):
    """A number of 64 bits that is the same for this name on every machine."""
    return int.from_bytes(hashlib.sha1(os.fsencode(name)).digest()[:8], 'big')


def cores():
    """Number of cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()


def whole_number(least):
    """For argparse: the type of whole numbers of `least` or more."""
    def number(text):
        if not text.isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(f'{text!r} is not a whole number of {least} or more')
        return int(text)
    return number


positive_int = whole_number(1)


def require_folder(path, flag):
    if not os.path.isdir(path):
        what = 'not a folder' if os.path.exists(path) else 'no such folder'
        raise UserError(f'{path}: {what}; name an existing one with {flag}')


def write_whole(path, write, newline=None):
    """Calls write(file) on a text file that takes the name `path` only when it is complete."""
    part = path + '.part'
    try:
        os.makedirs(os.path.dirname(path) or '.', exist_ok=True)
        with open(part, 'w', newline=newline, encoding='utf-8', errors='surrogateescape') as file:
            write(file)
        os.replace(part, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            os.remove(part)
        raise UserError(f'{path}: cannot write it ({error.strerror}); free space or choose another folder') from error
