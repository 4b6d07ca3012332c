"""Reading many clips of many video files: memory and open files stay what they were."""
import os
import shutil

import pytest

from tests.films import film, write_film
from utils.data.clips import Clip, ClipDataset
from utils.data.lists import VideoList

PAGE = os.sysconf('SC_PAGE_SIZE')
ROUNDS = 10


def memory():
    """Resident memory of this process, bytes."""
    with open('/proc/self/statm') as file:
        return int(file.read().split()[1]) * PAGE


@pytest.mark.parametrize('files, clips', [
    (20, 400), pytest.param(1000, 10_000, marks=pytest.mark.soak)])
def test_memory_and_open_files_are_flat(tmp_path, files, clips):
    """A tenth of the files breaks off or is no video; those raise and must be closed, too."""
    kinds = [write_film(tmp_path / 'h264.mp4', film(40, 64, 48), options={'g': '12', 'bf': '2'}),
             write_film(tmp_path / 'mpeg4.avi', film(40, 64, 48), 'mpeg4', options={'b': '3000000'}),
             write_film(tmp_path / 'stream.ts', film(40, 64, 48)),
             write_film(tmp_path / 'vp9.webm', film(40, 64, 48), 'libvpx-vp9',
                        options={'deadline': 'realtime', 'cpu-used': '8'})]
    paths = []
    for i in range(files):
        source = kinds[i % len(kinds)]
        paths.append(str(shutil.copy(source, tmp_path / f'{i:04d}{os.path.splitext(source)[1]}')))
        if i % 10 == 7:
            os.truncate(paths[-1], os.path.getsize(paths[-1]) // (2 if i % 20 == 7 else 9))
    dataset = ClipDataset(VideoList.from_rows(paths, [40] * files), Clip(3, 2, 4, 32), 'resized')
    resident, opened = [], []
    for part in range(ROUNDS):
        for k in range(clips // ROUNDS):
            dataset[part, k % files]
        resident.append(memory())
        opened.append(len(os.listdir('/proc/self/fd')))
    print(f'{clips} clips of {files} files: resident MB {[round(value / 2 ** 20, 1) for value in resident]}, '
          f'open files {opened}')
    assert len(set(opened)) == 1
    # After the first rounds, which fill the allocator's pools; a decoder that leaks costs over 100 kB a clip.
    assert max(resident[5:]) - max(resident[:5]) < 8 * 2 ** 20, resident
