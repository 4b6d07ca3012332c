"""Writes a network from a checkpoint as ONNX or torch.export, and checks the file against PyTorch."""
import importlib.util
import json
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import utils.packages

import torch

from backbone import NETWORKS
from eval.networks.exportable_gru import scanned
from eval.networks.load import is_classifier, load_model
from eval.networks.settings import resolve_settings, trained_settings
from utils.arguments import FOLLOWS, add_model_arguments
from utils.checkpoint import read_checkpoint
from utils.cli import Parser, UserError, make_folder, positive_int, run_cli
from utils.default_settings import default_settings
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
                        help='checkpoint; of a classifier: clips to logits, of pretraining: clips to their context')
    parser.add_argument('--out', required=True, metavar='FILE',
                        help='.onnx (needs the packages of requirements-export.txt) or .pt2 (torch.export)')
    model = add_model_arguments(parser, None, NETWORKS, FOLLOWS)
    model.add_argument('--ds', type=positive_int, help=f'every ds-th frame is meant for the input ({FOLLOWS} 3)')
    model.add_argument('--allow_other_settings', action='store_true',
                       help='let these flags differ from what the checkpoint was trained with')
    parser.set_defaults(net=None, img_dim=None, num_seq=None, seq_len=None, fps=None)
    args = parser.parse_args(argv)
    if Path(args.out).suffix not in KINDS or Path(args.out).is_dir():
        parser.error(f'--out {args.out}: give a file that ends in {" or ".join(KINDS)}')
    return args


def main(args):
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
    facts = facts_of(model, kind, args)

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


def facts_of(model, kind, args):
    """What a user of the file must know, as plain values."""
    output = f'logits [B, {len(model.class_names)}]' if kind == 'classifier' else 'context [B, D]'
    if getattr(model, 'multi_label', False):
        output += ', for a sigmoid each'
    return {'net': args.net, 'weights': Path(args.weights).name,
            'input': f'clips [B, N, 3, {args.seq_len}, {args.img_dim}, {args.img_dim}]', 'output': output,
            'preprocessing': model.transform.facts(), 'class_names': getattr(model, 'class_names', None)}


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
