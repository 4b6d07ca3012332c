"""Whether a video file was cut short: its container announces more frames than can be decoded."""
import av

MOV = 'mov,mp4,m4a,3gp,3g2,mj2'  # FFmpeg's name of the container of .mp4 and .mov


def announced_frames(container, stream, fps):
    """Frames that the container of an open file promises for a video stream, or 0 where it doesn't say."""
    if container.format.name == MOV and len(stream.index_entries):
        return sum(not entry.is_discard for entry in stream.index_entries)  # less those that an edit list cuts off
    if stream.frames:
        return stream.frames
    seconds = (float(stream.duration * stream.time_base) if stream.duration else
               (container.duration or 0) / av.time_base)
    return max(0, int(seconds * fps + 0.5))


def is_truncated(announced, decoded):
    """Whether `decoded` frames are fewer than announced: the file was cut short, or is damaged.

    >>> is_truncated(announced=101, decoded=50), is_truncated(announced=0, decoded=50)
    (True, False)
    """
    return decoded < announced
