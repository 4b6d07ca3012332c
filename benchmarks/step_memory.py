"""Memory of a training step by setting: which batch fits which card.

    python -m benchmarks.step_memory --net resnet34 --img_dim 224                    estimate, on the CPU
    python -m benchmarks.step_memory --net resnet34 --img_dim 224 --device cuda      and the allocator's peak, on a GPU

The estimate counts what the forward pass of one clip in bf16 keeps for the backward pass, times the clips, and adds the
parameters, their gradients and Adam's two moments in float32, and the clips. What lives only for a moment (workspaces,
gradients of activations) is not in it. With --accum_steps K only one part of K is kept; its activations exist while it
is computed anew.
"""
import torch

from benchmarks.flags import add_step_flags, make_parser, parse, write_json
from benchmarks.train_step import NUM_SEQ, PRED_STEP, SEQ_LEN, our_step
from dpc.model import DPC
from utils.parallel.device import choose_device

# name: (grad_checkpoint, accum_steps)
SETTINGS = {'neither': (False, 1), '--grad_checkpoint': (True, 1), '--accum_steps 4': (False, 4),
            '--accum_steps 11': (False, 11), '--grad_checkpoint --accum_steps 4': (True, 4)}


def kept_bytes(function, known):
    """Bytes of the distinct memory that autograd keeps while function() runs, without that of the tensors `known`."""
    known = {tensor.untyped_storage().data_ptr() for tensor in known}
    kept = {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in known:
            kept[storage.data_ptr()] = storage.nbytes(), tensor  # the tensor, so that its address isn't used again
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        function()
    return sum(size for size, _ in kept.values())


def estimate(network, img_dim, clips, grad_checkpoint, accum_steps):
    """Bytes of a training step in bf16."""
    model = DPC(network, PRED_STEP)
    block = torch.randn(1, NUM_SEQ, SEQ_LEN, img_dim, img_dim, 3, dtype=torch.bfloat16).permute(0, 1, 5, 2, 3, 4)
    known = [block, *model.parameters(), *model.buffers()]
    model.backbone.grad_checkpoint = grad_checkpoint
    with torch.autocast('cpu', torch.bfloat16):
        # A part is kept while it is computed anew, everything else all the time.
        backbone = kept_bytes(lambda: model.backbone(block.flatten(0, 1)), known)
        anew = 0
        if grad_checkpoint:  # the stem or one residual block at a time is computed anew; the stem is the largest
            anew = kept_bytes(lambda: model.backbone.stem(block.transpose(2, 3).flatten(0, 2)), known)
    parameters = 4 * 4 * sum(parameter.numel() for parameter in model.parameters())
    return parameters + clips * (block.nbytes + (backbone + anew) / accum_steps)


def peak_on_gpu(network, img_dim, clips, grad_checkpoint, accum_steps):
    """Bytes at the highest of two steps, or None where they don't fit."""
    device = choose_device('0')  # set up as in training
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    try:
        step = our_step(device, network, clips, img_dim, torch.bfloat16, grad_checkpoint=grad_checkpoint,
                        accum_steps=accum_steps)
        step()
        step()
    except torch.cuda.OutOfMemoryError:
        return None
    return torch.cuda.max_memory_allocated()


def parse_args(argv=None):
    parser = make_parser(__doc__)
    add_step_flags(parser, batch_size=44)
    return parse(parser, argv)


def main(args):
    results = {}
    print(f'{args.net}, {args.img_dim} px, {args.batch_size} clips, bf16: GB')
    print(f'{"":36}{"estimate":>10}' + ('' if args.device == 'cpu' else f'{"peak":>10}'))
    for name, setting in SETTINGS.items():
        row = {'estimate': estimate(args.net, args.img_dim, args.batch_size, *setting)}
        line = f'{name:36}{row["estimate"] / 1e9:10.1f}'
        if args.device == 'cuda':
            row['peak'] = peak_on_gpu(args.net, args.img_dim, args.batch_size, *setting)
            line += f'{"too large" if row["peak"] is None else format(row["peak"] / 1e9, ".1f"):>10}'
        results[name] = row
        print(line, flush=True)
    write_json(args, {'settings': results})


if __name__ == '__main__':
    main(parse_args())
