"""Recipes: sets of flags under a name, `recipes/{name}.json`, one for each row of the published results."""
import argparse
import json
import sys

from utils import ROOT

FOLDER = ROOT / 'recipes'


def parse_with_recipe(parser, script, argv=None):
    """Parses `argv` with the flags of `--recipe NAME`, if given, as defaults: flags on the command line win.

    script: 'pretrain' or 'classify', which the recipe must be for. Ends with the parser's error for an unknown recipe.
    """
    parser.add_argument('--recipe', metavar='NAME',
                        help='take defaults from recipes/NAME.json; flags given here override it '
                             f'(for this script: {", ".join(names(script))})')
    argv = sys.argv[1:] if argv is None else argv
    early = argparse.ArgumentParser(add_help=False)
    early.add_argument('--recipe', nargs='?')  # the parser reports a missing value
    name = early.parse_known_args(argv)[0].recipe
    if name is not None:
        if name not in names(script):
            parser.error(f'--recipe {name}: choose one of {", ".join(names(script))}')
        parser.set_defaults(**read(name)['flags'])
    return parser.parse_args(argv)


def read(name):
    """{'script', 'about', 'flags': {flag without dashes: value}}"""
    return json.loads((FOLDER / f'{name}.json').read_text())


def names(script):
    return sorted(file.stem for file in FOLDER.glob('*.json') if read(file.stem)['script'] == script)
