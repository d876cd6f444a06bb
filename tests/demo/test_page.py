"""The page in a real browser: draw, track, correct, undo and export on a part of the sample clip, in one session."""

from __future__ import annotations

import json
import zipfile
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from tests.helpers.browser import find_browser
from tests.helpers.demo_page import served
from vos_zoo import VOSModel, samples
from vos_zoo.metrics import region_similarity
from vos_zoo.video.reader import open_video

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
expect = sync_api.expect
FRAMES, WIDTH, HEIGHT = 6, 640, 360
WAIT = 120_000  # milliseconds; a machine may be busy
RABBIT, ROCK = 1, 2


@pytest.fixture(scope="module")
def frames(tmp_path_factory):
    """The first frames of the sample clip, as a folder."""
    folder = tmp_path_factory.mktemp("clip") / "rabbit"
    folder.mkdir()
    for number, frame in enumerate(samples.clip().frames()[:FRAMES]):
        Image.fromarray(frame).save(folder / f"{number:05d}.png", compress_level=1)
    return folder


@pytest.fixture(scope="module")
def address(frames, tmp_path_factory):
    def load(name):
        return VOSModel.from_pretrained(name).eval()

    with served(load, {"pcvos-small": "pcvos-small"}, frames, tmp_path_factory.mktemp("demo")) as url:
        yield url


@pytest.fixture(scope="module")
def browser():
    program = find_browser()
    if program is None:
        pytest.skip("no Chromium on this machine (chromium, google-chrome, or the program VOS_ZOO_BROWSER names)")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()


class Tab:
    """A tab of the page, used with the mouse and the keyboard."""

    def __init__(self, browser, address):
        self.page = browser.new_page(viewport={"width": 1200, "height": 800})
        self.requests, self.errors = [], []
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.goto(address)
        expect(self.page.locator("body")).to_have_attribute("data-ready", "yes", timeout=WAIT)

    def says(self, text):
        expect(self.page.locator("#message")).to_contain_text(text, timeout=WAIT)

    def drag(self, *points):
        """Press the mouse at the first point of the frame, go through the others, and let go."""
        area = self.page.locator("#pen").bounding_box()
        spots = [(area["x"] + x * area["width"] / WIDTH, area["y"] + y * area["height"] / HEIGHT) for x, y in points]
        self.page.mouse.move(*spots[0])
        self.page.mouse.down()
        for spot in spots[1:]:
            self.page.mouse.move(*spot, steps=4)
        self.page.mouse.up()

    def go(self, frame):
        self.page.locator("#frame").fill(str(frame))
        expect(self.page.locator("#picture")).to_have_attribute("data-frame", str(frame), timeout=WAIT)

    def drawn(self, act):
        """Do what changes a mask, and wait until it is shown."""
        before = self.page.locator("#picture").get_attribute("data-version")
        act()
        expect(self.page.locator("#picture")).not_to_have_attribute("data-version", before, timeout=WAIT)

    def ask(self, path):
        """What the server answers to this tab."""
        address = next(url for url in self.requests if "/api/tabs/" in url)
        return self.page.request.get("/".join(address.split("/")[:6]) + path)

    def labels(self, frame):
        """The label map that the server shows of a frame."""
        return np.asarray(Image.open(BytesIO(self.ask(f"/masks/{frame}.png").body())))

    def picture(self):
        """The frame with its masks as the screen shows it, red minus green, float (H, W)."""
        image = Image.open(BytesIO(self.page.locator("#picture").screenshot())).convert("RGB").resize((WIDTH, HEIGHT))
        return np.asarray(image, dtype=float)[..., 0] - np.asarray(image, dtype=float)[..., 1]

    def export(self, kind, folder):
        with self.page.expect_download(timeout=WAIT) as download:
            self.page.click(f"[data-kind={kind}]")
        path = folder / download.value.suggested_filename
        download.value.save_as(path)
        return path


def test_draw_track_correct_undo_and_export_in_one_session(browser, address, tmp_path):
    tab = Tab(browser, address)
    page, clip = tab.page, samples.clip()
    bare = tab.picture()

    page.check("input[value=box]")
    x, y, w, h = clip.box
    tab.drag((x, y), (x + w / 2, y + h / 3), (x + w, y + h))
    tab.says("found by lwl-small")
    first = tab.labels(0)
    assert region_similarity(first == RABBIT, clip.first_mask() == 1) > 0.5
    reddened = tab.picture() - bare
    assert reddened[first == RABBIT].mean() > 30 and abs(reddened[first == 0].mean()) < 3

    page.get_by_label("name of object 1").fill("rabbit")
    page.get_by_label("name of object 1").press("Enter")
    page.click("#add")
    expect(page.locator("li[data-object='2']")).to_have_class("active")
    page.check("input[value=brush]")
    tab.drawn(lambda: tab.drag((470, 230), (560, 235)))
    assert (tab.labels(0)[225:240, 470:560] == ROCK).mean() > 0.9
    page.check("input[value=eraser]")
    tab.drawn(lambda: tab.drag((560, 235), (562, 235)))
    assert tab.labels(0)[235, 560] == 0 and tab.labels(0)[232, 500] == ROCK

    page.click("#forward")
    tab.says(f"{FRAMES} frames tracked")
    expect(page.locator("#number")).to_have_text(f"frame {FRAMES - 1} / {FRAMES - 1}")
    tracked = tab.labels(FRAMES - 1)
    assert 0.5 < (tracked == RABBIT).sum() / (first == RABBIT).sum() < 2 and (tracked == ROCK).any()

    tab.go(3)
    before = tab.labels(3)
    page.click("li[data-object='1'] i")
    page.check("input[value=brush]")
    tab.drawn(lambda: tab.drag((40, 40), (120, 40)))
    assert tab.labels(3)[40, 80] == RABBIT and (tab.labels(3) == ROCK).sum() == (before == ROCK).sum()
    (stale,) = tab.ask("").json()["state"]["stale"]
    assert stale[0] <= 3 and stale[1] == FRAMES - 1
    tab.drawn(lambda: page.keyboard.press("Control+z"))
    assert (tab.labels(3) == before).all() and tab.ask("").json()["state"]["stale"] == []
    tab.drawn(lambda: page.keyboard.press("Control+Shift+z"))
    page.keyboard.press("t")
    tab.says(f"{FRAMES - 3} frames tracked")
    assert tab.ask("").json()["state"]["stale"] == [] and tab.labels(2)[40, 80] == 0

    overlay = list(open_video(tab.export("overlay", tmp_path)))
    assert len(overlay) == FRAMES and overlay[0].shape == (HEIGHT, WIDTH, 3)
    with zipfile.ZipFile(tab.export("masks", tmp_path)) as archive:
        assert archive.namelist() == [f"rabbit/{number:05d}.png" for number in range(FRAMES)]
        assert (np.asarray(Image.open(archive.open("rabbit/00000.png"))) == tab.labels(0)).all()
    content = json.loads(tab.export("coco", tmp_path).read_text())
    assert [each["name"] for each in content["categories"]] == ["rabbit", "object 2"]
    assert all(url.startswith((address, "blob:")) for url in tab.requests) and not tab.errors
    page.close()


def test_another_tab_starts_anew_and_a_reloaded_one_goes_on(browser, address):
    one, two = Tab(browser, address), Tab(browser, address)
    one.page.click("#add")
    expect(one.page.locator("#objects li")).to_have_count(1, timeout=WAIT)
    two.page.reload()
    one.page.reload()
    for tab, count in ((one, 1), (two, 0)):
        expect(tab.page.locator("body")).to_have_attribute("data-ready", "yes", timeout=WAIT)
        expect(tab.page.locator("#objects li")).to_have_count(count)
        tab.page.close()


def test_a_wrong_file_is_a_message(browser, address, tmp_path):
    tab = Tab(browser, address)
    (tmp_path / "notes.mp4").write_text("no video")
    tab.page.set_input_files("#video", tmp_path / "notes.mp4")
    tab.says("notes.mp4: cannot be decoded as a video")
    expect(tab.page.locator("#message")).to_have_class("error")
    tab.page.fill("#path", "/no/such/folder")
    tab.page.click("#open button")
    tab.says("there is no such video file or folder")
    tab.page.set_input_files("#mask", samples.clip().mask)
    tab.says("bunny.png: 1 object")
    assert not tab.errors
    tab.page.close()
