"""The kinds of data sets, a table: what --dataset of extract_frames.py and write_csv.py may be.

A new kind is one entry of KINDS and, where none of the functions here reads its split files or annotations, one more:
Given -> ({name of the list: [folder, …]}, [class name, …], {folder: label}), and maybe {folder: group}. A folder is the
path of a video relative to the root, without its extension. Without labels, the class of a video is the name of the
folder around it; without a group, its name tells it (utils.data.groups).
"""
from dataclasses import dataclass, field
from functools import partial
from typing import Callable, NamedTuple, Optional

from process_data.annotations import csv_lists, kinetics_lists
from process_data.official_lists import diving48_lists, jester_lists, ssv2_lists
from process_data.split_files import hmdb51_lists, ucf101_lists
from utils.data.groups import group_of
from utils.data.random_split import TEST_SHARE, random_split


class Given(NamedTuple):
    """What write_csv.py was given to make lists from."""
    root: str                         # folder of the frames or video files
    index: Callable[[], dict]         # () -> {folder: …} of the videos in it; the first call may take long
    split_root: Optional[str] = None  # folder of the split files
    annotations: tuple = ()           # paths of csv or json files
    test_share: float = TEST_SHARE    # of the videos of each class, in a random split
    group_regex: Optional[str] = None
    seed: int = 0
    labels: Optional[str] = None      # path of the file with the names of the classes


ASKED_FOR = {'split_root': '{split files}', 'annotations': '{annotations}', 'labels': '{labels}'}


@dataclass(frozen=True)
class Kind:
    """What differs between the kinds of data sets.

    >>> KINDS['ucf101'].needs, KINDS['ucf101'].classes
    (('split_root',), 101)
    >>> sorted(name for name, kind in KINDS.items() if kind.demands.get('flip') == 0)
    ['jester', 'ssv2']
    """
    read: Callable[[Given], tuple]  # the lists; it reads split files and annotations before it calls Given.index
    needs: tuple = ()               # flags that must be given, of 'split_root', 'annotations' and 'labels'
    classes: Optional[int] = None   # how many there should be; None: any number
    separator: str = ' '            # between id and name in classInd.txt
    short_sides: tuple = ()         # of the usual frames, px: lists are named by them; the first is the default
    test_share: float = TEST_SHARE  # default of the flag
    class_folders: bool = True      # videos must be stored in class folders
    own_folders: bool = False       # made by experiments/data: all its folders have defaults
    folder_name: bool = False       # the lists are named after the folder of the frames or videos
    published: dict = field(default_factory=dict)  # {name of the list: number of videos}; README.md has the sources
    demands: dict = field(default_factory=dict)    # what dataset.json tells training, see utils.data.demands

    def asked_for(self):
        """{flag: words that ask for it} of what write_csv.py needs beside the frames."""
        return {} if self.own_folders else {flag: ASKED_FOR[flag] for flag in self.needs}


def random_lists(given):
    """The lists of a folder of videos."""
    group = {folder: group_of(folder, given.group_regex) for folder in given.index()}
    return *random_split(group, given.test_share, given.seed), {}


UNLABELLED = Kind(random_lists, test_share=0.05, class_folders=False, own_folders=True)

# Short sides of 150 and 256 px; the recipe takes every 5th frame.
KINETICS = partial(Kind, kinetics_lists, ('annotations',), separator=',', short_sides=(150, 256))
OFFICIAL = ('annotations', 'labels')

KINDS = {
    'ucf101': Kind(ucf101_lists, ('split_root',), classes=101),
    'hmdb51': Kind(hmdb51_lists, ('split_root',), classes=51),
    'k400': KINETICS(classes=400, demands={'labels': 'Kinetics-400', 'ds': 5}),
    'k600': KINETICS(classes=600, demands={'labels': 'Kinetics-600', 'ds': 5},
                     published={'train_split': 392622, 'val_split': 30001}),
    'k700': KINETICS(classes=700, demands={'labels': 'Kinetics-700', 'ds': 5},
                     published={'train_split': 545317, 'val_split': 35000}),
    'ssv2': Kind(ssv2_lists, OFFICIAL, classes=174, class_folders=False,
                 demands={'labels': 'Something-Something V2', 'flip': 0, 'ds': 1},
                 published={'train_split': 168913, 'val_split': 24777}),
    'diving48': Kind(diving48_lists, OFFICIAL, classes=48, class_folders=False,
                     demands={'labels': 'Diving48 V2', 'ds': 3},
                     published={'train_split': 15027, 'test_split': 1970}),
    'jester': Kind(jester_lists, OFFICIAL, classes=27, class_folders=False,
                   demands={'labels': 'Jester V1', 'flip': 0, 'ds': 1},
                   published={'train_split': 118562, 'val_split': 14787}),
    'demo': Kind(ucf101_lists, ('split_root',), own_folders=True),
    'puppets': Kind(ucf101_lists, ('split_root',), own_folders=True),
    'demo_unlabelled': UNLABELLED,
    'puppets_unlabelled': UNLABELLED,
    'folder': Kind(random_lists, class_folders=False, folder_name=True),
    'csv': Kind(csv_lists, ('annotations',), class_folders=False, folder_name=True),
}
