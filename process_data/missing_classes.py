"""Classes of split files or annotations of which no video is there."""
import os
from collections import Counter


def missing_classes(lists, videos, labels):
    """A line for each such class.

    lists:  {name of a list: [folder, …]}, videos as the split files name them
    videos: {folder: …} of those that are there
    labels: {folder: label}; without, the class of a video is the name of the folder around it

    >>> missing_classes({'train': ['run/a', 'jump/b']}, {'run/a': 1, 'Jump/b': 1}, {})
    ["class jump: none of its 1 videos is there; the folder 'Jump' differs in capitals only: rename it to 'jump'"]
    """
    def class_of(folder):
        return labels.get(folder) or os.path.dirname(folder)

    wanted = {folder for folders in lists.values() for folder in folders}
    there = {class_of(folder) for folder in wanted & videos.keys()}
    lost = Counter(class_of(folder) for folder in wanted if class_of(folder) not in there)
    by_lower = {os.path.dirname(folder).lower(): os.path.dirname(folder) for folder in videos}
    lines = []
    for name, count in sorted(lost.items()):
        similar = by_lower.get(name.lower())
        hint = '' if similar in (None, name) else (f'; the folder {similar!r} differs in capitals only: rename it to '
                                                   f'{name!r}')
        lines.append(f'class {name}: none of its {count} videos is there{hint}')
    return lines
