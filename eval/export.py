"""Writes a network from a checkpoint as ONNX or torch.export, checked against PyTorch, or as a folder to share."""
import importlib.util
import json
import os
import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import utils.packages

import torch

from backbone import NETWORKS
from eval.networks.exportable_gru import scanned
from eval.networks.load import is_classifier, load_model
from eval.networks.settings import resolve_settings, trained_settings
from eval.networks.weights import files_behind, hash_of
from eval.page.model_card import model_card
from eval.page.run_facts import results_of, training_facts
from utils import ROOT
from utils.arguments import FOLLOWS, add_model_arguments
from utils.checkpoint import parameters_among, plain_names, read_checkpoint, weights_in
from utils.cli import Parser, UserError, make_folder, positive_int, run_cli
from utils.default_settings import default_settings
from utils.model_folder import packed, safetensors_torch, write_model_folder
from utils.next_step import line_of, say_next

KINDS = '.onnx', '.pt2'
ONNX_PACKAGES = 'onnx', 'onnxruntime', 'onnxscript'
BATCHES = 1, 3
TOLERANCE = 1e-4    # relative to the largest output, or absolute where that is below 1
MOST = 4096         # clips in a batch and blocks in a clip of a .pt2 file
FACTS = 'dpc.json'  # the facts in a .pt2 file


def parse_args(argv=None):
    parser = Parser(description=__doc__, allow_abbrev=False)
    parser.add_argument('--weights', required=True, metavar='FILE',
                        help='checkpoint or model folder; of a classifier: clips to logits, of pretraining: clips to '
                             'their context')
    parser.add_argument('--out', required=True, metavar='FILE|FOLDER/',
                        help='.onnx (needs the packages of requirements-export.txt), .pt2 (torch.export), or a new '
                             'model folder (needs safetensors): weights, config.json and a model card')
    parser.add_argument('--results', nargs='+', metavar='FOLDER',
                        help='of a model folder: --out folders of eval/frozen.py or eval/attentive.py whose tables go '
                             'into the card (default: the one beside the log_ folder of the run, if a single one is '
                             'about these weights)')
    model = add_model_arguments(parser, None, NETWORKS, FOLLOWS)
    model.add_argument('--ds', type=positive_int, help=f'every ds-th frame is meant for the input ({FOLLOWS} 3)')
    model.add_argument('--allow_other_settings', action='store_true',
                       help='let these flags differ from what the checkpoint was trained with')
    parser.set_defaults(net=None, img_dim=None, num_seq=None, seq_len=None, fps=None)
    args = parser.parse_args(argv)
    check_out(parser, args)
    return args


def check_out(parser, args):
    """Ends the program where --out can't be written, or other flags don't fit it."""
    out = Path(args.out)
    if not is_folder(args.out):
        if out.suffix not in KINDS or out.is_dir():
            parser.error(f'--out {out}: give a file that ends in {" or ".join(KINDS)}, or a folder: {out}/')
        if args.results:
            parser.error('--results is for the card of a model folder: give --out a folder')
        return
    if os.path.lexists(out) and (not out.name or not out.is_dir() or any(out.iterdir())):
        parser.error(f'--out {out} is there already: remove it, or give a new folder')
    given = [name for name in ('net', 'img_dim', 'num_seq', 'seq_len', 'ds') if getattr(args, name) is not None]
    if given:
        parser.error(f'--{given[0]}: a model folder keeps the settings of the checkpoint; leave it out')


def is_folder(out):
    """Whether --out means a model folder: it ends in a slash, or has no ending. A number is none: dpc-v1.0"""
    return out.endswith('/') or not re.match(r'\.[A-Za-z]', Path(out).suffix)


def main(args):
    if is_folder(args.out):
        export_folder(args)
    else:
        export_program(args)


def export_folder(args):
    safetensors_torch()  # before any work
    checkpoint = read_checkpoint(args.weights)
    kind = 'classifier' if is_classifier(checkpoint) else 'features'
    model = load_model(kind, args.weights, batch_statistics=True)  # UserError: weights that can't be used
    state_dict = plain_names(weights_in(checkpoint))
    about = {name: value for name, value in facts_of(model, kind, args.weights).items()
             if name not in ('weights', 'class_names')}
    about.update(kind=kind, feature_size=model.backbone.feature_size,
                 parameters=sum(state_dict[name].numel() for name in parameters_among(state_dict)),
                 batch_norm_statistics=any(name.endswith('running_mean') for name in state_dict))
    config, weights = packed(checkpoint, state_dict,
                             {'model': about, 'training': training_facts(args.weights, checkpoint)})
    hashes = {config['sha256'], config['training']['checkpoint']['sha256'], hash_of(files_behind(args.weights))}
    results = results_of(args.weights, hashes, args.results)
    out = Path(args.out)
    write_model_folder(out, config, weights, model_card(out.absolute().name, config, len(weights), results))
    print(f'written to {out}: model.safetensors ({len(weights) / 1e6:.1f} MB, all {len(state_dict)} tensors of the '
          'checkpoint), config.json and README.md, its card; it takes the place of a checkpoint')
    entry = 'dpc_classifier' if kind == 'classifier' else 'dpc_features'
    repository, weights = map(json.dumps, map(str, (ROOT, out)))
    load = f'torch.hub.load({repository}, "{entry}", source="local", weights={weights})'
    say_next(line_of(['-c', f'import torch; print({load})'], {}))


def export_program(args):
    out = Path(args.out)
    lacking = [name for name in ONNX_PACKAGES if out.suffix == '.onnx' and importlib.util.find_spec(name) is None]
    if lacking:
        raise UserError(f'--out {out}: needs the package {", ".join(lacking)}: pip install -r requirements-export.txt, '
                        'or give a .pt2 file, which needs none')
    make_folder(out.parent, '--out')
    checkpoint = read_checkpoint(args.weights)
    resolve_settings(args, trained_settings(checkpoint), default_settings(''), args.weights)
    kind = 'classifier' if is_classifier(checkpoint) else 'features'
    model = load_model(kind, args.weights, net=args.net, img_dim=args.img_dim, num_seq=args.num_seq,
                       seq_len=args.seq_len, ds=args.ds).requires_grad_(False)
    facts = facts_of(model, kind, args.weights)

    program = export(model, example(args, 2, args.num_seq))
    temporary = out.with_name(f'{out.stem}.tmp{out.suffix}')
    try:
        write, read = (write_onnx, read_onnx) if out.suffix == '.onnx' else (write_pt2, read_pt2)
        write(program, temporary, facts)
        print(f'{facts["input"]} -> {facts["output"]}, any B and N')
        check(model, read(temporary), args)
        os.replace(temporary, out)
    except OSError as error:
        raise UserError(f'--out {out}: cannot write it ({error.strerror})') from error
    finally:
        temporary.unlink(missing_ok=True)
    print(f'written to {out}: {out.stat().st_size / 1e6:.1f} MB; the preprocessing is in its metadata')
    load = f'torch.export.load({str(out)!r})' if out.suffix == '.pt2' else f'onnxruntime.InferenceSession({str(out)!r})'
    say_next(line_of(['-c', f'import {load.split(".")[0]}; print({load})'], {}))


def example(args, batch, blocks):
    """Clips [batch, blocks, 3, T, H, W] of noise."""
    random = torch.Generator().manual_seed(batch)
    return torch.randn(batch, blocks, 3, args.seq_len, args.img_dim, args.img_dim, generator=random)


def facts_of(model, kind, weights):
    """What a user of the network must know, as plain values."""
    clip = model.transform
    output = f'logits [B, {len(model.class_names)}]' if kind == 'classifier' else 'context [B, D]'
    if getattr(model, 'multi_label', False):
        output += ', for a sigmoid each'
    return {'net': model.settings['net'], 'weights': Path(weights).name,
            'input': f'clips [B, N, 3, {clip.seq_len}, {clip.img_dim}, {clip.img_dim}]', 'output': output,
            'preprocessing': clip.facts(), 'class_names': getattr(model, 'class_names', None)}


def export(model, clips):
    """The ExportedProgram of a network, for any number of clips and blocks; clips: an example."""
    sizes = {0: torch.export.Dim('B', min=1, max=MOST), 1: torch.export.Dim('N', min=1, max=MOST)}
    program = torch.export.export(scanned(model), (clips,), dynamic_shapes=(sizes,))
    return program.run_decompositions({})  # autocast regions can't be stored


def write_pt2(program, path, facts):
    torch.export.save(program, path, extra_files={FACTS: json.dumps(facts)})


def read_pt2(path):
    return torch.export.load(path).module()


def write_onnx(program, path, facts):
    name = facts['output'].split()[0]
    onnx_program = torch.onnx.export(program, input_names=['clips'], output_names=[name], dynamo=True, verbose=False)
    onnx_program.model.metadata_props.update({key: json.dumps(value) for key, value in facts.items()})
    onnx_program.save(path)


def read_onnx(path):
    import onnxruntime
    session = onnxruntime.InferenceSession(path, providers=['CPUExecutionProvider'])
    return lambda clips: torch.from_numpy(session.run(None, {'clips': clips.numpy()})[0])


def check(model, stored, args):
    """Prints how far the outputs of the stored network are from the model's. UserError: over TOLERANCE."""
    for batch, blocks in zip(BATCHES, (args.num_seq, args.num_seq + 1)):
        clips = example(args, batch, blocks)
        expected = model(clips)
        difference = float((stored(clips) - expected).abs().max())
        print(f'batch of {batch}, {blocks} blocks: largest difference from PyTorch {difference:.1e}')
        if not difference <= TOLERANCE * max(1, float(expected.abs().max())):
            raise UserError(f'--out {args.out}: the stored network differs by {difference:.1e} from PyTorch, over '
                            f'{TOLERANCE:g}: the versions of torch and the packages of requirements-export.txt do not '
                            'fit each other; nothing was written')


if __name__ == '__main__':
    run_cli(main, parse_args())
