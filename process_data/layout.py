"""Folder layout: where videos and frame folders are stored, and how frames are read and written.

    {video_root}/…/{class}/{video}.mp4
    {frame_root}/…/{class}/{video}/image_00001.jpg …      or packed, {frame_root}/…/{class}/{video}.zip

Unlabelled videos may be stored without class folders. A video is identified by its `folder`: the path of its frame
folder relative to the frame root, with '/'.
"""
import contextlib
import errno
import hashlib
import os
import pathlib
import struct
import zipfile
import zlib

from utils.cli import UserError
from utils.data.files import leads_back
from utils.data.frames import frame_name

DATA_ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'data')
SYNTHETIC = ('demo', 'puppets')         # made by make_demo.py and make_puppets.py
UNLABELLED = tuple(f'{name}_unlabelled' for name in SYNTHETIC)
DATASETS = ('ucf101', 'hmdb51', 'k400', *SYNTHETIC, *UNLABELLED, 'folder')
# Raised by zipfile for broken archives; RuntimeError for encrypted ones.
BAD_ZIP = (zipfile.BadZipFile, zlib.error, struct.error, EOFError, RuntimeError, ValueError, OverflowError)
ZIP_TIME = (1980, 1, 1, 0, 0, 0)    # of all entries, so that the same frames always give the same bytes


# ---- Names

def is_frame(name):
    return name.startswith('image_') and name.endswith('.jpg')


def folder_of(video):
    """Frame folder of a video, both relative to their roots."""
    return os.path.splitext(video)[0]


def class_of(folder):
    """Name of the folder around a frame folder; '' directly in the frame root."""
    return os.path.basename(os.path.dirname(folder))


def stable_hash(name):
    """A 64-bit number that is the same for this name on every machine."""
    return int.from_bytes(hashlib.sha1(os.fsencode(name)).digest()[:8], 'big')


def synthetic_folder(dataset, content):
    """Default folder of the 'videos', 'splits' or 'frames' of a data set of SYNTHETIC or UNLABELLED."""
    return os.path.join(DATA_ROOT, f'{dataset}_{content}')


# ---- Finding frame folders

def require_folder(path, flag):
    if not os.path.isdir(path):
        what = 'not a folder' if os.path.exists(path) else 'no such folder'
        raise UserError(f'{path}: {what}; name an existing one with {flag}')


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


def scan(frame_root):
    """Yields (path relative to the root, os.DirEntry, whether it is a loose frame folder) of all in a frame root.

    Frame folders, hidden folders and links back to a folder above are not entered.
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


def find_frame_folders(frame_root):
    """Sorted list of every frame folder in a frame root, loose or packed. Does not list the frames."""
    found = set()
    for path, entry, is_frame_folder in scan(frame_root):
        if is_frame_folder:
            found.add(path)
        elif entry.name.endswith('.zip') and not entry.name.startswith('.') and not is_folder(entry):
            found.add(path[:-len('.zip')])
    return sorted(found)


# ---- Reading and writing frames

def frame_names(path):
    """Sorted names of the frames of one frame folder, loose (a folder) or packed (`path + '.zip'`)."""
    if os.path.isdir(path):
        return sorted(entry.name for entry in entries_of(path) if is_frame(entry.name))
    with zipfile.ZipFile(path + '.zip') as packed:
        return sorted(filter(is_frame, packed.namelist()))


@contextlib.contextmanager
def open_frames(path):
    """Gives a function read(name) -> bytes for one frame folder, loose or packed."""
    if os.path.isdir(path):
        yield lambda name: pathlib.Path(path, name).read_bytes()
    else:
        with zipfile.ZipFile(path + '.zip') as packed:
            yield packed.read


def write_loose(folder, name, jpeg):
    """Writes one frame as a new file of an existing folder."""
    path = os.path.join(folder, name)
    try:
        with open(path, 'xb') as file:
            file.write(jpeg)
    except OSError as error:    # that of write() doesn't name the file
        raise OSError(error.errno, error.strerror, path) from error


@contextlib.contextmanager
def open_packer(path):
    """Gives a function add(name, jpeg) that adds a frame to a new uncompressed zip."""
    with zipfile.ZipFile(path, 'w', zipfile.ZIP_STORED) as packed:
        yield lambda name, jpeg: packed.writestr(zipfile.ZipInfo(name, ZIP_TIME), jpeg)


# ---- Writing text files

@contextlib.contextmanager
def write_whole(path, newline=None):
    """Opens a text file for writing that gets its name `path` only when it is complete."""
    part = path + '.part'
    try:
        os.makedirs(os.path.dirname(path) or '.', exist_ok=True)
        with open(part, 'w', newline=newline, encoding='utf-8', errors='surrogateescape') as file:
            yield file
        os.replace(part, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            os.remove(part)
        raise UserError(f'{path}: cannot write it ({error.strerror}); free space or choose another folder') from error
