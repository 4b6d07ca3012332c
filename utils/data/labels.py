"""The label of a video in a list: the name of a class, or several names with ';' between them."""
import re

SEPARATOR = ';'
CONTROL = re.compile(r'[\x00-\x08\x0a-\x1f]')  # all but the tab; line breaks would split messages


def names_in(label):
    """The class names in a label, in their order, as a tuple."""
    return tuple(name.strip() for name in label.split(SEPARATOR))


def is_label(text):
    """Whether a text is a label: none of its names is empty, and it is one line."""
    return all(names_in(text)) and text.splitlines() == [text] and not CONTROL.search(text)
