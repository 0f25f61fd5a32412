"""Models under ``torch.compile``: they answer, decode and learn as without it.

The backends trace the forward pass, and in training the backward pass, but generate no code: what can go
wrong on our side is the tracing of operators, caches and modules, and code for a CPU takes a minute a model.
"""

import copy
import logging
from collections.abc import Iterator

import pytest
import torch
from transformers import AutoModelForCausalLM, PreTrainedModel

from trilemma.models.packed_ternary import PackedBitLinear
from trilemma.models.sizes import configuration
from trilemma.models.transformer_pp import TransformerForCausalLM
from trilemma.ops.ternary import packed as packed_ternary

VOCABULARY = 32
IDS = torch.randint(VOCABULARY, (2, 6), generator=torch.Generator().manual_seed(0))
TINY = {"hidden_size": 32, "intermediate_size": 48}
TOLERANCE = 1e-5
"""Of the largest element; one activation that a ternary layer rounds otherwise exceeds it."""

# PyTorch's own tracing of an autograd.Function makes one.
pytestmark = pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")

each_architecture = pytest.mark.parametrize("architecture", ["transformer-pp", "gla", "matmul-free"])


@pytest.fixture(autouse=True)
def fresh_compiler() -> Iterator[None]:
    """Nothing that other tests compiled counts towards the limit of recompilations."""
    log = logging.getLogger("torch._dynamo")
    level = log.level
    log.setLevel(logging.ERROR)  # graph breaks are warnings
    torch.compiler.reset()
    yield
    torch.compiler.reset()
    log.setLevel(level)


def built(architecture: str) -> PreTrainedModel:
    torch.manual_seed(0)
    config = configuration(architecture, "nano", VOCABULARY, **TINY)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    with torch.no_grad():  # fresh norms and lower bounds are constants: one taken for another would not show
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.1)
    return model


def compiled(model: PreTrainedModel, backend: str) -> PreTrainedModel:
    """A compiled copy: what a model keeps between calls then comes from compiled calls alone.

    Transformer++ without pads is one graph; the recurrent models break theirs at operators of their own.
    """
    whole = isinstance(model, TransformerForCausalLM)
    return torch.compile(copy.deepcopy(model), backend=backend, fullgraph=whole)


def traced() -> bool:
    return bool(torch._dynamo.utils.counters["stats"]["unique_graphs"])


def read_then_decode(model: PreTrainedModel) -> list[torch.Tensor]:
    """Logits of a prompt, and of the token that follows it."""
    with torch.no_grad():
        prompt = model(input_ids=IDS[:, :-1], use_cache=True)
        token = model(input_ids=IDS[:, -1:], past_key_values=prompt.past_key_values, use_cache=True)
    return [prompt.logits, token.logits]


def assert_close(found: torch.Tensor, expected: torch.Tensor, name: str) -> None:
    error = float((found - expected).abs().max() / expected.abs().max())
    assert error <= TOLERANCE, f"{name} differs by {error} of its largest element"


def assert_reads_and_decodes_alike(model: PreTrainedModel) -> PreTrainedModel:
    twin = compiled(model, "eager")
    found = read_then_decode(twin)
    assert traced()
    for name, logits, expected in zip(("prompt", "next token"), found, read_then_decode(model), strict=True):
        assert_close(logits, expected, name)
    return twin


@pytest.mark.parametrize(
    "architecture", ["transformer-pp", "gla", pytest.param("matmul-free", marks=pytest.mark.slow)]
)
def test_a_compiled_model_reads_and_decodes_as_without(architecture: str) -> None:
    assert_reads_and_decodes_alike(built(architecture))


def test_a_compiled_packed_model_reads_and_decodes_as_without() -> None:
    twin = assert_reads_and_decodes_alike(built("matmul-free").pack())
    layers = [module for module in twin.modules() if isinstance(module, PackedBitLinear)]
    assert layers
    if packed_ternary.multiplies_packed("cpu"):
        kept = [tensor for layer in layers for tensor in vars(layer).values() if torch.is_tensor(tensor)]
        assert not kept, "the weights did not stay packed"


@pytest.mark.slow
@each_architecture
def test_a_compiled_model_learns_as_without(architecture: str) -> None:
    model = built(architecture).train()
    twin = compiled(model, "aot_eager")
    found = twin(input_ids=IDS, labels=IDS).loss
    found.backward()
    assert traced()
    expected = model(input_ids=IDS, labels=IDS).loss
    expected.backward()
    assert_close(found.detach(), expected.detach(), "loss")
    for (name, parameter), other in zip(model.named_parameters(), twin.parameters(), strict=True):
        assert parameter.grad.abs().max() > 0, name
        assert_close(other.grad, parameter.grad, name)
