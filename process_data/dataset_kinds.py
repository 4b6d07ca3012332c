"""The kinds of data sets, a table: what --dataset of extract_frames.py and write_csv.py may be.

A new kind is one entry of KINDS and, where none of the functions here reads its split files or annotations, one more:
Given -> ({name of the list: [folder, …]}, [class name, …], {folder: label}), and maybe {folder: group}. A folder is the
path of a video relative to the root, without its extension. Without labels, the class of a video is the name of the
folder around it; without a group, its name tells it (utils.data.groups).
"""
from dataclasses import dataclass
from typing import Callable, NamedTuple, Optional

from process_data.annotations import csv_lists, kinetics_lists
from process_data.split_files import hmdb51_lists, ucf101_lists
from utils.data.groups import group_of
from utils.data.random_split import TEST_SHARE, random_split


class Given(NamedTuple):
    """What write_csv.py was given to make lists from."""
    root: str                         # folder of the frames or video files
    index: Callable[[], dict]         # () -> {folder: …} of the videos in it; the first call may take long
    split_root: Optional[str] = None  # folder of the split files
    annotations: tuple = ()           # paths of csv files
    test_share: float = TEST_SHARE    # of the videos of each class, in a random split
    group_regex: Optional[str] = None
    seed: int = 0


@dataclass(frozen=True)
class Kind:
    """What differs between the kinds of data sets.

    >>> KINDS['ucf101'].needs, KINDS['ucf101'].classes
    ('split_root', 101)
    >>> sorted(name for name, kind in KINDS.items() if not kind.class_folders)
    ['csv', 'demo_unlabelled', 'folder', 'puppets_unlabelled']
    """
    read: Callable[[Given], tuple]  # the lists; it reads split files and annotations before it calls Given.index
    needs: Optional[str] = None     # what must be given: 'split_root' or 'annotations'
    classes: Optional[int] = None   # how many there should be; None: any number
    separator: str = ' '            # between id and name in classInd.txt
    short_sides: tuple = ()         # of the usual frames, px: lists are named by them; the first is the default
    test_share: float = TEST_SHARE  # default of the flag
    class_folders: bool = True      # videos must be stored in class folders
    own_folders: bool = False       # made by experiments/data: all its folders have defaults
    folder_name: bool = False       # the lists are named after the folder of the frames or videos

    def asked_for(self):
        """{flag: words that ask for it} of what write_csv.py needs beside the frames."""
        return {self.needs: {'split_root': '{split files}', 'annotations': '{annotations.csv}'}[self.needs]
                } if self.needs and not self.own_folders else {}


def random_lists(given):
    """The lists of a folder of videos."""
    group = {folder: group_of(folder, given.group_regex) for folder in given.index()}
    return *random_split(group, given.test_share, given.seed), {}


UNLABELLED = Kind(random_lists, test_share=0.05, class_folders=False, own_folders=True)

KINDS = {
    'ucf101': Kind(ucf101_lists, 'split_root', classes=101),
    'hmdb51': Kind(hmdb51_lists, 'split_root', classes=51),
    'k400': Kind(kinetics_lists, 'annotations', classes=400, separator=',', short_sides=(150, 256)),
    'demo': Kind(ucf101_lists, 'split_root', own_folders=True),
    'puppets': Kind(ucf101_lists, 'split_root', own_folders=True),
    'demo_unlabelled': UNLABELLED,
    'puppets_unlabelled': UNLABELLED,
    'folder': Kind(random_lists, class_folders=False, folder_name=True),
    'csv': Kind(csv_lists, 'annotations', class_folders=False, folder_name=True),
}
