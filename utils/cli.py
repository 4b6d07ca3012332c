"""What every command line of the project shares, without torch: one-line errors, argument types, core counts."""
import argparse
import math
import os


class UserError(Exception):
    """A mistake in the input (file, flag, data set). The message names the file or flag and the remedy."""


class Parser(argparse.ArgumentParser):
    """Ends with one line for a wrong flag, not with the whole usage before it."""

    def error(self, message):
        self.exit(2, f'error: {message} (--help explains every flag)\n')


def number(kind, fits, description):
    """A type for argparse: numbers of a `kind` (int, float) that `fits` accepts; errors ask for `description`."""
    def parse(text):
        try:
            value = kind(text)
        except ValueError:
            value = None
        if value is None or not fits(value):
            raise argparse.ArgumentTypeError(f'{text!r}: give {description}')
        return value

    return parse


positive_int = number(int, lambda value: value > 0, 'a whole number above 0')
whole_number = number(int, lambda value: value >= 0, 'a whole number, 0 or more')
positive = number(float, lambda value: 0 < value < math.inf, 'a number above 0')
not_negative = number(float, lambda value: 0 <= value < math.inf, 'a number, 0 or more')
fraction = number(float, lambda value: 0 <= value <= 1, 'a number from 0 to 1')


def cpu_cores():
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()
