"""Names that look like numbers, dates or truth values stay the texts they are, on the command line and in files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from tests.helpers.data_folders import write_frames, write_masks
from vos_zoo.config.layers import load_config, save_config
from vos_zoo.config.schema import StageConfig, key_types
from vos_zoo.config.settings.data import DataConfig, MixturePart
from vos_zoo.config.yaml_texts import read_value, read_yaml, type_of_key
from vos_zoo.data.opening import open_dataset
from vos_zoo.types import UsageError

NAMES = [
    "330e1204",
    "007",
    "1e5",
    "0x12",
    "0b11",
    "1_000",
    "12:30:00",
    "2024-01-01",
    "2024-01-01T12:30:00",
    ".5",
    "1.0",
]
NAMES += ["true", "null", "~", "yes", "No", "on", "off", ".inf", ".nan", "aaaaaaaa", "0o17", "+1", "-0", "3.14e-2"]


@pytest.mark.parametrize(
    "override",
    ["data.sequences=[{}]", "data.mixture.synthetic.sequences=[{}]", "data.mixture={{synthetic: {{sequences: [{}]}}}}"],
)
def test_names_of_videos_stay_texts_on_the_command_line(override: str) -> None:
    data = load_config("lwl", overrides=[override.format(", ".join(NAMES))]).data
    assert (data.sequences or data.mixture["synthetic"]["sequences"]) == NAMES


@pytest.mark.parametrize(
    "content",
    [
        "data: {{sequences: [{0}]}}",
        "data:\n  sequences:\n  - {1}\n",
        "data: {{mixture: {{synthetic: {{sequences: [{0}], weight: 2}}}}}}",
    ],
)
def test_names_of_videos_stay_texts_in_files(tmp_path: Path, content: str) -> None:
    (tmp_path / "mine.yaml").write_text(content.format(", ".join(NAMES), "\n  - ".join(NAMES)))
    data = load_config("lwl", files=[tmp_path / "mine.yaml"]).data
    assert (data.sequences or data.mixture["synthetic"]["sequences"]) == NAMES


@pytest.mark.parametrize("name", ["007", "330e1204", "true", "2024-01-01", "12:30:00", "0x12"])
def test_folders_runs_splits_and_labels_stay_texts(tmp_path: Path, name: str) -> None:
    (tmp_path / "mine.yaml").write_text(
        f"run_name: {name}\npaths: {{{name}: {name}}}\ndata: {{root: {name}, static: {{repeat: {{{name}: 3}}}}}}\n"
        f"stages:\n- {{name: {name}, run_name: {name}}}\n"
    )
    config = load_config("lwl", files=[tmp_path / "mine.yaml"], overrides=[f"data.val_split={name}", f"output={name}"])
    assert (config.run_name, config.data.root, config.data.val_split, config.output) == (name,) * 4
    assert config.paths == {name: name} and config.data.static.repeat == {name: 3}
    assert config.stages == [name]


def test_a_stage_keeps_the_names_of_its_videos(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("stages: [{name: 007, data: {sequences: [330e1204], batch_size: 3}}]")
    config = load_config("lwl", files=[tmp_path / "mine.yaml"], stage="007")
    assert config.data.sequences == ["330e1204"] and config.data.batch_size == 3


@pytest.mark.parametrize("word", ["null", "~", "", "Null"])
def test_null_by_itself_means_that_nothing_is_said(word: str) -> None:
    config = load_config("lwl", overrides=["data.sequences=[a]", "run_name=a", f"run_name={word}", f"data.root={word}"])
    assert config.run_name is None and config.data.root is None
    assert load_config("lwl", overrides=["data.sequences=[a]", f"data.sequences={word}"]).data.sequences is None


def test_quotes_make_a_text_of_null() -> None:
    assert load_config("lwl", overrides=["run_name='null'"]).run_name == "null"


@pytest.mark.parametrize(
    "folder", ["/data #2/davis", "C: drive/x", "[old] data", "*star", "a, b", "100%", "@home", "{x}"]
)
def test_a_folder_is_taken_as_it_is_written_whatever_is_in_its_name(folder: str) -> None:
    assert load_config("lwl", overrides=[f"data.root={folder}"]).data.root == folder


def test_numbers_stay_numbers_where_numbers_are_expected(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("optim: {groups: {7: 1e-3}, weight_decay: 5.0e-4}\ntrainer: {max_epochs: 3}")
    config = load_config("lwl", files=[tmp_path / "mine.yaml"], overrides=["seed=7", "model.rate=1e5", "track.x=true"])
    assert config.optim.groups["7"] == 1e-3 and config.optim.weight_decay == 5e-4
    assert config.trainer["max_epochs"] == 3 and config.seed == 7
    assert config.model["rate"] == 1e5 and config.track["x"] is True


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("12:00:00:00", "12:00:00:00"),
        ("190:20:30.15", "190:20:30.15"),
        ("010", "010"),
        ("2024-01-01", "2024-01-01"),
        ("0", 0),
        ("-17", -17),
        ("1_000", 1000),
        ("0x10", 16),
        ("1.5", 1.5),
        ("-.5", -0.5),
        ("3.", 3.0),
        ("1e-3", 1e-3),
        ("2E5", 2e5),
        ("1.5e+3", 1.5e3),
        (".inf", float("inf")),
        ("true", True),
        ("null", None),
        ("1.2.3", "1.2.3"),
    ],
)
def test_words_of_no_known_type_are_numbers_only_if_they_look_like_numbers(word: str, value: Any) -> None:
    found = read_value(word, Any)
    assert found == value and type(found) is type(value)
    assert load_config("lwl", overrides=[f"trainer.max_time={word}"]).trainer.get("max_time") == value


def test_a_number_with_leading_zeros_is_a_decimal_one_where_a_number_is_expected() -> None:
    assert load_config("lwl", overrides=["seed=010"]).seed == 10


@settings(max_examples=12, deadline=None)
@given(
    names=st.lists(st.text(st.sampled_from("0123456789eExXobB_.+-:TZtrufalsn~"), min_size=1, max_size=12), min_size=5)
)
@example(["-.4", "+.5_", "x", "0", "."])
def test_a_saved_configuration_says_the_same_to_every_reader(tmp_path_factory: Any, names: list[str]) -> None:
    config = load_config("lwl")
    config.model["texts"], config.data.sequences, config.track["by name"] = names, names, {names[0]: [names[1], 1e-6]}
    config.data.mixture = {names[2]: {"name": "synthetic", "sequences": names}}
    path = save_config(config, tmp_path_factory.mktemp("saved") / "config.yaml")
    assert load_config(files=[path]) == config
    for read in (yaml.safe_load(path.read_text()), OmegaConf.to_container(OmegaConf.load(path))):
        assert read["model"]["texts"] == read["data"]["sequences"] == names


def test_videos_with_such_names_can_be_chosen(tmp_path: Path) -> None:
    names = [name for name in NAMES if not name.startswith(".")]
    for name in names:
        write_frames(tmp_path / "JPEGImages" / name, ["0", "1"])
        write_masks(tmp_path / "Annotations" / name, {"0": (1,)})
    for name in names:
        config = load_config("lwl", data="folder", overrides=[f"data.root={tmp_path}", f"data.sequences=[{name}]"])
        data = open_dataset("folder", config.data.root, sequences=config.data.sequences)
        assert [video.name for video in data] == [name]
    with pytest.raises(UsageError, match=r"330 is not text; put the names of sequences in quotes"):
        open_dataset("folder", tmp_path, sequences=[330])  # type: ignore[list-item]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\na: 2", "duplicate key 'a'"),
        ("007: 1\n007: 2", "duplicate key '007'"),
        ("a: &x [*x]", "contains itself"),
        ("a: [1", "while parsing"),
    ],
)
def test_what_is_no_yaml_is_refused(text: str, message: str) -> None:
    with pytest.raises(yaml.YAMLError, match=message):
        read_yaml(text, dict[str, list[str]])


def test_merged_mappings_follow_the_same_rule() -> None:
    text = "base: &b {sequences: [007], year: 2016}\nmore: {<<: *b, year: 2017}"
    assert read_yaml(text, dict[str, MixturePart]) == {
        "base": {"sequences": ["007"], "year": 2016},
        "more": {"sequences": ["007"], "year": 2017},
    }


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_file_may_be_written_by_any_editor(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "mine.yaml").write_bytes("data: {sequences: [bär]}\n".encode(encoding))
    assert load_config("lwl", files=[tmp_path / "mine.yaml"]).data.sequences == ["bär"]


def test_the_type_of_a_nested_key_is_known() -> None:
    find = lambda *keys: type_of_key(DataConfig, keys, key_types)  # noqa: E731
    assert find("mixture", "davis", "sequences") == list[str] | None
    assert find("batch_size") is int and find("nowhere", "else") is Any
    assert type_of_key(StageConfig, ["stages"], key_types) == list[str | StageConfig]
    assert read_value("7", int) == 7 and read_value("007", str) == "007"
