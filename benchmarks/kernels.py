"""How fast the CPU kernels are, against PyTorch's operators and against the machine's own limits.

    python benchmarks/kernels.py [--rounds 15] [--only ternary scan gla alternate] [--record]

- ``ternary``: the product with packed weights (4096 to 11008) for 1 to 512 tokens, against ``torch._int_mm``
  on int8-held levels and ``F.linear`` in float32 and bfloat16, over copies of the weights that no cache
  holds. Floor: packed bytes over the rate at which memory is read.
- ``scan``: the linear recurrence of HGRN, forward and backward, beside flash-linear-attention's reference
  loop. Floor: its bytes over the rate of a copy.
- ``gla``: gated linear attention against causal scaled dot-product attention of the same width, PyTorch's
  chunkwise form and flash-linear-attention's reference loop; against length; with gradients; one decoding
  step at a time.
- ``alternate``: kernels and PyTorch in turn, against each by itself: what their two sets of threads cost.

Everything of a table runs in interleaved rounds. Ends with the findings against their targets, and with exit
code 1 where one is more than 15% worse than recorded (``--record`` records them).
"""

import argparse
import ctypes
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

# From this file's own folder Transformers would import it as the package `kernels` that it looks for.
sys.path[0] = str(Path(__file__).parent.parent)

from trilemma.hardware.process import prepare

prepare()

warnings.filterwarnings("ignore", message="Triton is not supported", category=UserWarning)  # said by fla

import torch
from benchmarks.contest import Contest, Finding, Memory, check, cycle
from fla.ops.gla.naive import naive_recurrent_gla
from fla.ops.hgrn.naive import naive_recurrent_hgrn
from torch.nn import functional

from trilemma import _native
from trilemma.hardware.machine import hardware, versions
from trilemma.models.placement import place_in_large_pages
from trilemma.ops.gla import gla, gla_step
from trilemma.ops.gla.chunkwise import gla_chunkwise
from trilemma.ops.linear_scan import linear_scan
from trilemma.ops.ternary.levels import normed_levels
from trilemma.ops.ternary.packed import pack
from trilemma.profiling.timing import median

ROWS, CHANNELS = 11008, 4096
COPIES = 16


def main() -> int:
    options = _options()
    torch.manual_seed(0)
    print(f"{hardware()}\n{versions()}, kernels {_native.path()}")
    memory = Memory()
    parts: dict[str, Callable[[Memory, int], list[Finding]]] = {
        "ternary": ternary,
        "scan": scan,
        "gla": gated,
        "alternate": alternate,
    }
    worse = 0
    for name in options.only or parts:
        worse += check(parts[name](memory, options.rounds), name, record=options.record)
    return 1 if worse else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="speed of the CPU kernels")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--only", nargs="+", choices=["ternary", "scan", "gla", "alternate"])
    parser.add_argument("--record", action="store_true", help="keep the ratios for later comparison")
    return parser.parse_args()


def ternary(memory: Memory, rounds: int) -> list[Finding]:
    levels = torch.randint(-1, 2, (ROWS, CHANNELS), dtype=torch.int8)
    holder = torch.nn.Module()
    for copy in range(COPIES):
        holder.register_buffer(f"packed{copy}", pack(levels))
    place_in_large_pages(holder)
    packed = cycle(list(holder.buffers()))
    held = cycle([levels.clone() for _ in range(4)])
    floats = cycle([levels.float() for _ in range(2)])
    halves = cycle([levels.bfloat16() for _ in range(4)])
    rivals = {"torch._int_mm, int8": held, "F.linear, bfloat16": halves, "F.linear, float32": floats}
    targets = {1: (2.5, 5.0, 9.0), 16: (1.0, 1.0, 1.0), 512: (1.0, None, None)}
    findings = []
    for tokens in (1, 4, 16, 64, 512):
        x = torch.randn(tokens, CHANNELS)
        narrow = x.bfloat16()
        activations, steps, _ = normed_levels(x, torch.ones(CHANNELS), 1e-6)
        sums = activations.sum(1, dtype=torch.int32)
        arguments = [ctypes.c_float(0.02), activations, sums, steps, tokens, torch.empty(tokens, ROWS)]
        works = {
            "packed, 2 bits": lambda a=arguments: _native.call(
                "ternary", packed(), ROWS, CHANNELS // 256, *a
            ),
            "torch._int_mm, int8": lambda a=activations: torch._int_mm(a, held().T),
            "F.linear, bfloat16": lambda a=narrow: functional.linear(a, halves()),
            "F.linear, float32": lambda a=x: functional.linear(a, floats()),
            "reading 256 MiB": memory.read,
        }
        title = f"Ternary product, {tokens} tokens, {CHANNELS} to {ROWS}"
        contest = Contest(title, works, rounds)
        print(f"\n{contest.table()}")
        if tokens == 1:
            parts = ROWS * CHANNELS / 4 / memory.bytes
            share = contest.share("packed, 2 bits", "reading 256 MiB", parts)
            findings.append(Finding("ternary, 1 token: share of the read rate", share, 0.75))
        for rival, target in zip(rivals, targets.get(tokens, (None,) * 3), strict=True):
            speed = contest.speed("packed, 2 bits", rival)
            findings.append(Finding(f"ternary, {tokens} tokens: speed over {rival}", speed, target))
    return findings


def scan(memory: Memory, rounds: int) -> list[Finding]:
    batch, time, channels = 4, 2048, 1024
    x, d_h = torch.randn(batch, time, channels), torch.randn(batch, time, channels)
    f = torch.rand(batch, time, channels)
    log_f = f.log()
    h, d_x, d_f = torch.empty_like(x), torch.empty_like(x), torch.empty_like(x)
    shape = (batch, time, channels, torch.float32)
    contest = Contest(
        f"Linear recurrence, {batch} x {time} x {channels}, float32",
        {
            "forward": lambda: _native.call("scan", *shape, x, f, None, h, None),
            "backward": lambda: _native.call("scan_gradient", *shape, f, h, d_h, None, None, d_x, d_f, None),
            "forward, memory of its own": lambda: linear_scan(x, f),
            "PyTorch": lambda: _by_pytorch(lambda: linear_scan(x, f)),
            "fla, naive": lambda: naive_recurrent_hgrn(x, log_f),
            "copying 256 MiB": memory.copy,
        },
        rounds,
    )
    print(f"\n{contest.table()}")
    # Forward: two tensors read, one written; backward: three and two. A copy moves its bytes twice.
    size = x.numel() * 4
    over_fla = contest.speed("forward, memory of its own", "fla, naive")
    return [
        Finding("scan forward: speed over fla's naive form", over_fla, None),
        *(
            Finding(
                f"scan {name}: share of the copy rate",
                contest.share(name, "copying 256 MiB", moved * size / (2 * memory.bytes)),
                0.6,
            )
            for name, moved in (("forward", 3), ("backward", 5))
        ),
    ]


def _by_pytorch(work: Callable[[], object]) -> None:
    with _native.using(_native.TORCH):
        work()


def _inputs(time: int, key: int, value: int, heads: int = 4) -> list[torch.Tensor]:
    q, k = torch.randn(1, time, heads, key), torch.randn(1, time, heads, key)
    gates = functional.logsigmoid(torch.randn(1, time, heads, key)) / 16
    return [q, k, torch.randn(1, time, heads, value), gates]


def _gradients(inputs: list[torch.Tensor]) -> Callable[[], object]:
    leaves = [tensor.clone().requires_grad_() for tensor in inputs]
    d_out = torch.randn_like(inputs[2])
    return lambda: torch.autograd.grad(gla(*leaves)[0], leaves, d_out)


def _with_gradients(contest: Contest, of: str) -> Finding:
    """Forward and backward should take at most four times the forward pass."""
    quarter = contest.share("compiled, with gradients", "compiled", 4.0)
    return Finding(f"gla, {of}: four forward passes over forward and backward", quarter, 1.0)


def gated(memory: Memory, rounds: int) -> list[Finding]:
    del memory
    findings = []
    for time, target in ((2048, 5.0), (8192, 15.0)):
        inputs = _inputs(time, 64, 64)
        heads = [torch.randn(1, 4, time, 64) for _ in range(3)]
        works = {
            "compiled": lambda i=inputs: gla(*i),
            "compiled, with gradients": _gradients(inputs),
            "PyTorch, chunkwise": lambda i=inputs: gla_chunkwise(*i, None, 0.125, False),
            "causal attention": lambda a=heads: functional.scaled_dot_product_attention(*a, is_causal=True),
            "fla, naive": lambda i=inputs: naive_recurrent_gla(*i),
        }
        contest = Contest(f"Gated linear attention, {time} steps, 4 heads of 64", works, rounds)
        print(f"\n{contest.table()}")
        speed = contest.speed("compiled", "causal attention")
        findings.append(Finding(f"gla, {time} steps: speed over causal attention", speed, target))
        over_fla = contest.speed("compiled", "fla, naive")
        findings.append(Finding(f"gla, {time} steps: speed over fla's naive form", over_fla, None))
        findings.append(_with_gradients(contest, f"{time} steps"))
    large = _inputs(2048, 256, 512)
    square = torch.randn(1024, 1024)
    works = {
        "compiled": lambda: gla(*large),
        "compiled, with gradients": _gradients(large),
        "PyTorch, chunkwise": lambda: gla_chunkwise(*large, None, 256**-0.5, False),
        "float32 product, 1024 x 1024 x 1024": lambda: square @ square,
    }
    contest = Contest("Gated linear attention, 2048 steps, 4 heads of 256 and 512 (1.3B)", works, rounds)
    print(f"\n{contest.table()}")
    speed = contest.speed("compiled", "PyTorch, chunkwise")
    findings.append(Finding("gla, 1.3B layer: speed over PyTorch's chunkwise form", speed, None))
    # Each step reads the state and adds to it, and meets half a chunk of 64. The target is 54 ms on a machine
    # whose matrix rate makes that 26.
    operations = 2048 * 4 * (4 * 256 * 512 + 64 * (256 + 512))
    parts = operations / (2 * 1024**3)
    share = contest.share("compiled", "float32 product, 1024 x 1024 x 1024", parts)
    findings.append(Finding("gla, 1.3B layer: share of the matrix rate", share, 26 / 54))
    findings.append(_with_gradients(contest, "1.3B layer"))
    lengths = {time: _inputs(time, 64, 64) for time in (2048, 8192, 32768)}
    works = {f"{time} steps": lambda i=inputs: gla(*i) for time, inputs in lengths.items()}
    contest = Contest("Gated linear attention against length, 4 heads of 64", works, rounds)
    print(f"\n{contest.table()}")
    # At most 1.3 times the time a step of 2048 steps: at least 1 / 1.3 of its rate.
    rate = contest.share("32768 steps", "2048 steps", 16.0)
    findings.append(Finding("gla, 32768 steps: rate of a step over that at 2048", rate, 1 / 1.3))
    states = {context: torch.randn(1, 4, 64, 64) for context in (128, 32768)}
    one = [tensor[:, :1] for tensor in _inputs(2, 64, 64)]
    works = {f"after {context} steps": lambda s=state: gla_step(*one, s) for context, state in states.items()}
    with torch.no_grad():
        contest = Contest("One decoding step, 4 heads of 64", works, rounds * 20)
    print(f"\n{contest.table()}")
    return findings


def alternate(memory: Memory, rounds: int) -> list[Finding]:
    del memory
    # Both take about as long, so that what slows one of them down shows.
    x, f = torch.randn(4, 512, 512), torch.rand(4, 512, 512)
    a, b = torch.randn(384, 384), torch.randn(384, 384)

    def kernels() -> None:
        for _ in range(10):
            linear_scan(x, f)

    def pytorch() -> None:
        for _ in range(10):
            a @ b

    def both() -> None:
        for _ in range(10):
            linear_scan(x, f)
            a @ b

    works = {"kernels": kernels, "PyTorch": pytorch, "in turn": both}
    contest = Contest("Kernels and PyTorch in turn", works, rounds)
    print(f"\n{contest.table()}")
    apart = contest.seconds["kernels"] + contest.seconds["PyTorch"]
    ratio = median(list(apart / contest.seconds["in turn"]))
    # Each wakes its sleeping threads at every call, some ten microseconds on a virtual machine; two sets of
    # threads that fight for the same processors would take twice the time and more.
    return [Finding("in turn: time apart over time in turn", ratio, 0.75)]


if __name__ == "__main__":
    raise SystemExit(main())
