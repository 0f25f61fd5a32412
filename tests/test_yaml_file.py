"""Files that people write: what is read, and each fault in one sentence of the class that is asked for."""

from pathlib import Path

import pytest

from trilemma.errors import DeployError
from trilemma.yaml_file import MOST_BYTES, read_yaml


def test_json_dates_and_a_byte_order_mark_are_read(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_bytes(b'\xef\xbb\xbf{"name": "x", "at": 2020-99-99, "n": 3}')
    content, root = read_yaml(tmp_path / "a.yaml", "a list")
    assert content == {"name": "x", "at": "2020-99-99", "n": 3} and root is not None


def test_an_empty_file_has_no_content(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("# nothing yet\n")
    assert read_yaml(tmp_path / "a.yaml", "a list") == (None, None)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("a: 1\nb: 2\na: 3\n", "line 3: `a` is given twice"),
        ("- {x: 1}\n- {y: 1, y: 1}\n", "line 2: `y` is given twice"),
        ("a: &one [1]\nb: *one\n", "aliases .* are not supported in a list"),
        ("{a: 1, 5: x}\n", "`5` cannot name a field"),
        ("[1, 2]: x\n", "a list or block cannot name a field"),
        ("n: " + "9" * 30, "larger number than any field takes"),
        ('n: "\\0"', "a NUL character"),
        ("n: !!int three", "cannot read"),
        ("- !!python/object/apply:os.system ['true']\n", "not valid YAML"),
        ("a: [1\n", "line 2 is not valid YAML"),
        ("[" * 5000, "nested too deeply"),
        ("[" * 400_000 + "]" * 400_000, "nested too deeply"),
        ("- " * 400_000, "nested too deeply"),
        (b"a: \xff\n", "not UTF-8 text .byte 3."),
        (b"\x00", "not valid YAML"),
        ("#" * (MOST_BYTES + 1), "too long for a list"),
    ],
)
def test_a_fault_is_one_sentence(tmp_path: Path, content: str | bytes, said: str) -> None:
    path = tmp_path / "a.yaml"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(DeployError, match=said) as refused:
        read_yaml(path, "a list", DeployError)
    assert "a.yaml" in str(refused.value) and "\n" not in str(refused.value)


@pytest.mark.parametrize("name", ["absent.yaml", ".", "a\0b"])
def test_what_is_no_file_cannot_be_read(tmp_path: Path, name: str) -> None:
    with pytest.raises(DeployError, match=r"cannot be read .*; name a YAML file that is a list"):
        read_yaml(tmp_path / name, "a list", DeployError)
