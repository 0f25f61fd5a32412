"""Padding changes nothing: class logits are those of the text alone, in any batch, order and padding."""

import pytest
import torch
from transformers import AutoModelForSequenceClassification

from tests.models.test_generation import CONFIGS
from tests.models.test_surface import spread
from trilemma.errors import ModelError


def classifier(name, outputs=3):
    config = type(CONFIGS[name])(**{**CONFIGS[name].to_dict(), "num_labels": outputs})
    return spread(AutoModelForSequenceClassification.from_config(config, dtype=torch.float32), seed=11)


def texts(count=24):
    generator = torch.Generator().manual_seed(0)
    lengths = torch.randint(1, 70, (count,), generator=generator)
    return [torch.randint(0, 61, (int(n),), generator=generator) for n in lengths]


def padded(rows, side, pad=2):
    longest = max(map(len, rows)) + 1
    ids, mask = torch.full((len(rows), longest), pad), torch.zeros(len(rows), longest, dtype=torch.long)
    for row, (i, m) in zip(rows, zip(ids, mask, strict=True), strict=True):
        place = slice(0, len(row)) if side == "right" else slice(longest - len(row), longest)
        i[place], m[place] = row, 1
    return ids, mask


@torch.no_grad()
@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("name", CONFIGS)
def test_classification_ignores_padding(name, side):
    """The pad id occurs in the texts too, last tokens included: only the mask tells which is which."""
    model, rows = classifier(name).double(), texts()
    rows[3][-1] = rows[4][0] = 2
    alone = torch.cat([model(row[None]).logits for row in rows])
    for order in (range(24), torch.randperm(24, generator=torch.Generator().manual_seed(2)).tolist()):
        ids, mask = padded([rows[i] for i in order], side)
        torch.testing.assert_close(
            model(ids, attention_mask=mask).logits, alone[list(order)], atol=1e-7, rtol=0
        )


@torch.no_grad()
@pytest.mark.parametrize("name", CONFIGS)
def test_float32_is_near(name):
    model, rows = classifier(name), texts()
    alone = torch.cat([model(row[None]).logits for row in rows])
    ids, mask = padded(rows, "right")
    difference = (model(ids, attention_mask=mask).logits - alone).abs().amax(-1)
    far = int((difference > 1e-4).sum())
    # an activation of the ternary model may round the other way
    assert far <= (1 if name == "matmul-free" else 0), difference


def test_pooling_without_a_mask():
    model = classifier("gla")
    ids, mask = padded(texts(3), "right", pad=60)
    with pytest.raises(ModelError, match="attention_mask"):
        model(ids)
    model.config.pad_token_id = 60
    torch.testing.assert_close(model(ids).logits, model(ids, attention_mask=mask).logits)
    embedded = model.get_input_embeddings()(ids)
    pooled = model(inputs_embeds=embedded, attention_mask=mask).logits
    torch.testing.assert_close(pooled, model(ids, attention_mask=mask).logits)
    with pytest.raises(ModelError, match="attention_mask"):
        model(inputs_embeds=embedded)


@pytest.mark.parametrize(
    ("outputs", "labels", "expected"),
    [
        (3, torch.tensor([0, 2]), lambda logits, y: torch.nn.functional.cross_entropy(logits, y)),
        (1, torch.tensor([0.5, 2.0]), lambda logits, y: (logits[:, 0] - y).square().mean()),
        (
            3,
            torch.tensor([[0.0, 1.0, 1.0], [1.0, 0.0, 0.0]]),
            lambda logits, y: torch.nn.functional.binary_cross_entropy_with_logits(logits, y),
        ),
    ],
    ids=["classes", "regression", "many labels"],
)
def test_loss_by_kind_of_label(outputs, labels, expected):
    ids, mask = padded(texts(2), "right")
    out = classifier("transformer", outputs)(ids, attention_mask=mask, labels=labels)
    torch.testing.assert_close(out.loss, expected(out.logits, labels))
