"""What log.jsonl of a run says: its records, how the run ended, durations in words."""
import contextlib
import json
import os
import re
import socket
import time

SILENT_SECONDS = 600  # a run on another machine that logged nothing for so long is taken for dead


def read_records(log):
    """The lines of a log.jsonl; one that was cut short by a kill, or is of something else, is left out."""
    records = []
    for line in log.read_text(errors='replace').splitlines():
        with contextlib.suppress(json.JSONDecodeError):
            records.append(json.loads(line))
    return [record for record in records if isinstance(record, dict) and 'kind' in record]


def state(records, log):
    """How the run ended, or whether it still runs: known for sure on its own machine only."""
    if records and records[-1]['kind'] == 'end':
        how = records[-1]['how']
        stopped = re.match(r'stopped by \w+', how)
        return stopped[0] + resume_advice(log.parent) if stopped else how
    start = next((record for record in reversed(records) if record['kind'] == 'start'), None)
    if start and start['host'] == socket.gethostname():
        return 'running' if is_alive(start['pid']) else f'killed{resume_advice(log.parent)}'
    return 'running' if time.time() - log.stat().st_mtime < SILENT_SECONDS else 'silent; killed?'


def resume_advice(folder):
    """'; resume with --resume …' from the newest checkpoint by name: last.pth.tar goes when its epoch is saved."""
    epochs = {int(match[1]): match[0] for match in (re.fullmatch(r'epoch(\d+)\.pth\.tar', path.name)
                                                    for path in (folder / 'model').glob('epoch*')) if match}
    name = 'last.pth.tar' if (folder / 'model' / 'last.pth.tar').exists() else epochs.get(max(epochs, default=None))
    return f'; resume with --resume {folder / "model" / name}' if name else ''


def is_alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # another user's
        pass
    return True


def duration(seconds):
    """'45s', '12m', '3h20m' or '2d4h'"""
    seconds = int(seconds)
    if seconds < 60:
        return f'{seconds}s'
    if seconds < 3600:
        return f'{seconds // 60}m'
    if seconds < 86400:
        return f'{seconds // 3600}h{seconds % 3600 // 60:02d}m'
    return f'{seconds // 86400}d{seconds % 86400 // 3600}h'
