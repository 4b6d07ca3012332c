"""Memory of a training step by setting: which batch fits which card.

    python -m benchmarks.step_memory --net resnet34 --img_dim 224                    estimate, on the CPU
    python -m benchmarks.step_memory --net resnet34 --img_dim 224 --device cuda      and the allocator's peak, on a GPU

The estimate is what the forward pass of one clip in bf16 stores for the backward pass, times the clips, plus the
parameters, their gradients and Adam's two moments in float32, and the clips. Temporary memory (workspaces, gradients of
activations) is not included. With --encode_chunks K only one chunk's activations exist at a time.
"""
import torch

from benchmarks.flags import add_step_flags, make_parser, parse, write_json
from benchmarks.train_step import NUM_SEQ, PRED_STEP, SEQ_LEN, our_step
from dpc.model import DPC
from utils.parallel.gpus import choose_device

ENCODE_CHUNKS = 1, 4, 11


def kept_bytes(function, known):
    """Bytes of the distinct storages that autograd saves while function() runs, except those of `known` tensors."""
    known = {tensor.untyped_storage().data_ptr() for tensor in known}
    kept = {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in known:
            kept[storage.data_ptr()] = storage.nbytes(), tensor  # keep it alive, or its address may be reused
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        function()
    return sum(size for size, _ in kept.values())


def estimate(network, img_dim, clips, encode_chunks):
    """Bytes of a training step in bf16."""
    model = DPC(network, PRED_STEP)
    block = torch.randn(1, NUM_SEQ, SEQ_LEN, img_dim, img_dim, 3, dtype=torch.bfloat16).permute(0, 1, 5, 2, 3, 4)
    known = [block, *model.parameters(), *model.buffers()]
    with torch.autocast('cpu', torch.bfloat16):
        backbone = kept_bytes(lambda: model.backbone(block.flatten(0, 1)), known)
    parameters = 4 * 4 * sum(parameter.numel() for parameter in model.parameters())
    return parameters + clips * (block.nbytes + backbone / encode_chunks)


def peak_on_gpu(network, img_dim, clips, encode_chunks):
    """Peak of two steps in bytes, or None when out of memory."""
    device = choose_device('0')  # as training does
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    try:
        step = our_step(device, network, clips, img_dim, torch.bfloat16, encode_chunks=encode_chunks)
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
    print(f'{"--encode_chunks":>16}{"estimate":>10}' + ('' if args.device == 'cpu' else f'{"peak":>10}'))
    for chunks in ENCODE_CHUNKS:
        row = {'estimate': estimate(args.net, args.img_dim, args.batch_size, chunks)}
        line = f'{chunks:16}{row["estimate"] / 1e9:10.1f}'
        if args.device == 'cuda':
            row['peak'] = peak_on_gpu(args.net, args.img_dim, args.batch_size, chunks)
            line += f'{"too large" if row["peak"] is None else format(row["peak"] / 1e9, ".1f"):>10}'
        results[chunks] = row
        print(line, flush=True)
    write_json(args, {'encode_chunks': results})


if __name__ == '__main__':
    main(parse_args())
