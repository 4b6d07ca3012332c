"""Where videos, frame folders and lists are stored, and how they are written.

    {video_root}/…/{class}/{video}.mp4
    {frame_root}/…/{class}/{video}/image_00001.jpg …      or packed, {frame_root}/…/{class}/{video}.zip
    {csv_root}/{data set}/train_split01.csv …

Unlabelled videos may be stored without class folders. A video is identified by its `folder`: the path of its frame
folder relative to the frame root, with '/'. utils.video.files finds frame folders, utils.video.frames reads them.
"""
import contextlib
import csv
import hashlib
import os
import zipfile

from utils.cli import UserError
from utils.data.text_files import ENCODING

DATA_ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'data')
ZIP_TIME = (1980, 1, 1, 0, 0, 0)    # of all entries, so that the same frames always give the same bytes


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
    """Default folder of the 'videos', 'splits' or 'frames' of a data set that experiments/data makes."""
    return os.path.join(DATA_ROOT, f'{dataset}_{content}')


def require_folder(path, flag):
    if not os.path.isdir(path):
        what = 'not a folder' if os.path.exists(path) else 'no such folder'
        raise UserError(f'{path}: {what}; name an existing one with {flag}')


def require_writable(folder):
    """UserError unless files can be written to a folder, which needn't exist yet."""
    there = os.path.abspath(folder)
    while not os.path.exists(there):
        there = os.path.dirname(there)
    if not os.access(there, os.W_OK):
        raise UserError(f'{folder}: cannot write there ({there} is read-only); choose another --csv_root')


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


@contextlib.contextmanager
def write_whole(path, newline=None):
    """Opens a text file for writing that gets its name `path` only when it is complete."""
    part = path + '.part'
    try:
        os.makedirs(os.path.dirname(path) or '.', exist_ok=True)
        with open(part, 'w', newline=newline, **ENCODING) as file:
            yield file
        os.replace(part, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            os.remove(part)
        raise UserError(f'{path}: cannot write it ({error.strerror}); free space or choose another folder') from error


def write_rows(path, rows):
    """Writes a csv list, `path,n_frames[,label[,group]]`, without a header."""
    with write_whole(path, newline='') as file:
        csv.writer(file, lineterminator='\n').writerows(rows)
