"""The rounded weight that BitLinear keeps outside training is never an old one."""

import copy

import pytest
import torch

from trilemma.models import bit_linear as module
from trilemma.models.bit_linear import BitLinear
from trilemma.ops.ternary import bit_linear
from trilemma.ops.ternary.levels import ternary_weight


def optimised(layer):
    optimiser = torch.optim.SGD(layer.parameters(), lr=1.0)
    layer(torch.randn(3, 16)).square().sum().backward()
    optimiser.step()


def merged(layer):
    layer.weight.data += 0.3 * torch.randn_like(layer.weight)  # as peft merges an adapter


def replaced(layer):
    layer.weight = torch.nn.Parameter(torch.randn_like(layer.weight))


CHANGES = {
    "optimiser": optimised,
    "merge through data": merged,
    "new parameter": replaced,
    "load": lambda layer: layer.load_state_dict(BitLinear(16, 24).state_dict()),
    "dtype": lambda layer: layer.double().float(),
    "train and back": lambda layer: (layer.train(), layer.weight.data[0, 0].fill_(9), layer.eval()),
}


@pytest.fixture
def rounded(monkeypatch):
    """The weights that layers outside training rounded."""
    weights = []

    def counted(weight):
        weights.append(weight)
        return ternary_weight(weight)

    monkeypatch.setattr(module, "ternary_weight", counted)
    return weights


@pytest.mark.parametrize("change", CHANGES)
def test_a_weight_is_rounded_again_only_after_a_change(change, rounded):
    torch.manual_seed(0)
    layer, x = BitLinear(16, 24).eval(), torch.randn(5, 16)
    with torch.no_grad():
        layer(x)
        layer(x)
    assert len(rounded) == 1
    CHANGES[change](layer)
    with torch.no_grad():
        torch.testing.assert_close(layer(x), bit_linear(x, layer.weight, layer.norm.weight), rtol=0, atol=0)
        twin = copy.deepcopy(layer)
        torch.testing.assert_close(twin(x), layer(x), rtol=0, atol=0)


def test_training_keeps_nothing(rounded):
    layer = BitLinear(16, 24)
    layer(torch.randn(2, 16))
    layer.eval()(torch.randn(2, 16))
    assert len(rounded) == 1  # by the second call, since the first kept nothing


def test_inference_mode_and_gradients_in_evaluation():
    layer, x = BitLinear(16, 24).eval(), torch.randn(5, 16, requires_grad=True)
    with torch.inference_mode():
        y = layer(x)
        torch.testing.assert_close(BitLinear(16, 24).eval()(x).shape, y.shape)
    gradients = []
    for each in (layer, copy.deepcopy(layer).train()):
        parameters = [x, each.weight, each.norm.weight]
        gradients.append(torch.autograd.grad(each(x).square().sum(), parameters))
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b)
