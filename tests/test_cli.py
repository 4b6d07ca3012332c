"""What all command lines share: flags and file names that look like flags, and output that can't be shown."""
import io
import os
import sys

import pytest

from tests import forked
from utils.cli import Parser, prepare_output

NAMES = ['-0aB_x.mp4', '--x9.mp4', '-m']


def said(capsys, *words):
    """The error of a parser of one flag and file names."""
    parser = Parser()
    parser.add_argument('files', nargs='*')
    parser.add_argument('--every', type=int)
    with pytest.raises(SystemExit) as end:
        parser.parse_args(list(words))
    assert end.value.code == 2
    return capsys.readouterr().err


@pytest.mark.parametrize('name', NAMES)
def test_a_file_name_with_a_leading_dash(tmp_path, monkeypatch, capsys, name):
    (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    expected = f'error: the file name {name} begins with a dash, as flags do: write ./{name} (--help explains every flag)\n'
    assert said(capsys, 'b.mp4', name) == said(capsys, name, 'b.mp4', '--every', '3') == expected


def test_what_follows_a_double_dash_is_no_flag(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for name in NAMES:
        (tmp_path / name).touch()
    assert said(capsys, '--every', 'x', '--', *NAMES) == (
        "error: argument --every: invalid int value: 'x' (--help explains every flag)\n")
    assert 'there is no flag --evry; did you mean --every?' in said(capsys, '--evry', '3', '--', *NAMES)


@pytest.mark.parametrize('encoding', ['ascii', 'latin-1'])
def test_what_a_terminal_cannot_show_is_escaped(monkeypatch, encoding):
    for name in ('stdout', 'stderr'):
        monkeypatch.setattr(sys, name, io.TextIOWrapper(io.BytesIO(), encoding))
    Parser()
    for stream in (sys.stdout, sys.stderr):
        print('10–20 класс \udcff', file=stream, flush=True)
        assert stream.buffer.getvalue().startswith(b'10\\u201320 \\u043a')


def test_a_closed_stream_drops_what_is_written(monkeypatch):
    for name in ('stdout', 'stderr'):
        monkeypatch.setattr(sys, name, None)
    prepare_output()
    print('nowhere')
    print('nowhere', file=sys.stderr, flush=True)


def test_help_on_an_ascii_terminal():
    done = forked.run(['process_data/extract_frames.py', '--help'], env={**os.environ, 'PYTHONIOENCODING': 'ascii'})
    assert done.returncode == 0 and '{video_root}/\\u2026/{class}' in done.stdout and not done.stderr
