"""What the kernels make of whole models: decoding, training, and both against the length of the context.

    python benchmarks/models.py [--rounds 6] [--only decode training context] [--record] [--figure FILE]

- ``decode``: greedy decoding after 512 tokens, one sequence, at the published 370m shape: MatMul-Free packed
  to two bits, Transformer++ and GLA in bfloat16, and Hugging Face's Llama of the same shape. Floor: the bytes
  of the weights that a token needs over the rate at which memory is read.
- ``training``: one step of 8,192 tokens at size ``small``, in bfloat16 autocast where the processor has units
  for it, else in float32 (``--precision`` chooses); what is kept for the gradients, and the peak of the
  resident set in a fresh process. BitLinear as its definition records it stands beside ours.
- ``context``: time and memory a token against the context, 128 to 32,768 tokens, at size ``micro``;
  ``--figure`` draws it.

Everything of a table runs in interleaved rounds. Ends with the findings against their targets, and with exit
code 1 where one is more than 15% worse than recorded (``--record`` records them).
"""

import argparse
import gc
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path[0] = str(Path(__file__).parent.parent)

from trilemma.hardware.process import prepare

prepare()

import torch
from benchmarks.contest import Contest, Finding, Memory, check
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from trilemma import _native
from trilemma.hardware.machine import hardware, versions
from trilemma.hardware.peak import peak_bytes, reset_peak, resident_bytes
from trilemma.models import bit_linear as bit_linear_module
from trilemma.models.cache import state_bytes
from trilemma.models.loading import deploy
from trilemma.models.sizes import configuration
from trilemma.ops.ternary.reference import bit_linear_reference
from trilemma.profiling.timing import Median

ARCHITECTURES = ("transformer-pp", "gla", "matmul-free")
VANILLA = "matmul-free, BitLinear by its definition"
TOKENS_A_STEP = 8192
CONTEXTS = (128, 512, 2048, 8192, 32768)


def main() -> int:
    options = _options()
    if options.memory_of:
        print(json.dumps(training_memory(*options.memory_of)))
        return 0
    torch.manual_seed(0)
    print(f"{hardware()}\n{versions()}, kernels {_native.path()}")
    worse = 0
    for part in options.only or ("decode", "training", "context"):
        if part == "decode":
            findings = decode(options.rounds)
        elif part == "training":
            findings = training(options.rounds, options.precision or [_fast_precision()])
        else:
            findings = context(options.figure)
        worse += check(findings, part, record=options.record)
        gc.collect()
    return 1 if worse else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="speed and memory of whole models")
    parser.add_argument("--rounds", type=int, default=6, help="at least 6 for an interval")
    parser.add_argument("--only", nargs="+", choices=["decode", "training", "context"])
    parser.add_argument("--record", action="store_true", help="keep the ratios for later comparison")
    parser.add_argument("--precision", nargs="+", choices=["bfloat16", "float32"], help="of training")
    parser.add_argument("--figure", type=Path, help="where to draw the context figure, a PNG")
    parser.add_argument("--memory-of", nargs=2, help=argparse.SUPPRESS)  # a fresh process of `training`
    return parser.parse_args()


def build(arch: str, size: str, dtype: torch.dtype = torch.float32) -> Any:
    """A language model with random weights."""
    return AutoModelForCausalLM.from_config(configuration(arch, size, 32000), dtype=dtype)


def llama_like(config: Any, dtype: torch.dtype) -> Any:
    """Hugging Face's Llama in the shape of our Transformer++."""
    shape = LlamaConfig(
        vocab_size=config.vocab_size,
        hidden_size=config.hidden_size,
        intermediate_size=config.mlp_width(),
        num_hidden_layers=config.num_hidden_layers,
        num_attention_heads=config.num_heads,
        max_position_embeddings=4096,
    )
    return LlamaForCausalLM(shape).to(dtype)


class Decoding:
    """A model that has read a prompt and goes on token by token."""

    def __init__(self, model: Any, prompt: torch.Tensor) -> None:
        self.model = model.eval()
        with torch.inference_mode():
            output = model(prompt, use_cache=True, logits_to_keep=1)
        self.cache, self.token = output.past_key_values, output.logits[:, -1:].argmax(-1)

    def __call__(self) -> None:
        """One token."""
        with torch.inference_mode():
            output = self.model(self.token, past_key_values=self.cache, use_cache=True)
        self.cache, self.token = output.past_key_values, output.logits[:, -1:].argmax(-1)

    def bytes(self) -> int:
        """Weights that a token needs: all but the embeddings, of which it needs a row."""
        embedding = self.model.get_input_embeddings().weight
        tensors = {id(t): t for t in (*self.model.parameters(), *self.model.buffers()) if t is not embedding}
        return sum(t.nbytes for t in tensors.values())


def decode(rounds: int) -> list[Finding]:
    memory = Memory()
    prompt = torch.randint(5, 30000, (1, 512))
    models = {
        "matmul-free, packed": deploy(build("matmul-free", "370m")),
        "transformer-pp, bfloat16": deploy(build("transformer-pp", "370m", torch.bfloat16)),
        "gla, bfloat16": deploy(build("gla", "370m", torch.bfloat16)),
    }
    shape = models["transformer-pp, bfloat16"].config
    models["Hugging Face Llama, bfloat16"] = llama_like(shape, torch.bfloat16)
    decodings = {name: Decoding(model, prompt) for name, model in models.items()}
    contest = Contest(
        "One token after 512, 370m shape, one sequence",
        {**decodings, "reading 256 MiB": memory.read},
        rounds * 5,
        seconds=8,
    )
    print(f"\n{contest.table()}")
    targets = {"matmul-free, packed": 0.5, "transformer-pp, bfloat16": 0.6, "gla, bfloat16": None}
    findings = []
    for name, target in targets.items():
        needed = decodings[name].bytes()
        share = contest.share(name, "reading 256 MiB", needed / memory.bytes)
        findings.append(
            Finding(f"decode {name} ({needed / 1e6:.0f} MB): share of the read rate", share, target)
        )
    for fast, slow in (
        ("matmul-free, packed", "transformer-pp, bfloat16"),
        ("matmul-free, packed", "Hugging Face Llama, bfloat16"),
        ("transformer-pp, bfloat16", "Hugging Face Llama, bfloat16"),
    ):
        findings.append(Finding(f"decode: {fast} over {slow}", contest.speed(fast, slow), None))
    return findings


class Training:
    """Steps of AdamW on the body of a model: the head is the same work for all."""

    def __init__(self, arch: str, length: int, autocast: bool) -> None:
        self.vanilla = arch == VANILLA
        self.model = build("matmul-free" if self.vanilla else arch, "small").train().model
        self.optimizer = torch.optim.AdamW(self.model.parameters(), 1e-4, fused=True)
        self.tokens = torch.randint(1, 8000, (TOKENS_A_STEP // length, length))
        self.autocast = autocast

    def __call__(self) -> None:
        """One step."""
        fused = bit_linear_module.bit_linear
        if self.vanilla:
            bit_linear_module.bit_linear = _by_definition
        try:
            with torch.autocast("cpu", torch.bfloat16, enabled=self.autocast):
                hidden = self.model(self.tokens, use_cache=False).last_hidden_state
            hidden.float().square().mean().backward()
        finally:
            bit_linear_module.bit_linear = fused
        self.optimizer.step()
        self.optimizer.zero_grad()

    def kept(self) -> int:
        """Bytes that the forward pass keeps for the gradients, weights aside."""
        found: dict[int, int] = {}

        def note(tensor: torch.Tensor) -> torch.Tensor:
            storage = tensor.untyped_storage()
            found[storage.data_ptr()] = storage.nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            self()
        own = {parameter.untyped_storage().data_ptr() for parameter in self.model.parameters()}
        return sum(size for place, size in found.items() if place not in own)


def _by_definition(x: Any, weight: Any, norm_weight: Any, eps: float, quantized: Any = None) -> torch.Tensor:
    del quantized
    return bit_linear_reference(x, weight, norm_weight, eps)


def training_memory(arch: str, precision: str) -> dict[str, int]:
    """Peak bytes of two steps over what the process held before, and bytes kept for the gradients."""
    import torch.optim  # noqa: F401  what it imports is in no peak

    gc.collect()
    reset_peak()
    before = resident_bytes()
    step = Training(arch, 512, precision == "bfloat16")
    kept = step.kept()
    step()
    return {"peak": peak_bytes() - before, "kept": kept}


def _memory(arch: str, precision: str) -> dict[str, int]:
    command = [sys.executable, __file__, "--memory-of", arch, precision]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    answer: dict[str, int] = json.loads(done.stdout.strip().splitlines()[-1])
    return answer


def _fast_precision() -> str:
    """bfloat16 where the processor multiplies it; elsewhere it is many times slower than float32."""
    return "bfloat16" if torch.cpu._is_avx512_bf16_supported() else "float32"


def training(rounds: int, precisions: list[str]) -> list[Finding]:
    findings = []
    for precision in precisions:
        archs = (*ARCHITECTURES, VANILLA)
        contest = Contest(
            f"A training step of {TOKENS_A_STEP:,} tokens, 16 sequences of 512, size small, {precision}",
            {arch: Training(arch, 512, precision == "bfloat16") for arch in archs},
            rounds,
            seconds=1,
        )
        print(f"\n{contest.table()}")
        gc.collect()
        memory = {arch: _memory(arch, precision) for arch in archs}
        print("\n| | kept for the gradients, MB | peak, MB |\n| --- | --- | --- |")
        for arch, found in memory.items():
            print(f"| {arch} | {found['kept'] / 1e6:,.0f} | {found['peak'] / 1e6:,.0f} |")
        kept, peak = (_ratio(memory, what) for what in ("kept", "peak"))
        rate, vanilla = (contest.speed("matmul-free", rival) for rival in ("transformer-pp", VANILLA))
        gla = contest.speed("gla", "transformer-pp")
        findings += [
            Finding(f"{precision}: rate of matmul-free over transformer-pp", rate, 1 / 1.3),
            Finding(f"{precision}: activations of transformer-pp over matmul-free", kept, 1 / 1.25),
            Finding(f"{precision}: peak of transformer-pp over matmul-free", peak, 1 / 1.15),
            Finding(f"{precision}: rate of fused over vanilla BitLinear", vanilla, None),
            Finding(f"{precision}: rate of gla over transformer-pp", gla, 1 / 1.3),
        ]
        contest = Contest(
            f"A training step of {TOKENS_A_STEP:,} tokens, 2 sequences of 4,096, size small, {precision}",
            {arch: Training(arch, 4096, precision == "bfloat16") for arch in ("transformer-pp", "gla")},
            rounds,
            seconds=1,
        )
        print(f"\n{contest.table()}")
        rate = contest.speed("gla", "transformer-pp")
        findings.append(Finding(f"{precision}, 4096 tokens: rate of gla over transformer-pp", rate, 1.0))
        gc.collect()
    return findings


def _ratio(memory: dict[str, dict[str, int]], what: str) -> Median:
    return Median(memory["transformer-pp"][what] / memory["matmul-free"][what], None, None, 1)


def context(figure: Path | None) -> list[Finding]:
    models = {arch: deploy(build(arch, "micro").eval()) for arch in ARCHITECTURES}
    rows: list[dict[str, Any]] = []
    print("\n| context | model | prefill, µs a token | decoding, ms a token | state, bytes a token |")
    print("| --- | --- | --- | --- | --- |")
    for length in CONTEXTS:
        prompt = torch.randint(5, 30000, (1, length))
        decodings: dict[str, Decoding] = {}
        prefill: dict[str, Callable[[], Any]] = {}
        for arch, model in models.items():
            prefill[arch] = lambda m=model, p=prompt: _prefill(m, p)
            decodings[arch] = Decoding(model, prompt)
        rounds = 6 if length < 32768 else 3
        first = Contest("prefill", prefill, rounds, seconds=0.5)
        further = Contest("decoding", decodings, 30, seconds=0.5)
        for arch in ARCHITECTURES:
            row = {
                "context": length,
                "model": arch,
                "prefill": first.time(arch).value * 1e6 / length,
                "decoding": further.time(arch).value * 1e3,
                "state": state_bytes(decodings[arch].cache) / length,
            }
            rows.append(row)
            figures = f"{row['prefill']:.1f} | {row['decoding']:.2f} | {row['state']:.0f}"
            print(f"| {length:,} | {arch} | {figures} |")
    if figure is not None:
        draw(rows, figure)
    return []


def _prefill(model: Any, prompt: torch.Tensor) -> None:
    with torch.inference_mode():
        model(prompt, use_cache=True, logits_to_keep=1)


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    """Three panels over the context, both axes logarithmic."""
    import altair
    import pandas

    order = list(ARCHITECTURES)
    length = altair.X(
        "context:Q",
        scale=altair.Scale(type="log", base=2, nice=False),
        axis=altair.Axis(values=list(CONTEXTS), format=",", grid=False),
        title="context, tokens",
    )
    panels = []
    for column, title in (
        ("prefill", "prefill, µs a token"),
        ("decoding", "decoding, ms a token"),
        ("state", "state, bytes a token"),
    ):
        base = altair.Chart(pandas.DataFrame(rows)).encode(
            length,
            altair.Y(
                f"{column}:Q", scale=altair.Scale(type="log"), axis=altair.Axis(tickCount=4), title=title
            ),
            altair.Color("model:N", title=None, sort=order),
        )
        points = base.mark_point(filled=True, size=50).encode(
            altair.Shape("model:N", sort=order, legend=None)
        )
        panels.append((base.mark_line() + points).properties(width=250, height=230))
    altair.hconcat(*panels).resolve_legend(color="shared").save(path, scale_factor=2)


if __name__ == "__main__":
    raise SystemExit(main())
