"""What a container says about itself and keeps: the frames in its index, and the length of its file."""
import os

AVI, MATROSKA = 'avi', 'matroska,webm'   # FFmpeg's names of containers
MOV = 'mov,mp4,m4a,3gp,3g2,mj2'          # .mp4 and .mov
ASF, ASF_FILE = 'asf', bytes.fromhex('a1dcab8c47a9cf118ee400c00c205365')  # of .wmv; its object with the file's length
EBML_START, SEGMENT = b'\x1a\x45\xdf\xa3', b'\x18\x53\x80\x67'


def promised_frames(container, stream):
    """Frames of a video stream by the index of an .mp4, less those that an edit list cuts off; by the header of an
    .avi, which also counts empty chunks; 0 for other containers, whose durations are estimates."""
    if container.format.name == MOV and len(stream.index_entries):
        return sum(not entry.is_discard for entry in stream.index_entries)
    return stream.frames if container.format.name == AVI else 0


def ends_early(path, container_name):
    """Whether a file is shorter than its own header says. False where the header doesn't: of a recorded stream, say."""
    length_of = {AVI: riff_length, MATROSKA: matroska_length, ASF: asf_length}.get(container_name)
    if length_of is None:
        return False
    with open(path, 'rb') as file:
        return os.fstat(file.fileno()).st_size < length_of(file)


def riff_length(file):
    """Bytes of an .avi, without the 8 that some writers count twice."""
    end, head = 0, file.read(8)
    while len(head) == 8 and head.startswith(b'RIFF'):  # large files have several
        length = int.from_bytes(head[4:], 'little')
        end += 8 + length
        file.seek(end)
        head = file.read(8)
    return end - 8


def asf_length(file):
    """Bytes of a .wmv, 0 if unknown."""
    start = file.read(2 ** 16)
    at = start.find(ASF_FILE)
    return int.from_bytes(start[at + 40:at + 48], 'little') if at >= 0 else 0


def matroska_length(file):
    """Bytes of an .mkv or .webm up to the end of its segment, 0 if unknown."""
    for name in (EBML_START, SEGMENT):
        if file.read(4) != name:
            return 0
        first = file.read(1) or b'\0'
        more = 8 - first[0].bit_length()                # leading zero bits: bytes that follow
        length = int.from_bytes(first + file.read(more), 'big') - (1 << 7 * (more + 1))
        if name == EBML_START:
            file.seek(length, os.SEEK_CUR)
    return 0 if length == (1 << 7 * (more + 1)) - 1 else file.tell() + length
