"""Matplotlib figures inside a page: one <svg> each, the same at every run, whose ids don't clash with another's."""
import html
import io
import re

import matplotlib

from utils.text import printable

# Text stays text: it is found by search, sharp in print, and the browser has letters that matplotlib's font lacks.
STYLE = {'svg.fonttype': 'none', 'font.family': ['sans-serif'], 'font.sans-serif': ['DejaVu Sans']}
NO_METADATA = dict.fromkeys(('Creator', 'Date', 'Format', 'Type'))


def inline_svg(figure, name, label):
    """The figure as HTML. name: of this chart, unlike any other's on the page. label: its alt text."""
    file = io.StringIO()
    with matplotlib.rc_context({**STYLE, 'svg.hashsalt': name}):  # ids of clip paths and markers follow from the salt
        figure.savefig(file, format='svg', metadata=NO_METADATA)
    head, body = re.search(r'<svg ([^>]*)>(.*)', file.getvalue(), flags=re.DOTALL).groups()
    body = re.sub(r' id="[a-z0-9.]+_\d+"', '', body)              # of groups: the same in every figure, and unused
    box, = re.findall(r'viewBox="([^"]*)"', head)
    name, label = (html.escape(printable(text)) for text in (name, label))
    return f'<svg viewBox="{box}" role="img" data-name="{name}" aria-label="{label}">{body}'
