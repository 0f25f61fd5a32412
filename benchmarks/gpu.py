"""How fast the GPU paths are, against PyTorch's bfloat16 operators and flash-linear-attention's own models.

    python benchmarks/gpu.py [--rounds 21] [--only product gla decode] [--size 370m]

- ``product``: the packed ternary product for 1 to 64 tokens against ``F.linear`` in bfloat16, both as CUDA
  graphs that walk through copies of the weight larger than the cache, so that memory is read. **Targets for
  one token: at least 60% of the memory bandwidth in packed bytes, at least 5 times the rate of F.linear.**
- ``gla``: gated linear attention, forward and with gradients, against fla's, our PyTorch path, and causal
  scaled dot-product attention of the same width.
- ``decode``: greedy decoding by whole models of one size, bfloat16, as a plain loop over the model's cache.

All contestants of a table run in interleaved rounds of rotating order. Times are medians over rounds; ratios
are formed within each round; 95% intervals are those of a median (order statistics). What needs fla's kernels
or models is left out, and said to be, where they are not installed.
"""

import argparse
import functools
import gc
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch.nn import functional
from transformers import AutoModelForCausalLM

from trilemma.hardware.machine import hardware, versions
from trilemma.models import sizes
from trilemma.ops import fla_kernels
from trilemma.ops.gla import gla
from trilemma.ops.gla.chunkwise import gla_chunkwise
from trilemma.ops.ternary import packed as packed_ternary
from trilemma.ops.ternary import triton
from trilemma.profiling.timing import Run, interleave, median

DEVICE = "cuda"
SHAPES = ((4096, 11008), (11008, 4096), (8192, 28672))
TOKENS = (1, 2, 4, 8, 16, 32, 64)
EPS = 1e-6
SHORTEST = 5e-3  # seconds between two readings of the clock
ENOUGH = 5.0  # seconds for each contestant of a table; six rounds may take longer
VOCABULARY, PROMPT, DECODE = 32000, 128, 64

Work = Callable[[], Any]


def main() -> int:
    options = _options()
    if not torch.cuda.is_available():
        print("bench-gpu needs a CUDA device, and PyTorch finds none on this machine.", file=sys.stderr)
        return 2
    print(hardware(DEVICE))
    print(f"{versions()}, fla {fla_kernels.version() or 'not installed'}")
    if "product" in options.only and not triton.available():
        print("\nthe packed product is left out: Triton is not installed")
    elif "product" in options.only:
        bandwidth = measure_bandwidth(options.rounds)
        for shape in SHAPES:
            compare_products(*shape, bandwidth, options.rounds)
    if "gla" in options.only:
        for time, batch in ((2048, 8), (8192, 2)):
            compare_gla(batch, time, options.rounds)
    if "decode" in options.only:
        compare_decoding(options.size, options.rounds)
    return 0


def _options() -> argparse.Namespace:
    tables = ("product", "gla", "decode")
    parser = argparse.ArgumentParser(description="the GPU paths against PyTorch and fla")
    parser.add_argument("--only", nargs="+", choices=tables, default=tables, help="tables to print")
    parser.add_argument("--rounds", type=int, default=21, help="repetitions; at least 6 for an interval")
    parser.add_argument(
        "--size", choices=list(sizes.SIZE_SPECS), default="370m", help="of the decoding models"
    )
    return parser.parse_args()


def timed(work: Work, parts: int = 1) -> Run:
    """Device seconds of one of the ``parts`` equal parts of ``work``, which is repeated to be long enough."""
    start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)

    def seconds(repeats: int) -> float:
        torch.cuda.synchronize()
        start.record()
        for _ in range(repeats):
            work()
        end.record()
        end.synchronize()
        return start.elapsed_time(end) / 1e3 / repeats

    for _ in range(3):  # the first runs compile and choose tilings
        once = seconds(1)
    repeats = max(1, round(SHORTEST / once))
    return lambda: {"all": seconds(repeats) / parts}


def graph(work: Work) -> Work:
    """``work`` as a CUDA graph: what the device does, without the launches."""
    beside = torch.cuda.Stream()
    beside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(beside):
        work()
    torch.cuda.current_stream().wait_stream(beside)
    captured = torch.cuda.CUDAGraph()
    with torch.cuda.graph(captured):
        work()
    return captured.replay


def table(
    title: str, contestants: Mapping[str, Run], rounds: int, base: str, more: Callable[..., str]
) -> None:
    """Time the contestants and print a line each; ``more`` adds to it, from name and seconds."""
    print(f"\n{title}\n{'':32}{'ms':>10}   95% interval       times as fast as {base}")
    samples = interleave(contestants, most=rounds, seconds=ENOUGH)
    seconds = {name: [sample["all"] for sample in taken] for name, taken in samples.items()}
    for name, taken in seconds.items():
        ratios = [other / own for other, own in zip(seconds[base], taken, strict=True)]
        print(
            f"{name:32}{median(taken).value * 1e3:>10.4f}   {_interval(taken, 1e3, 4):18} "
            f"{median(ratios).value:.2f} ({_interval(ratios, 1, 2)}){more(name, median(taken).value)}"
        )


def _interval(samples: Sequence[float], scale: float, digits: int) -> str:
    _, low, high, _ = median(samples)
    if low is None or high is None:
        return "too few rounds"
    return f"{low * scale:.{digits}f} to {high * scale:.{digits}f}"


def measure_bandwidth(rounds: int) -> float:
    """Bytes a second that this device's memory gives: the better of copying and summing 1 GiB."""
    source = torch.ones(2**28, device=DEVICE)
    target = torch.empty_like(source)
    runs = {"copy": timed(lambda: target.copy_(source)), "sum": timed(lambda: source.sum())}
    samples = interleave(runs, most=rounds)
    size = source.numel() * source.element_size()
    rates = {
        name: size * (2 if name == "copy" else 1) / median([sample["all"] for sample in taken]).value
        for name, taken in samples.items()
    }
    print(
        f"\nmemory bandwidth: copying {rates['copy'] / 1e9:.0f} GB/s, summing {rates['sum'] / 1e9:.0f} GB/s"
    )
    return max(rates.values())


def compare_products(outputs: int, inputs: int, bandwidth: float, rounds: int) -> None:
    """A layer's norm, rounding and product for several numbers of tokens, and ``F.linear`` without a norm."""
    levels = torch.randint(-1, 2, (outputs, inputs), device=DEVICE)
    packed = _copies(packed_ternary.pack(levels))
    dense = _copies(levels.to(torch.bfloat16))
    sizes_read = {"packed": packed[0].numel(), "F.linear": 2 * dense[0].numel()}

    def share(name: str, seconds: float) -> str:
        size = next(size for start, size in sizes_read.items() if name.startswith(start))
        return f"  {size / seconds / bandwidth:.0%} of the bandwidth in weights"

    for tokens in TOKENS:
        x = torch.randn(tokens, inputs, device=DEVICE, dtype=torch.bfloat16)
        title = f"{outputs} outputs of {inputs} inputs, tokens: {tokens}"
        table(title, products(x, packed, dense), rounds, "F.linear, bfloat16", share)


def _copies(weight: torch.Tensor) -> list[torch.Tensor]:
    """So many that none is in the cache any more when its turn comes again."""
    cache = torch.cuda.get_device_properties(DEVICE).L2_cache_size
    size = weight.numel() * weight.element_size()
    return [weight.clone() for _ in range(max(8, -(-4 * cache // size)))]


def products(x: torch.Tensor, packed: list[torch.Tensor], dense: list[torch.Tensor]) -> dict[str, Run]:
    """The contestants for the activations ``x``; each goes through all copies of its weight."""
    scale, norm = torch.full((1,), 0.02, device=DEVICE), torch.ones(x.shape[1], device=DEVICE)
    levels, steps, sums = triton.normed_levels(x, norm, EPS, 4 * packed[0].shape[1])

    def layer(weight: torch.Tensor) -> None:
        triton.packed_linear(x, weight, scale, norm, EPS)

    def product(weight: torch.Tensor) -> None:
        triton.levels_product(levels, steps, sums, weight, scale, x.dtype)

    def linear(weight: torch.Tensor) -> None:
        functional.linear(x, weight)

    def each(work: Callable[[torch.Tensor], None], weights: list[torch.Tensor]) -> Run:
        return timed(graph(lambda: [work(weight) for weight in weights]), len(weights))

    return {
        "packed, norm and product": each(layer, packed),
        "packed, product alone": each(product, packed),
        "F.linear, bfloat16": each(linear, dense),
    }


def compare_gla(batch: int, time: int, rounds: int) -> None:
    """Token mixing at the width of the 370m shape: 4 heads of 128 and 256 channels, or 16 heads of 64."""
    draw = functools.partial(torch.randn, device=DEVICE, dtype=torch.bfloat16)
    q, k = (draw(batch, time, 4, 128).requires_grad_() for _ in range(2))
    v = draw(batch, time, 4, 256).requires_grad_()
    g = (functional.logsigmoid(draw(batch, time, 4, 128).float()) / 16).requires_grad_()
    attended, keys, values = heads = [draw(batch, 16, time, 64).requires_grad_() for _ in range(3)]
    scale = 128**-0.5
    forward: dict[str, tuple[Work, list[torch.Tensor]]] = {
        "trilemma": (lambda: gla(q, k, v, g)[0], [q, k, v, g]),
        "trilemma, PyTorch alone": (lambda: gla_chunkwise(q, k, v, g, None, scale, False)[0], [q, k, v, g]),
        "SDPA, causal": (
            lambda: functional.scaled_dot_product_attention(attended, keys, values, is_causal=True),
            heads,
        ),
    }
    if fla_kernels.version():
        from fla.ops.gla import chunk_gla

        forward["fla"] = (lambda: chunk_gla(q, k, v, g, scale=scale)[0], [q, k, v, g])
    title = f"gated linear attention, batch {batch}, {time} steps, bfloat16"
    contestants = {name: timed(without_gradients(work)) for name, (work, _) in forward.items()}
    table(f"{title}, forward", contestants, rounds, "SDPA, causal", _tokens_a_second(batch * time))
    contestants = {name: timed(with_gradients(work, given)) for name, (work, given) in forward.items()}
    table(
        f"{title}, forward and backward", contestants, rounds, "SDPA, causal", _tokens_a_second(batch * time)
    )


def without_gradients(work: Work) -> Work:
    return torch.no_grad()(work)


def with_gradients(work: Work, inputs: list[torch.Tensor]) -> Work:
    d_output = torch.randn_like(work())
    return lambda: torch.autograd.grad(work(), inputs, d_output)


def _tokens_a_second(tokens: int) -> Callable[[str, float], str]:
    return lambda name, seconds: f"  {tokens / seconds:,.0f} tokens/s"


def compare_decoding(size: str, rounds: int) -> None:
    """Tokens a second of whole models that continue a prompt; the first contestants are ours."""
    models = {f"{arch}": _model(arch, size) for arch in ("transformer-pp", "gla", "matmul-free")}
    models["matmul-free, packed"] = _model("matmul-free", size, packed=True)
    models |= fla_models(size)
    for name, model in models.items():
        print(f"{name}: {getattr(model, 'kernel', 'its own kernels')}")
    for batch in (1, 16):
        prompt = torch.randint(VOCABULARY, (batch, PROMPT), device=DEVICE)
        contestants = {
            name: timed(functools.partial(decode, model, prompt)) for name, model in models.items()
        }
        title = f"prompt of {PROMPT}, {DECODE} decoded tokens, {size}, batch {batch}"
        table(title, contestants, rounds, "transformer-pp", _tokens_a_second(batch * DECODE))
        gc.collect()


def _model(arch: str, size: str, packed: bool = False) -> Any:
    torch.manual_seed(0)
    model: Any = AutoModelForCausalLM.from_config(sizes.configuration(arch, size, VOCABULARY)).eval()
    return (model.pack() if packed else model).to(DEVICE, torch.bfloat16)


def fla_models(size: str) -> dict[str, Any]:
    """GLA of the same shape as fla has it, where its models are installed."""
    try:
        from fla.models import GLAConfig, GLAForCausalLM
    except ImportError as error:
        print(f"\nfla's own models are left out: {error}")
        return {}
    ours = sizes.configuration("gla", size, VOCABULARY)
    config = GLAConfig(
        vocab_size=VOCABULARY,
        hidden_size=ours.hidden_size,
        num_hidden_layers=ours.num_hidden_layers,
        num_heads=ours.num_heads,
    )
    return {"fla's gla": GLAForCausalLM(config).eval().to(DEVICE, torch.bfloat16)}


@torch.inference_mode()
def decode(model: Any, prompt: torch.Tensor) -> None:
    output = model(input_ids=prompt, use_cache=True, logits_to_keep=1)
    token = output.logits[:, -1:].argmax(-1)
    for _ in range(DECODE - 1):
        output = model(input_ids=token, past_key_values=output.past_key_values, use_cache=True)
        token = output.logits[:, -1:].argmax(-1)


if __name__ == "__main__":
    sys.exit(main())
