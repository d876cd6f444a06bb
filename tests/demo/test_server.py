"""The addresses behind the page: errors are one line, nobody else is answered, uploads are kept as long as needed."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from tests.helpers.demo_page import served
from tests.helpers.shifting_model import ShiftingModel
from vos_zoo import samples
from vos_zoo.cli import main
from vos_zoo.demo.serve import HOST, listen
from vos_zoo.types import UsageError


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """The folder of the server."""
    return tmp_path_factory.mktemp("demo")


@pytest.fixture(scope="module")
def address(place):
    with served(lambda name: ShiftingModel(), {"small": "small (J&F 50.0)"}, samples.clip().video, place) as url:
        yield url


def ask(address, path, body=None, **headers):
    """Status and answer of a request; JSON is parsed."""
    data = None if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    request = urllib.request.Request(address + path, data=data, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=20) as response:
            status, content, kind = response.status, response.read(), response.headers.get("content-type", "")
    except urllib.error.HTTPError as error:
        status, content, kind = error.code, error.read(), error.headers.get("content-type", "")
    return status, json.loads(content) if kind.startswith("application/json") else content


@pytest.fixture
def tab(address):
    status, answer = ask(address, "/api/tabs", {})
    assert status == 200 and answer["weights"] == [{"name": "small", "about": "small (J&F 50.0)"}]
    assert answer["state"]["video"] == {
        "name": "bunny", "number": 1, "frames": 50, "width": 640, "height": 360, "fps": answer["state"]["video"]["fps"]
    }  # fmt: skip
    return f"/api/tabs/{answer['tab']}"


def test_frames_and_masks_are_pictures(address, tab):
    ask(address, f"{tab}/add_object", {})
    assert ask(address, f"{tab}/masks/3.png") == (204, b"")
    stroke = {"frame": 3, "object": 1, "points": [[100, 100]], "radius": 5, "erase": False}
    status, answer = ask(address, f"{tab}/draw", stroke)
    assert status == 200 and answer["state"]["drawn"] == [3]
    frame = np.asarray(Image.open(BytesIO(ask(address, f"{tab}/frames/3.jpg")[1])))
    mask = Image.open(BytesIO(ask(address, f"{tab}/masks/3.png")[1]))
    assert frame.shape == (360, 640, 3) and mask.info["transparency"] == 0
    assert np.asarray(mask)[100, 100] == 1 and np.asarray(mask)[0, 0] == 0


@pytest.mark.parametrize(
    ("action", "body", "reason"),
    [
        ("fly", {}, "there is no action 'fly'"),
        ("draw", {}, "the request lacks 'points'"),
        ("draw", {"points": [[1]], "radius": 2, "frame": 0, "object": 1}, "not a list of 2 numbers"),
        ("draw", {"points": [[1, 1]], "radius": "x", "frame": 0, "object": 1}, "'x' is not a number"),
        ("draw", {"points": [[1, 1]], "radius": 2, "frame": 0, "object": 9}, "there is no object 9"),
        ("draw", {"points": [[1, 1]], "radius": 2, "frame": 77, "object": 1}, "there is no frame 77"),
        ("box", {"box": [1, 2, 3], "frame": 0, "object": 1}, "not a list of 4 numbers"),
        ("clear", {"frame": 0.5}, "0.5 is not a whole number"),
        ("track", {"frame": 0}, "nothing to track"),
        ("undo", [], "a list instead of an object"),
        ("open", {"path": "/no/such/file.mp4"}, "no such video file or folder"),
    ],
)
def test_what_a_project_refuses_is_answered_with_one_line(address, tab, action, body, reason):
    if body != {"frame": 0}:
        ask(address, f"{tab}/add_object", {})
    status, answer = ask(address, f"{tab}/{action}", body)
    assert status == 400 and reason in answer["error"] and "\n" not in answer["error"]


def test_a_file_that_is_no_video_is_refused_by_its_own_name_and_deleted(address, tab, place):
    status, answer = ask(address, f"{tab}/video?name=holiday.mp4", b"these bytes are no video")
    assert status == 400 and answer["error"].startswith("holiday.mp4: ") and str(place) not in answer["error"]
    assert not list(place.glob("*/uploads/*"))
    assert ask(address, tab)[1]["state"]["video"]["name"] == "bunny"


def test_an_uploaded_video_is_kept_while_it_is_open(address, tab, place):
    content = samples.clip().video.read_bytes()
    for name in ("one.mp4", "../../two.mp4"):
        status, answer = ask(address, f"{tab}/video?name={name}", content)
        assert status == 200 and answer["message"].endswith("50 frames of 640x360")
    assert [path.name for path in place.glob("*/uploads/*/*")] == ["two.mp4"]
    assert ask(address, f"{tab}/open_sample", {})[0] == 200


def test_an_uploaded_mask_becomes_objects(address, tab, place):
    status, answer = ask(address, f"{tab}/masks/0.png?name=first.png", samples.clip().mask.read_bytes())
    assert status == 200 and answer["message"] == "first.png: 1 object" and answer["state"]["drawn"] == [0]
    status, answer = ask(address, f"{tab}/masks/0.png?name=bad.png", b"no picture")
    assert status == 400 and answer["error"].startswith("mask bad.png: cannot be read as an image")
    assert not list(place.glob("*/uploads/*/*.png"))


def test_a_tab_is_known_by_its_own_id_alone(address, tab):
    ask(address, f"{tab}/add_object", {})
    other = ask(address, "/api/tabs", {"tab": "guess"})[1]
    assert other["tab"] not in tab and not other["state"]["objects"]
    again = ask(address, "/api/tabs", {"tab": tab.rpartition("/")[2]})[1]
    assert again["tab"] in tab and again["state"]["objects"]
    assert ask(address, "/api/tabs/guess")[0] == 400


def test_other_hosts_and_other_sites_are_refused(address):
    assert ask(address, "/")[0] == 200
    assert ask(address, "/", Host="example.org")[0] == 403
    assert ask(address, "/api/tabs", {}, Origin="http://example.org")[0] == 403
    assert ask(address, "/api/tabs", {}, Origin="http://127.0.0.1:1")[0] == 403
    assert ask(address, "/api/tabs", {}, Origin=address)[0] == 200


def test_only_the_page_itself_is_served(address):
    assert ask(address, "/../server.py")[0] == 404 and ask(address, "/%2e%2e/server.py")[0] == 404
    assert b"demo.js" in ask(address, "/")[1]


def test_the_page_names_no_other_machine(address):
    for path in ("/", "/demo.css", "/demo.js", "/view.js", "/pen.js", "/server.js"):
        status, content = ask(address, path)
        assert status == 200 and b"//" not in content.replace(b"// ", b"").replace(b"http://www.w3.org/", b""), path


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_the_server_leaves_nothing_behind(tmp_path, ending):
    code = (
        "import functools, sys; from vos_zoo.demo.serve import serve;"
        "serve(None, {'small': ''}, sys.argv[1], port=0, open_browser=False, say=functools.partial(print, flush=True))"
    )
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    command = [sys.executable, "-c", code, samples.clip().video]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        url = process.stdout.readline().split()[0]
        assert ask(url, "/api/tabs", {})[0] == 200 and len(list(tmp_path.glob("vos-zoo-demo-*/*"))) == 1
        process.send_signal(ending)
        assert process.wait(20) == 0
    assert not list(tmp_path.iterdir())


def test_a_port_in_use_is_named():
    with socket.socket() as taken:
        taken.bind((HOST, 0))
        taken.listen()
        with pytest.raises(UsageError, match=f"port {taken.getsockname()[1]}: cannot be used"):
            listen(taken.getsockname()[1])


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["missing.mp4"], "video missing.mp4: no such file or folder"),
        (["--port", "70000"], "--port: 70000"),
        (["--weights", "joint-smal"], "joint-small"),
    ],
)
def test_the_command_refuses_what_it_cannot_serve(words, reason, capsys):
    assert main(["demo", *words]) == 2
    assert reason in capsys.readouterr().err
