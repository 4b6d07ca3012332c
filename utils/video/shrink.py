"""How pictures shrink: by 2×2 means as often as possible, large ones before their colours are converted. No torch."""
import av
import cv2
import numpy as np

PLANAR = ('yuv420p', 'yuvj420p')   # 8 bits, a plane of brightness and two of colour at half its size


def target_size(width, height, short_side, upscale=False):
    """Size with the given short side (px, 0 keeps the size) and the same aspect ratio; enlarged only with `upscale`."""
    if not short_side or (min(width, height) <= short_side and not upscale):
        return width, height
    scale = short_side / min(width, height)
    return max(1, round(width * scale)), max(1, round(height * scale))


def resize(frame, size):
    """[H, W, 3] -> [h, w, 3] with size = (w, h). Halves by 2×2 means as often as possible, the rest is bilinear.

    Aliases hardly more than an area filter at any ratio, in a fraction of the time (benchmarks/extract.py).
    """
    width, height = size
    while frame.shape[1] >= 2 * width and frame.shape[0] >= 2 * height:
        half = frame.shape[1] // 2, frame.shape[0] // 2
        # OpenCV is fast only for an exact factor of two, so an odd last row or column is dropped.
        frame = cv2.resize(frame[:2 * half[1], :2 * half[0]], half, interpolation=cv2.INTER_AREA)
    if (frame.shape[1], frame.shape[0]) != size:
        frame = cv2.resize(frame, size, interpolation=cv2.INTER_LINEAR)
    return frame


def halved(frame, size):
    """An av.VideoFrame for `resize` to size = (w, h) with fewer pixels to convert to RGB.

    The planes are halved by 2×2 means as long as those of colour stay as large as `size`, which differs from halving
    RGB by half a grey level on average. Frames of other formats and sizes are returned as they are."""
    width, height = size
    times = 0
    while frame.width >> times + 2 >= width and frame.height >> times + 2 >= height:
        times += 1
    if not times or frame.format.name not in PLANAR or frame.width % (2 << times) or frame.height % (2 << times):
        return frame
    small = av.VideoFrame(frame.width >> times, frame.height >> times, frame.format.name)
    small.colorspace, small.color_range = frame.colorspace, frame.color_range
    for source, target in zip(frame.planes, small.planes):
        plane = pixels_of(source)
        for _ in range(times - 1):
            plane = cv2.resize(plane, (plane.shape[1] // 2, plane.shape[0] // 2), interpolation=cv2.INTER_AREA)
        cv2.resize(plane, (target.width, target.height), dst=pixels_of(target), interpolation=cv2.INTER_AREA)
    return small


def pixels_of(plane):
    """The memory of a plane, uint8 [h, w]."""
    return np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)[:, :plane.width]
