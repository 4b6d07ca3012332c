"""Does the loss of a run in bf16 follow that of the same run in float32?

    python -m benchmarks.loss_curve                 200 steps of R18 at 64 px on the CPU, some minutes
    python -m benchmarks.loss_curve --device cuda

Both runs start from the same weights and see the same clips: patterns that drift, each clip in its own direction, under
noise. Clips are new in every step, so the loss falls by prediction, not by memorising.
"""
import torch

from benchmarks.flags import add_step_flags, make_parser, parse, write_json
from dpc.loss import dense_info_nce
from dpc.model import DPC

NUM_SEQ, SEQ_LEN = 8, 5


def drifting_clips(count, side, step, device):
    """Clips [B, N, C, T, H, W], a view of [B, N, T, H, W, C] memory; determined by `step`."""
    generator = torch.Generator().manual_seed(step)
    frames = NUM_SEQ * SEQ_LEN
    coarse = torch.randn(count, 3, side // 4, side // 4, generator=generator)
    picture = torch.nn.functional.interpolate(coarse, size=(side, side), mode='bilinear')
    drift = torch.randint(-2, 3, (count, 2), generator=generator).tolist()
    clips = torch.stack([torch.stack([picture[b].roll((t * dy, t * dx), (1, 2)) for t in range(frames)])
                         for b, (dy, dx) in enumerate(drift)])                      # [B, N·T, C, H, W]
    clips = clips + 0.3 * torch.randn(clips.shape, generator=generator)
    clips = clips.unflatten(1, (NUM_SEQ, SEQ_LEN)).permute(0, 1, 2, 4, 5, 3).contiguous()
    return clips.permute(0, 1, 5, 2, 3, 4).to(device)


def loss_curve(dtype, args):
    """Loss of each step."""
    torch.manual_seed(0)
    model = DPC(args.net, dropout=0).to(args.device)
    optimizer = torch.optim.Adam(model.parameters(), lr=args.lr, fused=True)
    losses = []
    for step in range(args.steps):
        block = drifting_clips(args.batch_size, args.img_dim, step, args.device)
        with torch.autocast(args.device, dtype, enabled=dtype != torch.float32):
            loss, _ = dense_info_nce(*model(block))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
    return torch.stack(losses).tolist()


def parse_args(argv=None):
    parser = make_parser(__doc__)
    add_step_flags(parser, img_dim=64, batch_size=2)
    parser.add_argument('--steps', type=int, default=200, help='training steps (default 200)')
    parser.add_argument('--lr', type=float, default=1e-3, help='learning rate of Adam (default 0.001)')
    return parse(parser, argv)


def main(args):
    curves = {str(dtype): loss_curve(dtype, args) for dtype in (torch.float32, torch.bfloat16)}
    print(f'mean loss of {args.steps // 10} steps up to\n{"step":>6}{"float32":>10}{"bf16":>10}{"difference":>12}')
    width = max(1, args.steps // 10)
    for end in range(width, args.steps + 1, width):
        full, half = (sum(curve[end - width:end]) / width for curve in curves.values())
        print(f'{end:6}{full:10.3f}{half:10.3f}{half / full - 1:12.1%}')
    write_json(args, {'curves': curves})


if __name__ == '__main__':
    main(parse_args())
