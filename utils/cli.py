"""Shared by all command lines, without torch: one-line errors, argument types, core counts."""
import argparse
import difflib
import math
import os
import re
import sys

from utils import system_errors


class UserError(Exception):
    """A mistake in the input (file, flag, data set). The message names the file or flag and the remedy."""


def prepare_output():
    """Makes stdout and stderr fit for any text: what their encoding lacks is escaped, and a closed one (`>&-`) drops
    it."""
    for name in ('stdout', 'stderr'):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, 'w'))
        elif hasattr(stream, 'reconfigure'):
            stream.reconfigure(errors='backslashreplace')


class Parser(argparse.ArgumentParser):
    """Reports a wrong flag in one line, without the usage text. Every command begins with one."""
    words = ()

    def __init__(self, *args, **options):
        prepare_output()
        super().__init__(*args, **options)

    def parse_known_args(self, args=None, namespace=None):
        self.words = sys.argv[1:] if args is None else args
        return super().parse_known_args(args, namespace)

    def error(self, message):
        # A misspelled flag is also one that is missing, which argparse reports first.
        words = self.words[:self.words.index('--')] if '--' in self.words else self.words
        flags = [word.split('=')[0] for word in words if word.startswith('--')]
        known = list(self._option_string_actions)
        unknown = [flag for flag in flags if flag not in known
                   and not (self.allow_abbrev and any(name.startswith(flag) for name in known))]
        files = [word for word in words if word.startswith('-') and os.path.lexists(word)]
        stray = re.fullmatch('unrecognized arguments: (.*)', message)
        if stray and '--dataset' in known and os.path.exists(stray[1]):
            message += f'; give a data set, or a folder of videos, as --dataset {stray[1]}'
        if files:
            message = f'the file name {files[0]} begins with a dash, as flags do: write ./{files[0]}'
        elif unknown:
            begun = [name for name in known if name.startswith(unknown[0])]
            close = begun or difflib.get_close_matches(unknown[0], known, n=1)
            message = f'there is no flag {unknown[0]}' + (f'; did you mean {close[0]}?' if close else '')
        self.exit(2, f'error: {message} (--help explains every flag)\n')


def run_cli(main, args):
    """Calls main(args) and exits with the status it returns; a UserError becomes one line and status 2."""
    try:
        sys.exit(main(args))
    except UserError as error:
        print(f'error: {error}', file=sys.stderr)
        sys.exit(2)
    except OSError as error:
        said = system_errors.in_one_line(error)
        if said is None:
            raise
        print(f'error: {said}', file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print('interrupted; run the same command again to continue', file=sys.stderr)
        sys.exit(130)


def warn(message):
    print(f'warning: {message}', file=sys.stderr)


def make_folder(path, flag):
    """Makes the folder that a flag names, with those above it. UserError: it can't be made."""
    try:
        os.makedirs(path, exist_ok=True)
    except OSError as error:
        raise UserError(f'{flag} {path}: cannot make this folder ({error.strerror})') from error


def beside(path, fits=lambda path: True):
    """For an error about what should be a file: '; in it: a, b' of a folder, '; beside it: a, b' with similar names of
    a missing file, '' without any. fits: path -> whether to name it."""
    folder, name = (path, '') if os.path.isdir(path) else os.path.split(path)
    try:
        there = sorted(each for each in os.listdir(folder or '.')
                       if not each.startswith('.') and fits(os.path.join(folder, each)))
    except OSError:
        return ''
    found = difflib.get_close_matches(name, there, n=3, cutoff=0.4) if name else there[:3]
    return f'; {"beside" if name else "in"} it: {", ".join(found)}' if found else ''


def number(kind, fits, description):
    """Argument type: a number of type `kind` (int, float) for which `fits` is true. Errors ask for `description`."""
    def parse(text):
        try:
            value = kind(text)
        except ValueError:
            value = None
        if value is None or not fits(value):
            raise argparse.ArgumentTypeError(f'{text!r}: give {description}')
        return value

    return parse


LARGEST = 2 ** 31 - 1  # fits in int32 everywhere
positive_int = number(int, lambda value: 0 < value <= LARGEST, 'a whole number above 0, below 2^31')
whole_number = number(int, lambda value: 0 <= value <= LARGEST, 'a whole number, 0 or more, below 2^31')
positive = number(float, lambda value: 0 < value < math.inf, 'a number above 0')
not_negative = number(float, lambda value: 0 <= value < math.inf, 'a number, 0 or more')
fraction = number(float, lambda value: 0 <= value <= 1, 'a number from 0 to 1')
positive_fraction = number(float, lambda value: 0 < value <= 1, 'a number above 0, at most 1')


def positive_int_or_all(text):
    return 'all' if text == 'all' else number(int, lambda value: 0 < value <= LARGEST, 'a whole number, or all')(text)


def cpu_cores():
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()
