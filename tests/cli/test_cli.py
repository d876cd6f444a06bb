"""The command line: help without heavy imports, one-line errors with the right exit code, what is handed to tasks."""

from __future__ import annotations

import importlib
import inspect
import json
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import pytest

import vos_zoo
from vos_zoo.cli import main
from vos_zoo.config.resources import variants
from vos_zoo.registry import available_methods
from vos_zoo.types import Box, UsageError, VOSError

METHOD = available_methods()[0]
COMMANDS = (
    "quickstart",
    "fit",
    "validate",
    "test",
    "track",
    "demo",
    "review",
    "simulate",
    "benchmark",
    "export",
    "convert",
    "leaderboard",
    "score",
    "models",
    "config",
    "weights",
    "check-data",
    "check-submission",
    "make-data",
    "export-masks",
    "import-masks",
)
TASKS = ("run_fit", "run_validate", "run_test", "run_track", "run_convert", "run_leaderboard", "run_check_data")
TASKS += ("run_make_data",)


@pytest.fixture
def calls(monkeypatch) -> list[tuple[str, dict[str, Any]]]:
    """Stands in for `vos_zoo.tasks`: notes which function is called with which keywords."""
    noted: list[tuple[str, dict[str, Any]]] = []

    def note(name):
        return lambda **keywords: noted.append((name, keywords))

    fake = SimpleNamespace(**{name: note(name) for name in TASKS})
    monkeypatch.setitem(sys.modules, "vos_zoo.tasks", fake)
    monkeypatch.setattr(vos_zoo, "tasks", fake, raising=False)
    return noted


@pytest.fixture
def files(tmp_path, monkeypatch):
    """An empty working folder with a video, a mask and a model folder that names its method."""
    monkeypatch.chdir(tmp_path)
    for name in ("video.mp4", "first.png", "authors.pth", "last.ckpt"):
        (tmp_path / name).touch()
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text(json.dumps({"method": METHOD}), encoding="utf-8")
    (tmp_path / "model" / "model.safetensors").touch()
    (tmp_path / "DAVIS" / "ImageSets").mkdir(parents=True)
    (tmp_path / "videos").mkdir()
    return tmp_path


def _only(calls: list[tuple[str, dict[str, Any]]], name: str) -> dict[str, Any]:
    assert [called for called, _ in calls] == [name]
    return calls[0][1]


@pytest.mark.parametrize(
    "command", [(), *((command,) for command in COMMANDS)], ids=lambda words: "-".join(words) or "top"
)
def test_help_explains_every_option_and_imports_no_heavy_library(command):
    script = (
        "import sys\nfrom vos_zoo.cli import main\n"
        "try: main(sys.argv[1:])\nexcept SystemExit as stop: assert stop.code == 0\n"
        "heavy = {'torch', 'torchvision', 'pytorch_lightning', 'timm', 'albumentations', 'cv2', 'wandb', 'omegaconf'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script, *command, "--help"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(" ".join(["usage: vos-zoo", *command]))
    wanted = ("examples:", "--debug") if command else COMMANDS
    assert all(word in done.stdout for word in wanted)


def test_every_option_of_every_command_has_a_help_text():
    from vos_zoo.cli import build_parser

    commands = next(action for action in build_parser()._actions if action.dest == "command").choices
    assert set(commands) == set(COMMANDS)
    for name, parser in commands.items():
        assert all(action.help for action in parser._actions), name


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "arguments are required: COMMAND"),
        (["fti"], "invalid choice: 'fti'"),
        (["fit", "--modle", "x"], "unknown option '--modle'; did you mean '--model'?"),
        (["fit", "--model"], "--model: expected one argument"),
        (["fit"], "which method? give --model, one of: "),
        (["fit", "--model", "no_such_method"], "unknown method 'no_such_method'"),
        (["fit", "--model", METHOD, "data.rot=1"], "unknown key 'data.rot'; did you mean 'data.root'?"),
        (["fit", "--model", METHOD, "word"], "'word' is not of the form key=value"),
        (["fit", "--model", METHOD, "--data", "dvais"], "unknown data set 'dvais'; did you mean 'davis'?"),
        (["fit", "--model", METHOD, "--recipe", "nothing"], "unknown recipe 'nothing'"),
        (["fit", "--model", METHOD, "--config", "nothing.yaml"], "nothing.yaml: no such configuration file"),
        (["fit", "--model", METHOD, "--ckpt", "nothing.ckpt"], "--ckpt nothing.ckpt: no such file"),
        (["validate", "--model", METHOD], "required: --weights"),
        (["validate", "--weights", "nothing.ckpt"], "--weights nothing.ckpt: no such file"),
        (["test", "--weights", "somebody/something"], "which method? give --model"),
        (["track", "video.mp4", "--output", "o"], "give --mask FILE or --box"),
        (["track", "gone.mp4", "--mask", "first.png", "--output", "o"], "source gone.mp4: no such file"),
        (["track", "video.mp4", "--mask", "gone.png", "--output", "o"], "--mask gone.png: no such file"),
        (["track", "video.mp4", "--box", "1:2,3", "--output", "o"], "'1:2,3' is not of the form ID:X,Y,W,H"),
        (["track", "video.mp4", "--box", "0:1,1,2,2", "--output", "o"], "id 0 is not an object; ids go from 1 to 254"),
        (["track", "video.mp4", "--box", "255:1,1,2,2", "--output", "o"], "id 255 is not an object"),
        (["track", "video.mp4", "--box", "1:nan,1,2,2", "--output", "o"], "must be finite"),
        (
            ["track", "video.mp4", "--mask", "first.png", "--mask-threshold", "0", "--output", "o"],
            "--mask-threshold: 0",
        ),
        (["track", "video.mp4", "--box", "1:1,1,0,2", "--output", "o"], "width and height must be greater than 0"),
        (["track", "video.mp4", "--box", "1:1,1,2,2", "--box", "1:3,3,2,2", "--output", "o"], "needs its own id"),
        (["convert", "gone.pth", "--model", METHOD, "--output", "o"], "gone.pth: no such file"),
        (["models", "data.root=1"], "unexpected argument 'data.root=1'"),
        (["check-data", "gone"], "folder gone: no such file or folder"),
        (["make-data", "real", "--output", "o"], "invalid choice: 'real'"),
    ],
)
def test_a_wrong_request_exits_with_2_and_one_line_before_any_work(words, message, calls, files, capsys):
    assert main(words) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("vos-zoo: ") and captured.err.count("\n") == 1
    assert message in captured.err
    assert calls == []


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (VOSError("the disk\nis full"), 1, "vos-zoo: the disk is full\n"),
        (UsageError("no such split"), 2, "vos-zoo: no such split\n"),
        (KeyError("x"), 1, "vos-zoo: KeyError: 'x' (--debug shows where)\n"),
        (KeyboardInterrupt(), 130, "vos-zoo: interrupted\n"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_errors_of_a_run_become_one_line_and_their_exit_code(error, code, line, calls, files, monkeypatch, capsys):
    def fail(**keywords):
        raise error

    monkeypatch.setattr(vos_zoo.tasks, "run_fit", fail)
    assert main(["fit", "--model", METHOD]) == code
    assert capsys.readouterr().err == line


def test_debug_shows_the_traceback_and_then_the_line(calls, monkeypatch, capsys):
    def fail(**keywords):
        raise ValueError("odd")

    monkeypatch.setattr(vos_zoo.tasks, "run_fit", fail)
    assert main(["fit", "--debug", "--model", METHOD]) == 1
    err = capsys.readouterr().err
    assert "Traceback (most recent call last)" in err
    assert err.endswith("vos-zoo: ValueError: odd\n")


def test_the_exit_code_of_a_task_is_the_exit_code_of_the_command(calls, monkeypatch):
    monkeypatch.setattr(vos_zoo.tasks, "run_fit", lambda **keywords: 3)
    assert main(["fit", "--model", METHOD]) == 3


def test_fit_hands_over_the_configuration_the_checkpoint_and_the_command_line(calls, files):
    (files / "mine.yaml").write_text("seed: 5\noutput: elsewhere\n", encoding="utf-8")
    words = ["fit", "seed=6", "--model", METHOD, "--config", "mine.yaml", "trainer.max_epochs=2", "--ckpt", "last.ckpt"]
    assert main(words) == 0
    keywords = _only(calls, "run_fit")
    assert (keywords["config"].method, keywords["config"].seed, keywords["config"].output) == (METHOD, 6, "elsewhere")
    assert keywords["config"].trainer["max_epochs"] == 2
    assert keywords["ckpt"] == "last.ckpt"
    assert keywords["command"] == "vos-zoo " + " ".join(words)


@pytest.mark.parametrize("command", ["validate", "test"])
@pytest.mark.parametrize("weights", ["model", "model/model.safetensors"])
def test_scoring_takes_the_method_from_the_folder_of_the_weights(command, weights, calls, files):
    assert main([command, "--weights", weights, "--data", "davis", "data.root=DAVIS", "--output", "o"]) == 0
    keywords = _only(calls, f"run_{command}")
    assert keywords["config"].method == METHOD
    assert (keywords["config"].data.name, keywords["config"].data.root) == ("davis", "DAVIS")
    assert (keywords["weights"], keywords["output"]) == (weights, "o")


def test_track_hands_over_mask_boxes_and_settings(calls, files):
    words = ["track", "video.mp4", "--weights", "model", "--mask", "first.png", "--output", "out.mp4", "--overlay"]
    assert main([*words, "--box", "2:1,2,30,40", "--box", "7:0.5,2,3,4"]) == 0
    keywords = _only(calls, "run_track")
    assert keywords.pop("config").method == METHOD
    assert keywords == {
        "source": "video.mp4",
        "weights": "model",
        "mask": "first.png",
        "boxes": {2: Box(1, 2, 30, 40), 7: Box(0.5, 2, 3, 4)},
        "mask_threshold": None,
        "output": "out.mp4",
        "overlay": True,
        "report": False,
        "every": 1,
        "skip": False,
    }


def test_a_step_of_written_frames_below_one_is_refused(calls, files, capsys):
    words = ["track", "video.mp4", "--model", METHOD, "--mask", "first.png", "--output", "o"]
    assert main([*words, "--every", "0"]) == 2
    assert "--every" in capsys.readouterr().err
    assert main([*words, "--every", "5", "--skip"]) == 0
    keywords = _only(calls, "run_track")
    assert (keywords["every"], keywords["skip"]) == (5, True)


def test_the_camera_is_not_looked_for_on_the_disk(calls, files):
    assert main(["track", "camera", "--model", METHOD, "--box", "1:1,2,3,4", "--output", "o"]) == 0
    assert _only(calls, "run_track")["source"] == "camera"


def test_a_camera_is_chosen_by_its_number(calls, files, capsys):
    words = ["--model", METHOD, "--box", "1:1,2,3,4", "--output", "o"]
    assert main(["track", "camera:1", *words]) == 0
    assert _only(calls, "run_track")["source"] == "camera:1"
    assert main(["track", "camera:front", *words]) == 2
    assert "'camera:NUMBER'" in capsys.readouterr().err


def test_convert_hands_over_file_and_folder(calls, files):
    assert main(["convert", "authors.pth", "--model", METHOD, "--output", "o"]) == 0
    keywords = _only(calls, "run_convert")
    assert keywords.pop("config").method == METHOD
    assert keywords == {"source": "authors.pth", "output": "o"}


@pytest.mark.parametrize(
    ("words", "name"), [(["DAVIS"], "davis"), (["videos"], "folder"), (["videos", "--data", "davis"], "davis")]
)
def test_check_data_recognises_the_layout_unless_it_is_told(words, name, calls, files):
    assert main(["check-data", *words]) == 0
    data = _only(calls, "run_check_data")["config"].data
    assert (data.name, data.root) == (name, words[0])


def test_make_data_needs_no_method(calls, files):
    assert main(["make-data", "synthetic", "--output", "toy", "data.synthetic.frames=5"]) == 0
    keywords = _only(calls, "run_make_data")
    assert keywords["config"].method is None and keywords["config"].data.synthetic.frames == 5
    assert (keywords["kind"], keywords["output"]) == ("synthetic", "toy")


def test_models_lists_every_method_without_torch(files):
    script = "import sys; from vos_zoo.cli import main; main(['models']); assert 'torch' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=files)
    assert done.returncode == 0, done.stderr
    header, *rows = done.stdout.splitlines()
    assert header.split() == ["name", "year", "title", "paper", "config", "card"]
    assert [row.split()[0] for row in rows] == sorted([*available_methods(), *variants()])


@pytest.mark.parametrize(
    ("name", "keywords"),
    [
        ("run_fit", {"config", "ckpt", "command"}),
        ("run_validate", {"config", "weights", "output"}),
        ("run_test", {"config", "weights", "output"}),
        ("run_track", {"config", "source", "weights", "mask", "boxes", "output", "overlay"}),
        ("run_convert", {"config", "source", "output"}),
        ("run_check_data", {"config"}),
        ("run_make_data", {"config", "kind", "output"}),
    ],
)
def test_the_tasks_take_what_the_command_line_hands_over(name, keywords):
    task = getattr(importlib.import_module("vos_zoo.tasks"), name)
    inspect.signature(task).bind(**dict.fromkeys(keywords))
