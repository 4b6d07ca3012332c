"""Folders of video files: finding the files and counting their frames. No torch."""
import os
import pathlib

from joblib import Parallel, delayed
from tqdm import tqdm

from utils.cli import UserError
from utils.data.video import VideoError, VideoFile

VIDEO_EXTENSIONS = frozenset('.avi .mp4 .m4v .mov .mkv .webm .mpg .mpeg .mpe .vob .wmv .flv .f4v .3gp .3g2 .ts .mts '
                             '.m2ts .ogv .ogg .asf .divx'.split())


def is_video(name):
    return os.path.splitext(name)[1].lower() in VIDEO_EXTENSIONS


def find_videos(video_root, frame_root=None):
    """Sorted paths, relative to video_root, of the videos and of folders that are named like one but contain none.

    Hidden files and folders, frame_root and links back to a folder above are left out. Says how many other files there
    are. UserError: a folder can't be listed.
    """
    found, skipped = [], 0
    frames = frame_root and os.path.realpath(frame_root)

    def is_open(path):
        return not (os.path.basename(path).startswith('.') or os.path.realpath(path) == frames
                    or leads_back(path))

    def unreadable(error):
        raise UserError(f'{error.filename}: cannot be listed ({error.strerror}); fix that and run again')

    for folder, subfolders, files in os.walk(video_root, onerror=unreadable, followlinks=True):
        subfolders[:] = [name for name in subfolders if is_open(os.path.join(folder, name))]
        files = [name for name in files if not name.startswith('.')]
        found += [os.path.join(folder, name) for name in files if is_video(name)]
        skipped += sum(not is_video(name) for name in files)
        if folder != video_root and is_video(folder) and not any(map(is_video, files)):
            found.append(folder)
    if skipped:
        print(f"{skipped} files without a video's extension skipped")
    return sorted(os.path.relpath(path, video_root) for path in found)


def leads_back(path):
    """Whether `path` is a link to a folder that contains it. Following such a link would never end."""
    above = pathlib.Path(path).absolute().parents
    # Compare with the real paths of all folders above, and with the parents of these: other links may be on the way.
    return os.path.islink(path) and any(pathlib.Path(os.path.realpath(path)) in (real, *real.parents)
                                        for real in map(pathlib.Path.resolve, above))


def count_frames(path):
    """(frames of a video file, '') or (0, the reason why it can't be used). VideoFile.n_frames says how they are
    counted; only the first is converted to RGB."""
    try:
        with VideoFile(path) as video:
            if next(video.all_frames(), None) is None:
                return 0, 'no frame in it can be decoded'
            return video.n_frames, ''
    except VideoError as error:
        return 0, str(error)


def count_all(root, names, jobs):
    """({name: frames}, {name: reason}) of the usable and of the unusable video files `names` in `root`, by `jobs`
    threads, with a progress bar."""
    counts = Parallel(n_jobs=jobs, prefer='threads', return_as='generator')(
        delayed(count_frames)(os.path.join(root, name)) for name in names)
    counted = dict(zip(names, list(tqdm(counts, total=len(names), desc='counting frames', unit='video'))))
    return ({name: frames for name, (frames, _) in counted.items() if frames},
            {name: reason for name, (frames, reason) in counted.items() if not frames})
