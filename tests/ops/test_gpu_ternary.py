"""Triton kernels of the packed product: interpreted and compiled without a GPU, run where there is one."""

import importlib.util
import itertools
import os
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file

from trilemma.ops.ternary import packed as packed_ternary
from trilemma.ops.ternary import triton
from trilemma.ops.ternary.levels import normed_levels

EPS = 1e-6
CASES = [
    f"{tokens}-{channels}-{rows}-{dtype}"
    for dtype, all_rows in (("float32", (1, 3, 130)), ("bfloat16", (3,)))
    for tokens, channels, rows in itertools.product((1, 2, 17, 64), (1, 255, 256, 700), all_rows)
]
INTERPRETED_CASES = [
    case
    for case in CASES
    for tokens, channels, rows, dtype in [case.split("-")]
    if (dtype == "float32" and tokens in ("1", "2", "64") and channels in ("1", "255", "700") and rows != "1")
    or (dtype == "bfloat16" and tokens in ("1", "17") and channels == "256")
]
"""Both kernels, within a tile and beyond it: Triton's interpreter takes its time."""

NOT_FINITE = ("nan", "inf")

INTERPRETED = """
import sys

import torch
from safetensors.torch import load_file, save_file

from trilemma.ops.ternary import triton

given, results = load_file(sys.argv[1]), {}
for case in {key.split(" ")[0] for key in given}:
    x, packed, scale, norm = (given[f"{case} {name}"] for name in ("x", "packed", "scale", "norm"))
    levels, steps, sums = triton.normed_levels(x, norm, 1e-6, 4 * packed.shape[1])
    exact = triton.levels_product(levels, steps, sums, packed, scale, torch.float32)
    out = triton.packed_linear(x, packed, scale, norm, 1e-6)
    named = {"levels": levels, "steps": steps, "exact": exact, "out": out}
    results |= {f"{case} {name}": tensor for name, tensor in named.items()}
save_file(results, sys.argv[2])
"""

COMPILED = """
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from trilemma.ops.ternary import triton_kernels as kernels

TYPES = {"rows": "i32", "words": "i32", "width": "i32", "tokens": "i32", "channels": "i32", "padded": "i32",
         "sums": "*i32", "steps": "*fp32", "scale": "*fp32", "out": "*bf16"}


def ptx(function, capability, constants, types, **options):
    types = TYPES | types | dict.fromkeys(constants, "constexpr")
    signature = {name: types[name] for name in function.arg_names}
    places = {(function.arg_names.index(name),): value for name, value in constants.items()}
    source = ASTSource(fn=function, signature=signature, constexprs=places)
    return triton.compile(source, target=GPUTarget("cuda", capability, 32), options=options).asm["ptx"]


for capability, most in ((80, 1), (90, None)):
    code = ptx(
        kernels.normed_levels, capability, {"EPS": 1e-6, "BLOCK": 2048},
        {"rows": "*bf16", "norm_weight": "*fp32", "levels": "*i8"}, num_warps=4, enable_fp_fusion=False,
    )
    assert "fma.rn.f32" not in code
    for one, function, packed, levels, instruction in (
        (True, kernels.one_token, "*i32", "*i32", "dp4a.s32.s32"),
        (False, kernels.few_tokens, "*u8", "*i8", ".s32.s8.s8"),
    ):
        for config in function.configs[:most]:
            code = ptx(
                function.fn, capability, {"PTX": True, **({} if one else {"TOKENS": 64}), **config.kwargs},
                {"packed": packed, "levels": levels},
                num_warps=config.num_warps, num_stages=config.num_stages,
            )
            assert instruction in code, (capability, config)
"""


def draw(case):
    """Activations, packed weight, its scale and the norm's weight."""
    *shape, dtype = case.split("-")
    tokens, channels, rows = map(int, shape)
    generator = torch.Generator().manual_seed(CASES.index(case))
    x = torch.randn(tokens, channels, generator=generator).to(getattr(torch, dtype))
    levels = torch.randint(-1, 2, (rows, channels), generator=generator)
    norm = 1 + 0.25 * torch.randn(channels, generator=generator)
    return {"x": x, "packed": packed_ternary.pack(levels), "scale": torch.tensor([0.0123]), "norm": norm}


def draw_with(bad):
    """Two tokens, the second with one value that is not finite."""
    given = draw("2-256-3-float32")
    given["x"][1, 7] = bad
    return given


def run(script, *arguments, **environment):
    """Run a script in a process of its own, since Triton settles at import whether it interprets."""
    command = [sys.executable, "-c", script, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **environment})
    if "only 0-dimensional arrays can be converted" in done.stderr:
        pytest.skip("the interpreter of this Triton does not run with this NumPy")
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def needs_triton():
    if importlib.util.find_spec("triton") is None:
        pytest.skip("Triton is not installed")


@pytest.fixture(scope="module")
def interpreted(needs_triton, tmp_path_factory):
    """What the kernels give in Triton's interpreter, by case and name."""
    folder = tmp_path_factory.mktemp("interpreted")
    drawn = {case: draw(case) for case in INTERPRETED_CASES} | {
        bad: draw_with(float(bad)) for bad in NOT_FINITE
    }
    given = {f"{case} {name}": tensor for case, tensors in drawn.items() for name, tensor in tensors.items()}
    save_file(given, folder / "given.safetensors")
    run(INTERPRETED, folder / "given.safetensors", folder / "results.safetensors", TRITON_INTERPRET="1")
    return load_file(folder / "results.safetensors")


@pytest.mark.parametrize("case", INTERPRETED_CASES)
def test_interpreted_kernels_give_what_the_cpu_gives(case, interpreted):
    given = draw(case)
    x, norm = given["x"], given["norm"]
    levels, step, _ = normed_levels(x, norm, EPS)
    channels = x.shape[1]
    assert torch.equal(interpreted[f"{case} levels"][:, :channels], levels)
    assert not interpreted[f"{case} levels"][:, channels:].any()
    assert torch.equal(interpreted[f"{case} steps"], step[:, 0])
    expected = packed_ternary.packed_linear(x, given["packed"], given["scale"], norm, EPS)
    assert interpreted[f"{case} out"].dtype == x.dtype
    assert torch.equal(interpreted[f"{case} exact"].to(x.dtype), expected)
    # The interpreter truncates to bfloat16, where GPUs round.
    torch.testing.assert_close(
        interpreted[f"{case} out"], expected, rtol=0 if x.dtype == torch.float32 else 2**-7, atol=0
    )


@pytest.mark.parametrize("bad", NOT_FINITE)
def test_interpreted_kernels_do_not_hide_a_value_that_is_not_finite(bad, interpreted):
    out = interpreted[f"{bad} out"]
    assert out[0].isfinite().all()
    assert out[1].isnan().all()


@pytest.mark.slow
def test_kernels_compile_for_gpus_that_are_not_here(needs_triton, tmp_path):
    run(COMPILED, TRITON_CACHE_DIR=str(tmp_path))


def test_only_activations_on_a_gpu_are_served():
    assert not triton.serves(torch.zeros(1, 4))
    assert triton.kernel() == "triton, packed 2-bit"


@pytest.fixture
def needs_gpu(needs_triton):
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")


@pytest.mark.gpu
@pytest.mark.parametrize("case", CASES)
def test_gpu_gives_what_the_cpu_gives(case, needs_gpu):
    given = draw(case)
    expected = packed_ternary.packed_linear(given["x"], given["packed"], given["scale"], given["norm"], EPS)
    x, packed, scale, norm = (tensor.cuda() for tensor in given.values())
    assert triton.serves(x)
    assert torch.equal(triton.packed_linear(x, packed, scale, norm, EPS).cpu(), expected)


@pytest.mark.gpu
@pytest.mark.parametrize("tokens", [1, 5])
def test_gpu_at_a_published_width(tokens, needs_gpu):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(1, tokens, 11008, generator=generator).half()
    packed = packed_ternary.pack(torch.randint(-1, 2, (4096, 11008), generator=generator))
    scale, norm = torch.tensor([0.02]), torch.rand(11008, generator=generator).half()
    expected = packed_ternary.packed_linear(x, packed, scale, norm, EPS)
    out = triton.packed_linear(x.cuda(), packed.cuda(), scale.cuda(), norm.cuda(), EPS)
    assert torch.equal(out.cpu(), expected)


@pytest.mark.gpu
@pytest.mark.parametrize("bad", NOT_FINITE)
def test_gpu_does_not_hide_a_value_that_is_not_finite(bad, needs_gpu):
    x, packed, scale, norm = (tensor.cuda() for tensor in draw_with(float(bad)).values())
    out = triton.packed_linear(x, packed, scale, norm, EPS)
    assert out[0].isfinite().all()
    assert out[1].isnan().all()


@pytest.mark.gpu
def test_gpu_leaves_many_tokens_and_float64_to_pytorch(needs_gpu):
    assert not triton.serves(torch.zeros(triton.MOST_TOKENS + 1, 4, device="cuda"))
    assert not triton.serves(torch.zeros(1, 4, device="cuda", dtype=torch.float64))
    assert not triton.serves(torch.zeros(0, 4, device="cuda"))
