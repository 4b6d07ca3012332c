"""Clips per second of the input pipeline against the plain way, alternating in the same run.

    python -m benchmarks.input_pipeline                    one core, with and without colour; the whole loader
    python -m benchmarks.input_pipeline --device cuda      the whole loader with colour on the GPU
    python -m benchmarks.input_pipeline --storage          loose and packed frames, from a cold and a warm page cache
    python -m benchmarks.input_pipeline --source frames packed video    what a list may name (benchmarks/sources.py)

The plain way is PIL throughout: open, convert, crop, resize, grey and torchvision's colour jitter frame by frame, float
tensors, normalisation. Generated frames: 150×266 JPEGs of quality 80 (Kinetics at short side 150) of moving textures. A
clip is 8 blocks of 5 frames, every 5th frame, at 128 px, augmented as in pretraining.
Expectations and findings are in benchmarks/NOTES.md.
"""
import multiprocessing
import os
import random
import statistics
import tempfile
import time
import zipfile
from concurrent.futures import ProcessPoolExecutor

import cv2
import numpy as np
import torch
import torchvision.transforms.functional as F
from PIL import Image

from benchmarks import sources
from benchmarks.flags import make_parser, parse, write_json
from utils.cli import positive_int, whole_number
from utils.data.batches import ClipBatches
from utils.data.clips import Clip, ClipDataset
from utils.data.colour import PRETRAINING, to_block
from utils.data.crops import draw_box
from utils.data.lists import VideoList
from utils.parallel.gpus import choose_device
from utils.parallel.precision import Precision
from utils.video.frames import frame_name

NUM_SEQ, SEQ_LEN, DS = 8, 5, 5
HEIGHT, WIDTH = 150, 266  # px


def make_videos(root, count, n_frames, height=HEIGHT, width=WIDTH, seed=0):
    """Writes `count` videos of `n_frames` JPEGs under `root` -> VideoList."""
    paths = [os.path.join(root, f'class{i % 4}', f'video{i:04d}') for i in range(count)]
    with ProcessPoolExecutor() as pool:
        for done in [pool.submit(make_video, path, n_frames, height, width, seed + i) for i, path in enumerate(paths)]:
            done.result()
    os.sync()  # only pages that are on disk can be dropped from the cache
    return VideoList.from_rows(paths, [n_frames] * count)


def make_video(path, n_frames, height, width, seed):
    """A view that pans over a texture with detail at all scales, as photographs have, under a little noise."""
    cv2.setNumThreads(0)
    rng = np.random.default_rng(seed)
    large = (height + n_frames, width + n_frames)
    texture = np.zeros((*large, 3), np.float32)
    for scale in (2, 4, 8, 16, 32, 64):
        noise = rng.normal(size=(large[0] // scale + 2, large[1] // scale + 2, 3)).astype(np.float32)
        texture += scale ** 0.7 * cv2.resize(noise, large[::-1], interpolation=cv2.INTER_CUBIC)
    texture = 128 + 45 * texture / texture.std()
    os.makedirs(path)
    for i in range(n_frames):
        frame = texture[i:i + height, i // 2:i // 2 + width] + rng.normal(scale=2, size=(height, width, 1))
        cv2.imwrite(os.path.join(path, frame_name(i + 1)), np.clip(frame, 0, 255).astype(np.uint8),
                    [cv2.IMWRITE_JPEG_QUALITY, 80])


def pack(videos, root):
    """Copies each video's frames into an uncompressed zip under `root` -> VideoList."""
    paths = [os.path.join(root, f'class{i % 4}', f'video{i:04d}') for i in range(len(videos))]
    for source, path in zip(videos.paths(), paths):
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with zipfile.ZipFile(path + '.zip', 'w', zipfile.ZIP_STORED) as archive:
            for name in sorted(os.listdir(source)):
                archive.write(os.path.join(source, name), name)
    os.sync()
    return VideoList.from_rows(paths, videos.n_frames)


def plain_clip(path, n_frames, img_dim, rng):
    """One clip of the plain way, normalised float32 [N, C, T, H, W]."""
    start = int(rng.integers(n_frames - NUM_SEQ * SEQ_LEN * DS + 1))
    names = [os.path.join(path, frame_name(1 + start + DS * i)) for i in range(NUM_SEQ * SEQ_LEN)]
    images = [Image.open(name).convert('RGB') for name in names]
    box = draw_box(rng, images[0].height, images[0].width, 'resized')
    flip = rng.random() < 0.5
    tensors = []
    for image in images:
        image = image.crop((box.left, box.top, box.left + box.width, box.top + box.height))
        image = image.resize((img_dim, img_dim), Image.BILINEAR)
        if flip:
            image = image.transpose(Image.FLIP_LEFT_RIGHT)
        if rng.random() < 0.5:
            channel = np.array(image)[:, :, rng.integers(3)]
            image = Image.fromarray(np.dstack([channel] * 3))
        jitter = [(F.adjust_brightness, rng.uniform(.5, 1.5)), (F.adjust_contrast, rng.uniform(.5, 1.5)),
                  (F.adjust_saturation, rng.uniform(.5, 1.5)), (F.adjust_hue, rng.uniform(-.25, .25))]
        random.shuffle(jitter)
        for adjust, factor in jitter:
            image = adjust(image, factor)
        tensors.append(F.normalize(F.to_tensor(image), [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
    clip = torch.stack(tensors)
    return clip.view(NUM_SEQ, SEQ_LEN, 3, img_dim, img_dim).transpose(1, 2)


def in_turns(ways, rounds, clips):
    """Median clips/s of each way. ways: {name: function that makes one clip}; they alternate in every round."""
    rates = {name: [] for name in ways}
    for way in ways.values():
        way()
    for _ in range(rounds):
        for name, way in ways.items():
            start = time.perf_counter()
            for _ in range(clips):
                way()
            rates[name].append(clips / (time.perf_counter() - start))
    return {name: statistics.median(values) for name, values in rates.items()}


def per_core(loose, ours, img_dim, rounds, clips):
    """Clips/s of one process with one thread: {'plain', 'ours, workers only', 'ours, with colour'}."""
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    dataset = pretraining_clips(ours, img_dim)
    rng = np.random.default_rng(0)

    def plain():
        i = rng.integers(len(loose))
        return plain_clip(loose.path(i), int(loose.n_frames[i]), img_dim, rng)

    def workers():
        return dataset.__getitems__([(int(rng.integers(1 << 30)), int(rng.integers(len(ours))))])

    def with_colour():
        batch = workers()
        return to_block(batch['frames'], batch['colour'], NUM_SEQ)

    ways = {'plain': plain, 'ours, workers only': workers, 'ours, with colour': with_colour}
    return in_turns(ways, rounds, clips)


def pretraining_clips(videos, img_dim):
    return ClipDataset(videos, Clip(NUM_SEQ, SEQ_LEN, DS, img_dim), 'resized', colour=PRETRAINING)


def through_loader(videos, img_dim, device, batch_size, num_workers, seconds):
    """(clips/s, share of time waited for workers) of the whole loader with colour on `device`, once it runs."""
    batches_per_epoch = 1000  # the epoch must outlast the measurement
    many = videos.select(np.arange(batches_per_epoch * batch_size) % len(videos))
    dataset = pretraining_clips(many, img_dim)
    chosen = choose_device('0' if device == 'cuda' else 'cpu')  # as training does
    precision = Precision('bf16' if device == 'cuda' else 'off', chosen)
    batches = ClipBatches(dataset, batch_size, True, precision, num_workers, compiled=device == 'cuda')
    clips = waited = 0
    start = None
    for i, batch in enumerate(batches.epoch(0)):
        if i > 2 * num_workers:  # past start-up, and the batches read during compilation
            start = start or time.perf_counter()
            if time.perf_counter() - start > seconds:
                break
            clips += len(batch.block)
            waited += batch.wait_seconds
        if device == 'cuda':
            torch.cuda.synchronize()
    elapsed = time.perf_counter() - start
    return clips / elapsed, waited / elapsed


def storage(videos, img_dim):
    """Reads each video once, from a cold, then a warm page cache: {files, MB, cold, warm (clips/s)}."""
    dataset = pretraining_clips(videos, img_dim)
    files = [path + '.zip' for path in videos.paths() if not os.path.isdir(path)]
    files += [entry.path for path in videos.paths() if os.path.isdir(path) for entry in os.scandir(path)]
    result = {'files': len(files), 'MB': sum(os.path.getsize(file) for file in files) / 1e6}
    for file in files:
        descriptor = os.open(file, os.O_RDONLY)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)
    for state in ('cold', 'warm'):
        start = time.perf_counter()
        for i in range(len(videos)):
            dataset[0, i]
        result[state] = len(videos) / (time.perf_counter() - start)
    return result


def lists_of(chosen, loose, root):
    """{name: VideoList} of the sources that `--source` chooses."""
    lists = {'frames': loose} if 'frames' in chosen else {}
    if 'packed' in chosen:
        lists['packed'] = pack(loose, os.path.join(root, 'packed'))
    if 'video' in chosen:
        lists |= {kind: sources.encode(loose, root, kind) for kind in sources.FILES}
    return lists


def parse_args(argv=None):
    parser = make_parser(__doc__)
    parser.add_argument('--img_dim', type=int, default=128, help='px, output size (default 128)')
    parser.add_argument('--videos', type=int, default=48, help='videos to generate (default 48)')
    parser.add_argument('--frames', type=int, default=220, help='frames of each video, at least 200 (default 220)')
    parser.add_argument('--rounds', type=int, default=9, help='alternating rounds; the median is reported (default 9)')
    parser.add_argument('--clips', type=int, default=8, help='clips of each way per round (default 8)')
    parser.add_argument('--packed', action='store_true', help='ours reads zip files (default: folders)')
    parser.add_argument('--storage', action='store_true', help='also loose and packed frames, cold and warm')
    parser.add_argument('--source', nargs='+', choices=['frames', 'packed', 'video'],
                        help='compare only these sources, on one core (default: off)')
    parser.add_argument('--batch_size', type=positive_int, default=32,
                        help='clips per batch of the loader run (default 32)')
    parser.add_argument('--num_workers', type=whole_number, default=os.cpu_count(),
                        help='workers of the loader run (default: all cores)')
    parser.add_argument('--seconds', type=float, default=20, help='s, length of the loader run (default 20; 0: none)')
    return parse(parser, argv)


def main(args):
    results = {'opencv': cv2.__version__}
    with tempfile.TemporaryDirectory() as root:
        loose = make_videos(os.path.join(root, 'loose'), args.videos, args.frames)
        if args.source:
            results['sources'] = sources.compare(lists_of(args.source, loose, root), in_turns, args.rounds, args.clips)
            write_json(args, results)
            return
        packed = pack(loose, os.path.join(root, 'packed')) if args.packed or args.storage else None
        ours = packed if args.packed else loose

        if args.seconds:
            # In a process of its own: it is set up as in training, which must not change the plain way.
            with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context('spawn')) as pool:
                rate, waited = pool.submit(through_loader, ours, args.img_dim, args.device, args.batch_size,
                                           args.num_workers, args.seconds).result()
            results['loader'] = {'clips/s': rate, 'share waited for workers': waited}
            print(f'loader, {args.num_workers} workers, colour on {args.device}: {rate:.1f} clips/s, '
                  f'{waited:.0%} of the time spent waiting for workers (nothing trains here)')

        rates = per_core(loose, ours, args.img_dim, args.rounds, args.clips)
        ratios = {name: rate / rates['plain'] for name, rate in rates.items()}
        results['one core'] = {'clips/s': rates, 'times plain': ratios}
        print('one core                  clips/s   times plain')
        for name, rate in rates.items():
            print(f'  {name:22} {rate:8.1f}   {ratios[name]:8.2f}')

        if args.storage:
            results['storage'] = {'loose': storage(loose, args.img_dim), 'packed': storage(packed, args.img_dim)}
            print('one worker, clips/s          cold       warm      files    MB')
            for name, row in results['storage'].items():
                print(f'  {name:22} {row["cold"]:8.1f}   {row["warm"]:8.1f}   {row["files"]:8}  {row["MB"]:6.1f}')
    write_json(args, results)


if __name__ == '__main__':
    main(parse_args())
