"""Which models are measured, and in which form."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForSequenceClassification

from tests.stand_ins.measured import MACHINE, NO_METER
from tests.stand_ins.tiny_models import byte_tokenizer, save_bert, save_llama
from trilemma.errors import ModelError, TrilemmaError
from trilemma.models import loading as model_loading
from trilemma.ops.ternary.packed import multiplies_packed
from trilemma.profiling import EfficiencyGrid, ModelUnderTest, merge_same_shape
from trilemma.profiling.loading import load, put_in_form
from trilemma.profiling.models import lacking, opened
from trilemma.profiling.session import Session


def session_of(models: list[ModelUnderTest], **grid: Any) -> Session:
    return Session(models, EfficiencyGrid(**grid), device="cpu", machine=MACHINE, meter=NO_METER)


def test_models_of_one_shape_are_merged_under_all_names(tmp_path: Path) -> None:
    scratch = ModelUnderTest(("scratch",), save_llama(tmp_path / "a"))
    pretrained = ModelUnderTest(("pretrained",), save_llama(tmp_path / "b"))
    wider = ModelUnderTest(("wider",), save_llama(tmp_path / "c", hidden_size=64))
    half = ModelUnderTest(("half",), tmp_path / "a", precision="bfloat16")
    encoder = ModelUnderTest(("encoder",), save_bert(tmp_path / "d"))
    names = [model.names for model in merge_same_shape([scratch, wider, pretrained, half, encoder])]
    assert names == [("scratch", "pretrained"), ("wider",), ("half",), ("encoder",)]


def test_a_folder_without_configuration_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"config\.json is not a readable model configuration"):
        merge_same_shape([ModelUnderTest(("a",), tmp_path)])


def test_forms_weigh_what_they_should(tmp_path: Path) -> None:
    save_llama(tmp_path / "llama")
    precisions = ("float32", "bfloat16", "int8")
    with opened([tmp_path / "llama"], precisions=precisions) as models:
        assert [(model.name, model.precision) for model in models] == [("llama", one) for one in precisions]
        loaded = session_of(models).loaded("language model")
    weights = [one.description.weight_bytes for one in loaded]
    assert len({one.description.parameters for one in loaded}) == 1 and weights[1] == weights[0] / 2
    linear = [module for module in loaded[0].module.modules() if type(module) is torch.nn.Linear]
    quantised = sum(module.weight.numel() for module in linear)
    assert quantised > 0.5 * weights[0] / 4 and weights[2] == weights[0] - 3 * quantised


def test_packed_weights_are_those_of_matmul_free_models() -> None:
    with opened(["gla:nano", "matmul-free:nano"], precisions=("float32", "packed")) as models:
        names = [(model.name, model.precision) for model in models]
        session = session_of(models)
        plain, packed = (session.describe(model) for model in models[1:])
    assert names == [("gla:nano", "float32"), ("matmul-free:nano", "float32"), ("matmul-free:nano", "packed")]
    assert list(lacking(models, ("float32", "packed"))) == [("gla:nano", "packed")]
    assert plain.parameters == packed.parameters and packed.weight_bytes < plain.weight_bytes
    assert "packed" not in plain.kernel and "packed" in packed.kernel
    with (
        pytest.raises(ModelError, match=r"gla:nano \(model type gla\) has no ternary weights"),
        opened(["matmul-free:nano", "gla:nano"], precisions=("packed",)),
    ):
        pass


def test_what_is_deployed_is_packed_where_it_can_be_and_trained_as_it_is() -> None:
    with opened(["matmul-free:nano", "gla:nano"]) as models:
        ternary, dense = (replace(model, precision="deployed") for model in models)
        session = session_of([ternary, dense])
        assert session.precision(ternary, "classify") == ("packed" if multiplies_packed("cpu") else "float32")
        assert session.precision(ternary, "train") == session.precision(dense) == "float32"
    packed = replace(ternary, precision="packed")
    assert session.precision(packed, "train") == "packed" == packed.untrainable.split()[0]


def test_a_packed_folder_has_no_other_form(tmp_path: Path) -> None:
    tokenizer = byte_tokenizer()
    model: Any = model_loading.create("matmul-free", "nano", tokenizer, seed=0)
    model.pack()
    model_loading.save(model, tokenizer, tmp_path / "packed")
    plain = ModelUnderTest(("model",), tmp_path / "packed", precision="float32")
    with pytest.raises(ModelError, match="choose the precision packed"):
        put_in_form(load(plain, "cpu"), plain)


@pytest.mark.parametrize(
    ("save", "expected"),
    [
        (lambda folder: "gla:nano", "reaches 0% of the weights of gla:nano"),
        (
            lambda folder: (
                GPT2LMHeadModel(
                    GPT2Config(n_embd=32, n_layer=1, n_head=2, vocab_size=64, pad_token_id=0)
                ).save_pretrained(folder)
                or str(folder)
            ),
            "of the weights of gpt2 outside",
        ),
    ],
)
def test_a_model_that_torch_cannot_quantise_is_refused(
    tmp_path: Path, save: Callable[[Path], str], expected: str
) -> None:
    with opened([save(tmp_path / "gpt2")], precisions=("int8",)) as models:  # noqa: SIM117
        with pytest.raises(ModelError, match=expected):
            session_of(models).describe(models[0])


class Reaching(LlamaForSequenceClassification):
    """A model that reaches into its layers, which are others once torch has quantised them."""

    def forward(self, input_ids: torch.Tensor) -> torch.dtype:
        return self.score.weight.dtype


def test_a_model_that_reaches_into_quantised_layers_is_refused() -> None:
    config = LlamaConfig(hidden_size=32, num_hidden_layers=1, num_attention_heads=2, vocab_size=8)
    model = ModelUnderTest(("reaching",), Path("nowhere"), precision="int8")
    with pytest.raises(ModelError, match="does not run with layers that torch quantised"):
        put_in_form(Reaching(config).eval(), model)


def test_attention_implementations_are_set_or_refused(tmp_path: Path) -> None:
    save_llama(tmp_path / "llama")
    with opened([tmp_path / "llama"], attention=("eager", "sdpa", "nope")) as models:
        assert [load(model, "cpu").config._attn_implementation for model in models[:2]] == ["eager", "sdpa"]
        with pytest.raises(ModelError, match="cannot attend by 'nope'"):
            load(models[2], "cpu")
    with (
        opened(["gla:nano"], attention=("eager",)) as models,
        pytest.raises(ModelError, match="its own kernels"),
    ):
        load(models[0], "cpu")


def test_a_model_from_scratch_is_the_same_each_time() -> None:
    def weights() -> Mapping[str, torch.Tensor]:
        with opened(["gla:nano"]) as (one,):
            model = model_loading.load_language_model(one.folder)
            return {name: parameter.clone() for name, parameter in model.named_parameters()}

    before = torch.get_rng_state()
    first, second = weights(), weights()
    assert torch.equal(before, torch.get_rng_state())
    assert all(first[name].equal(second[name]) for name in first)
    with opened(["gla:nano"]) as (one,):
        folder = one.folder
    assert not folder.exists()


def test_folders_of_one_name_keep_their_paths(tmp_path: Path) -> None:
    paths = [save_bert(tmp_path / parent / "bert") for parent in ("a", "b")]
    with opened(paths) as models:
        assert [one.name for one in models] == [str(path) for path in paths]


@pytest.mark.parametrize(
    ("sources", "options", "expected"),
    [
        ([], {}, "name at least one model"),
        (["gla:nano"], {"precisions": ()}, "one precision"),
        (["gla:nano", "gla:nano"], {}, "the model gla:nano is named twice"),
        (["gla:nano"], {"precisions": ("int8", "int8")}, "the precision int8 is named twice"),
        (["gla:huge"], {}, "unknown size 'huge'; known: nano"),
        (["gpt:nano"], {}, "unknown architecture 'gpt'"),
        (["./absent"], {}, "the model folder './absent' does not exist"),
    ],
)
def test_bad_input_is_one_sentence(sources: list[str], options: dict[str, Any], expected: str) -> None:
    with pytest.raises(TrilemmaError) as refused, opened(sources, **options):
        pass
    assert expected in str(refused.value) and "\n" not in str(refused.value)


def test_a_folder_without_weights_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    with pytest.raises(ModelError, match="has no weights"), opened([tmp_path]):
        pass


def test_a_folder_called_model_has_the_name_of_what_it_is_the_model_of(tmp_path: Path) -> None:
    with opened([save_llama(tmp_path / "small" / "model"), save_llama(tmp_path / "llama")]) as models:
        assert [one.names for one in models] == [("small/model",), ("llama",)]
