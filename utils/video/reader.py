"""The one reader of video files: frames of a file by their number, decoded by PyAV (FFmpeg) on one thread. No torch.

Frame k is the k-th frame of a decoding from the start to the end. It is found by its time stamp: the container has the
time stamps of all frames and tells the key frames. The reader seeks to the key frame before and decodes on, comparing
the time stamp of each decoded frame with the expected one. Without reliable time stamps it decodes from the start. In a
file with damage in its middle numbers count the frames of the container, and `all_frames` leaves out the damaged ones.
"""
import bisect
import collections
import errno
import itertools
import math
import os
import stat
import time

import av
import cv2
import numpy as np

from utils import system_errors
from utils.cli import UserError
from utils.video.frame_rate import at_rate
from utils.video.frames import MAX_PIXELS
from utils.video.shrink import halved, resize, target_size
from utils.video.truncated import AVI, MATROSKA, MOV, ends_early, promised_frames

# Containers and codecs whose packets are one frame each, with a time stamp of its own. Not in the list, among others:
# H.264 in .avi (time stamps don't tell the order of B-frames), VP8 (packets may hold invisible frames), MPEG-TS.
TIMED = {(MOV, codec) for codec in ('h264', 'hevc', 'av1', 'libdav1d', 'vp9', 'mpeg4', 'mjpeg')} | {
    (MATROSKA, codec) for codec in ('h264', 'hevc', 'av1', 'libdav1d', 'vp9', 'mjpeg', 'ffv1')} | {
    (AVI, codec) for codec in ('mpeg4', 'mjpeg')}
PROGRESSIVE = (0, 1)     # of av's field_order: unknown, progressive
# An MPEG-4 packet of this size or less, bytes, may say "no new picture" and give no frame.
EMPTY_PICTURE = 16
RATE_TOLERANCE = 0.01   # time stamps are rounded, to milliseconds in .mkv
# A gap between wanted frames that is worth a seek, frames: less is decoded as fast.
WORTH_SEEKING = 24
BT2020_NONCONSTANT, BT2020_CONSTANT = 9, 10     # FFmpeg's AVColorSpace; phones write the second and mean the first
COVER_PICTURE = av.stream.Disposition.attached_pic
MATRICES = {8: 'ycgco', 11: 'smpte2085', 12: 'chroma-derived-nc', 13: 'chroma-derived-c', 14: 'ictcp'}


class VideoError(Exception):
    """A video that cannot be used; the message is the reason, without the path."""


class VideoFile:
    """A video file, open for reading. Use it in a `with` statement, which closes it.

        with VideoFile(path) as video:
            for frame in video.frames([1, 4, 7]):       # uint8 [H, W, 3], upright
                ...

    path:        of a regular file
    layout:      'rgb24' or 'bgr24', the order of the channels
    short_side:  px, what larger frames are shrunk to (0 keeps the size); see `target_size` and `resize`
    upscale:     also enlarge smaller frames
    rate:        frames a second to take by time, see utils.video.frame_rate: the file then reads as if these were its
                 frames (None: every frame once; none is repeated or dropped)
    patience:    seconds after which a wanted frame is given up (None: never)

    announced:   frames that its index or header promises, 0 if none does; see utils.video.truncated
    notes:       list of str, what was read differently from what the file says; filled while frames are read
    VideoError: there is no such file, or no video in it that the decoder can read. UserError: the file system fails."""

    def __init__(self, path, layout='rgb24', short_side=0, upscale=False, rate=None, patience=None):
        check_file(path)
        self.path, self.layout, self.short_side, self.upscale = path, layout, short_side, upscale
        self.rate, self.patience, self._waiting_since = rate, patience, time.monotonic()
        self.notes = []
        self._damage, self._times = collections.Counter(), []
        self._reformatter = av.video.reformatter.VideoReformatter()
        self._index = self._n_frames = None
        self._open()
        self._coded_size = self._stream.codec_context.width, self._stream.codec_context.height
        self.announced = promised_frames(self._container, self._stream)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self._container.close()

    @property
    def n_frames(self):
        """Frames in the file: counted from the container's packets where each is known to be a frame (`TIMED`, whole,
        with distinct time stamps), by decoding elsewhere."""
        if self._n_frames is None:
            times, _ = self._read_index()
            self._n_frames = sum(1 for _ in self._taken()) if times is None else len(self._numbers_taken(times))
        return self._n_frames

    def all_frames(self):
        """Yields all frames, uint8 [H, W, 3], in order of display; a packet that can't be decoded is skipped, see
        `losses`. VideoError: a frame that can't be converted."""
        for frame in self._taken():
            yield self._picture(frame)
            self._waiting_since = time.monotonic()

    def decode_all(self):
        """Decodes the whole file, for `losses` and `fps`."""
        for _ in self._from_start():
            pass

    def losses(self):
        """Evidence that frames are missing or damaged, list of str; [] of a whole file. Call it after `all_frames` or
        `decode_all` has come to its end. A container's duration is an estimate, and no evidence."""
        said = [what.format(count) for what, count in self._damage.items()]
        if self._container.format.name == MOV and len(self._times) < self.announced:
            said.append(f'{self.announced - len(self._times)} packets of its index are missing')
        if ends_early(self.path, self._container.format.name):
            said.append('the file is shorter than it says')
        return said

    @property
    def fps(self):
        """Frames per second of the file on average, or 0.0: as the container says, unless the time stamps of what was
        read from the start tell another rate."""
        rate = float(self._stream.average_rate or self._stream.guessed_rate or 0)
        spread = max(self._times, default=0) - min(self._times, default=0)
        if spread:
            measured = (len(self._times) - 1) / float(spread * self._stream.time_base)
            rate = rate if abs(measured - rate) < RATE_TOLERANCE * measured else measured
        return round(rate, 3)

    def times(self):
        """Time stamps of all frames of the file, whatever `rate` takes of them: [s or None, …] in order of display.

        They are as stored: the first need not be 0, and they may jump. Files without an index (`TIMED`) are decoded."""
        times, _ = self._read_index()
        if times is not None:
            return [float(each * self._stream.time_base) for each in times]
        seconds = [frame.time for frame in self._from_start()]
        # An .avi has a rate only, which gives times in the order of decoding.
        in_disorder = self._container.format.name == AVI and None not in seconds
        return sorted(seconds) if in_disorder else seconds

    def frames(self, numbers):
        """Yields the frames of ascending distinct `numbers`, from 1: uint8 [H, W, 3].

        VideoError: there are fewer frames, or one can't be decoded or takes longer than `patience`."""
        numbers = [int(number) for number in numbers]
        self._waiting_since = time.monotonic()
        times, keys = self._read_index()
        done = 0
        if times is not None:
            taken = self._numbers_taken(times)
            if numbers and numbers[-1] > len(taken):
                raise VideoError(f'it has {len(taken)} frames, and frame {numbers[-1]} was asked for')
            stored = [taken[number - 1] for number in numbers]
            for frame, (_, copies) in zip(self._by_time(sorted(set(stored)), times, keys), itertools.groupby(stored)):
                picture = self._picture(frame)
                for _ in copies:
                    yield picture
                    self._waiting_since = time.monotonic()
                    done += 1
        if done < len(numbers):
            yield from self._by_counting(numbers[done:])

    # ---- finding frames

    def _by_counting(self, numbers):
        wanted = iter(numbers)
        number, count = next(wanted), 0
        for count, frame in enumerate(self._taken(), 1):
            if count == number:
                yield self._picture(frame)
                self._waiting_since = time.monotonic()
                number = next(wanted, None)
                if number is None:
                    return
        raise VideoError(f'{count} frames can be decoded, and frame {number} was asked for')

    def _by_time(self, numbers, times, keys):
        """Yields the wanted frames as long as the decoder delivers exactly the frames that the index has."""
        for run in runs_between_keys(numbers, times, keys):
            key = keys[bisect.bisect_right(keys, times[run[0] - 1]) - 1]
            try:
                self._container.seek(key, stream=self._stream)
            except av.error.FFmpegError:
                return
            wanted, expected = iter(run), bisect.bisect_left(times, key)
            number = next(wanted)
            for frame in self._decoded():
                if frame.pts is not None and frame.pts < key:
                    continue     # of the GOP before: the seek landed there, or the GOP is open
                if expected == len(times) or frame.pts != times[expected]:
                    return
                expected += 1
                if expected == number:
                    yield frame
                    number = next(wanted, None)
                    if number is None:
                        break
            else:
                return

    def _read_index(self):
        """(time stamps of all frames, ascending; those of the key frames, ascending), in ticks of the stream. (None,
        None) where a packet needn't be a frame, or its time stamp doesn't tell which."""
        if self._index is None:
            self._index = self._scan() or (None, None)
        return self._index

    def _scan(self):
        codec = self._stream.codec_context
        # The two fields of an interlaced frame may be a packet each. PyAV 17, the last for Python 3.10, can't tell.
        if ((self._container.format.name, codec.name) not in TIMED
                or getattr(codec, 'field_order', 0) not in PROGRESSIVE):
            return None
        self._rewind()
        times, keys = [], []
        smallest = EMPTY_PICTURE if codec.name == 'mpeg4' else 0
        for packet in self._packets():
            if packet is None or packet.is_corrupt:
                return None
            if packet.size == 0:
                continue     # the last, which only says that there are no more
            if packet.pts is None or packet.size <= smallest:
                return None
            if packet.is_keyframe:
                keys.append(packet.pts)
            if not keys or packet.pts < keys[0]:
                return None  # the first frames need others that are not in the file
            if not packet.is_discard:
                times.append(packet.pts)
        times.sort()
        if not times or keys != sorted(set(keys)) or len(set(times)) < len(times):
            return None
        return times, keys

    # ---- decoding

    def _taken(self):
        """Yields the frames of the file, or those that `rate` takes of them, as av.VideoFrame."""
        frames = self._from_start()
        return at_rate(self._timed(frames), self.rate) if self.rate else frames

    def _numbers_taken(self, times):
        """The numbers, from 1, of the frames that `_taken` yields, by the time stamps of all, in ticks."""
        numbers, tick = range(1, len(times) + 1), self._stream.time_base
        return list(at_rate(((float(times[k - 1] * tick), k) for k in numbers), self.rate)) if self.rate else numbers

    def _timed(self, frames):
        """Yields (seconds, frame); without time stamps by the rate that the container names."""
        seconds, step = -math.inf, 1 / (self.fps or 25)
        for number, frame in enumerate(frames):
            seconds = max(seconds, number * step if frame.time is None else frame.time)
            yield seconds, frame

    def _from_start(self):
        self._rewind()
        self._damage.clear()
        self._times.clear()
        return self._decoded()

    def _rewind(self):
        """Opens the file again, unless nothing was read yet: not every container can seek to its start."""
        if not self._unread:
            self.close()
            self._open()

    def _decoded(self):
        """Yields the frames from the current position to the end, as av.VideoFrame."""
        for packet in self._packets():
            try:
                yield from self._stream.codec_context.decode(packet)
            except av.error.FFmpegError:
                if packet is not None:
                    self._damage['{} packets cannot be decoded'] += 1

    def _packets(self):
        """Yields the packets from the current position on. The last is empty, or None where the file is truncated."""
        self._unread = False
        try:
            for packet in self._container.demux(self._stream):
                if self.patience and time.monotonic() - self._waiting_since > self.patience:
                    raise VideoError(f'the decoder gave no wanted frame in {self.patience:g} s')
                if packet.is_corrupt:
                    self._damage['{} packets are cut short'] += 1
                shown = packet.dts if packet.pts is None else packet.pts
                if packet.size and not packet.is_discard and shown is not None:
                    self._times.append(shown)
                yield packet
        except av.error.InvalidDataError:
            self._damage['the container cannot be read to its end'] += 1
            yield None
        except (av.error.FFmpegError, OSError) as error:
            raise self._error(error, f'cannot be read ({error.strerror or error})') from None

    def _open(self):
        try:
            # 'file:', as FFmpeg would take the "a" of "a:b.avi" for a protocol.
            self._container = av.open('file:' + self.path, metadata_errors='replace')
        except (av.error.FFmpegError, OSError, ValueError) as error:
            raise self._error(error) from error
        self._stream = self._best_stream()
        codec = self._stream and self._stream.codec_context
        if codec is None or not codec.width or not codec.height:
            self.close()
            raise VideoError(what_it_is(self.path))
        if codec.width * codec.height > MAX_PIXELS:
            self.close()
            raise VideoError(f'frames of {codec.width}x{codec.height} px; at most {MAX_PIXELS} pixels are read')
        codec.thread_count = 1
        codec.options = {'max_pixels': str(MAX_PIXELS)}  # of a frame: it may claim another size than the container
        self._unread = True

    def _best_stream(self):
        """The video stream that a player shows, or None. VideoError: the only one is the cover picture of a sound."""
        best, streams = self._container.streams.best('video'), self._container.streams.video
        if best is None or not best.disposition & COVER_PICTURE:
            return best
        moving = [stream for stream in streams if not stream.disposition & COVER_PICTURE]
        if not moving:
            self.close()
            raise VideoError('sound with a cover picture, and no video')
        return moving[0]

    def _error(self, error, message=''):
        """The error to raise for one of opening or reading the file."""
        said = system_errors.failure(self.path, error) if system_errors.is_failure(error) else None
        if said and error.errno == errno.EIO:  # FFmpeg says that, too, where a file just ends
            said = system_errors.failure_in(self.path)
        return UserError(said) if said else VideoError(message or what_it_is(self.path))

    def _picture(self, frame):
        """An av.VideoFrame as uint8 [H, W, 3], upright, in the size that `short_side` asks for."""
        matrix = frame.colorspace
        if matrix == BT2020_CONSTANT:
            note = 'its colour matrix bt2020c was read as bt2020nc, which phones mean by it'
            self.notes += [note] if note not in self.notes else []
            frame.colorspace = BT2020_NONCONSTANT
        size = target_size(*self._coded_size, self.short_side, self.upscale)
        try:
            picture = self._reformatter.reformat(halved(frame, size), format=self.layout, threads=1).to_ndarray()
        except (av.error.FFmpegError, OSError, ValueError) as error:
            raise VideoError(f'its pictures cannot be converted: {frame.format.name}, colour matrix '
                             f'{MATRICES.get(int(matrix), int(matrix))}') from error
        picture = resize(picture, size)
        matrix = frame.side_data.get('DISPLAYMATRIX')
        return picture if matrix is None else as_displayed(picture, np.frombuffer(bytes(matrix), np.int32))


def as_displayed(picture, matrix):
    """Turns and mirrors [H, W, 3] as players do, in quarter turns.

    matrix: int32 [9], a display matrix by rows: of a pixel's (x, y) it makes (a·x + c·y, b·x + d·y) and a shift."""
    a, b, _, c, d = matrix[:5].tolist()
    if abs(b) + abs(c) > abs(a) + abs(d):
        picture, a, d = cv2.transpose(picture), c, b
    if a < 0 or d < 0:
        picture = cv2.flip(picture, -1 if a < 0 and d < 0 else int(a < 0))
    return picture


def runs_between_keys(numbers, times, keys):
    """Cuts ascending frame numbers where a seek saves decoding; yields lists of them. times, keys: those of `_scan`."""
    run = []
    for number in numbers:
        key = keys[bisect.bisect_right(keys, times[number - 1]) - 1]
        if run and bisect.bisect_left(times, key) - run[-1] >= WORTH_SEEKING:
            yield run
            run = []
        run.append(number)
    if run:
        yield run


def what_it_is(path):
    """The reason for a file that the decoder can't open."""
    with open(path, 'rb') as file:
        start = file.read(12)
    if start[:4] == b'RIFF' and start[8:] == b'WEBP':
        return 'an animated WebP picture, which the decoder does not read: convert it to a video'
    return 'no video that the decoder can read; the file may be cut short'


def check_file(path):
    """VideoError: there is no such file, it can't be read, is empty or something else than a file. UserError: the file
    system fails."""
    try:
        info = os.stat(path)
        if not stat.S_ISREG(info.st_mode):
            raise VideoError('not a file')
        with open(path, 'rb'):
            pass
    except OSError as error:
        if system_errors.is_failure(error):
            raise UserError(system_errors.failure(path, error)) from error
        raise VideoError(error.strerror) from error
    if info.st_size == 0:
        raise VideoError('empty file')
