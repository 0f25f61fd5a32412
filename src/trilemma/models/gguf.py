"""GGUF files as Hugging Face model folders.

A file is unpacked once, by transformers and the package ``gguf``, to the user's cache folder: its weights in
float32, whatever it is quantised to, and its tokenizer. The folder's name is the file's content, so that a
changed file is another model.
"""

import importlib.util
import os
import shutil
import tempfile
from pathlib import Path

from trilemma.errors import ModelError, one_line
from trilemma.files import cache_folder, disk_errors, sha256
from trilemma.models.checkpoints import require_buildable, require_complete, without_bars

SUFFIX = ".gguf"


def unpacked(path: Path) -> Path:
    """The model folder that holds what a GGUF file holds, in float32.

    Raises:
        ModelError: where the file is no language model that transformers reads, or ``gguf`` is not installed.
        StoreError: where the cache folder cannot be written.
    """
    try:
        folder = cache_folder() / "gguf" / sha256(path)[:24]
    except OSError as error:
        raise ModelError(f"{path} cannot be read ({error.strerror}); name a GGUF file") from error
    if (folder / "config.json").is_file():
        return folder
    if importlib.util.find_spec("gguf") is None:
        raise ModelError(f"{path} is a GGUF file, which needs the package gguf: pip install gguf")
    with disk_errors(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        made = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
        try:
            _unpack(path, made)
            try:
                os.rename(made, folder)
            except OSError:  # another process was first
                if not (folder / "config.json").is_file():
                    raise
        finally:
            shutil.rmtree(made, ignore_errors=True)
    return folder


def _unpack(path: Path, folder: Path) -> None:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    where = {"gguf_file": path.name, "local_files_only": True}
    try:
        with without_bars():
            AutoConfig.from_pretrained(path.parent, **where).save_pretrained(folder)
            require_buildable(folder)
            model, info = AutoModelForCausalLM.from_pretrained(
                path.parent, dtype=torch.float32, output_loading_info=True, **where
            )
            require_complete(path, sorted(info["missing_keys"]))
            tokenizer = AutoTokenizer.from_pretrained(path.parent, **where)
    except ModelError:
        raise
    except Exception as error:  # a foreign file can fail in any way
        raise ModelError(
            f"{path} holds no language model that transformers can unpack ({one_line(error)}); fetch it "
            "again, or give the model as a Hugging Face folder"
        ) from error
    model.hf_quantizer = None  # the weights are plain ones by now
    del model.config.quantization_config
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
