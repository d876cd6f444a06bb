"""The leaderboard as a page: in a real browser where there is one, and by its text everywhere."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tests.evaluation.test_board import board_of_all
from tests.evaluation.test_records import example
from tests.helpers.browser import Page, chromium, find_browser
from vos_zoo.evaluation.board.page import format_page
from vos_zoo.evaluation.board.plot import PARAMETERS, draw_plot, draw_plots, speed_on
from vos_zoo.evaluation.board.published import PublishedRow
from vos_zoo.evaluation.board.table import Row, build_board

NASTY = '<img src=x onerror="document.title=1">\'&lt;</script>'
VOID = {"meta", "input", "br", "line", "path", "circle", "img"}


class Tree(HTMLParser):
    """Reads a page: tags with their attributes, texts, and whether everything that opens is closed."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def find(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


# -- by its text -----------------------------------------------------------------------------------------------------


def test_the_page_is_well_formed_and_loads_nothing() -> None:
    page = format_page(board_of_all())
    tree = Tree(page)
    assert tree.open == [] and page.startswith("<!doctype html>")
    assert not {tag for tag, _ in tree.tags} & {"link", "img", "iframe", "object", "embed"}
    assert all(set(script) == set() for script in tree.find("script")) and len(tree.find("script")) == 1
    assert "url(" not in page and "@import" not in page and "fetch(" not in page
    policy = next(meta["content"] for meta in tree.find("meta") if meta.get("http-equiv") == "Content-Security-Policy")
    assert str(policy).startswith("default-src 'none'")
    assert all(str(link["href"]).startswith("https://") for link in tree.find("a"))


def test_every_name_from_outside_is_escaped() -> None:
    row = PublishedRow(
        "lwl", NASTY, "davis2017-val", 30, {"J&F": 1.0}, NASTY, "https://example.org/" + NASTY, 1.0, NASTY
    )
    records = [example(source=NASTY, device=NASTY, title="davis2017-val", preset=NASTY, failures={NASTY: NASTY})]
    page = format_page(build_board(records, [row], warnings=[NASTY]), title=NASTY)
    tree = Tree(page)
    assert tree.open == [] and tree.find("img") == [] and len(tree.find("script")) == 1
    assert page.count("&lt;img src=x onerror=") >= 8


def test_a_link_that_is_no_web_address_is_shown_as_text() -> None:
    group = build_board([example()]).groups[0]
    row = Row(True, "lwl", "m", {"J&F": 1.0}, None, source="paper", url="javascript:alert(1)")
    board = build_board([example()])
    page = format_page(type(board)((type(group)(group.title, group.facts, (row,)),)))
    assert "javascript:" not in page and "paper" in page


def test_cells_sort_by_exact_values_and_missing_ones_are_marked() -> None:
    page = format_page(build_board([example(scores={"J": 0.61234, "F": None, "J&F": 0.1}, peak_memory=None)]))
    cells = [cell for cell in Tree(page).find("td") if "data-sort" in cell]
    keys = [str(cell["data-sort"]) for cell in cells]
    assert keys[:2] == ["10.0", repr(100 * 0.61234)]
    assert "" in keys and all(key == "" or float(key) >= 0 for key in keys)


def test_published_rows_look_different_and_say_so() -> None:
    tree = Tree(format_page(board_of_all()))
    kinds = [str(row.get("class")) for row in tree.find("tr") if row.get("id")]
    assert {"ours", "theirs"} == set(kinds)
    tags = [tag for tag in tree.find("span") if tag.get("class") == "tag"]
    assert len(tags) == kinds.count("theirs")


def test_the_drawing_has_a_mark_per_row_with_a_speed_and_stays_inside() -> None:
    rows = [
        (f"r{n}", Row(n % 2 == 1, "a", f"model {n}", {"J&F": 60.0 + n}, fps=0.3 * 4**n, device="x")) for n in range(6)
    ]
    rows.append(("r9", Row(False, "a", "no speed", {"J&F": 50.0}, fps=None)))
    rows.append(("r8", Row(True, "a", "another device", {"J&F": 50.0}, fps=2.0, device="y")))
    drawing = draw_plot(rows, "J&F", {"a": 0}, speed_on("x"))
    tree = Tree(drawing)
    assert tree.open == []
    points = [g for g in tree.find("g") if str(g.get("class")).startswith("point")]
    assert [point["data-row"] for point in points] == [f"r{n}" for n in (5, 4, 3, 2, 1, 0)]
    assert len(tree.find("circle")) == 3
    width, height = map(float, str(tree.find("svg")[0]["viewbox"]).split()[2:])
    spots = [(float(str(c["cx"])), float(str(c["cy"]))) for c in tree.find("circle")]
    spots += [tuple(map(float, re.findall(r"[\d.]+", str(p["d"]))[:2])) for p in tree.find("path")]  # type: ignore[misc]
    assert all(0 < x < width and 0 < y < height for x, y in spots)
    assert [x for x, _ in spots[:3]] == sorted((x for x, _ in spots[:3]), reverse=True), "faster is further right"
    assert draw_plot(rows, "J&F", {"a": 0}, PARAMETERS) == "", "nobody says how many"
    assert draw_plots(rows, "J&F", {"a": 0}).count("<svg") == 1 and draw_plots(rows[:1], "J&F", {"a": 0}) == ""


# -- in a browser ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Page, Path]]:
    program = find_browser()
    if program is None:
        pytest.skip("no Chromium on this machine (chromium, google-chrome, or the program VOS_ZOO_BROWSER names)")
    path = tmp_path_factory.mktemp("board") / "leaderboard.html"
    path.write_text(format_page(board_of_all()), encoding="utf-8")
    with chromium(program) as page:
        yield page, path


@pytest.fixture
def page(opened: tuple[Page, Path]) -> Iterator[Page]:
    tab, path = opened
    tab.complaints.clear()
    tab.requests.clear()
    tab.open(path)
    yield tab
    assert tab.complaints == [], "the console complains"
    assert tab.requests == [path.resolve().as_uri()], "the page loads something"


def column(page: Page, number: int, table: int = 0) -> list[str]:
    """The texts of a column's visible cells."""
    texts: list[str] = page.value(
        f"[...document.querySelectorAll('table')[{table}].tBodies[0].rows].filter(r => !r.hidden)"
        f".map(r => r.cells[{number}].textContent)"
    )
    return texts


def heads(page: Page) -> list[str]:
    names: list[str] = page.value("[...document.querySelector('table').tHead.rows[0].cells].map(c => c.textContent)")
    return names


def numbers(texts: list[str]) -> list[float]:
    return [float(text) for text in texts if text != "–"]


def test_a_click_on_a_heading_sorts_and_a_second_one_turns_the_order(page: Page) -> None:
    names = heads(page)
    for name in ("J&F", "fps"):
        number = names.index(name)
        for _ in range(2):
            page.click(f"table th:nth-child({number + 1}) button")
            order = page.value(f"document.querySelectorAll('table th')[{number}].getAttribute('aria-sort')")
            values = numbers(column(page, number))
            assert len(values) > 3 and values == sorted(values, reverse=order == "descending")
            missing = [text == "–" for text in column(page, number)]
            assert missing == sorted(missing), "what is missing goes last"
    page.click("table th:nth-child(1) button")
    methods = [text.removesuffix("published") for text in column(page, 0)]
    assert methods == sorted(methods, key=str.lower) and len(set(methods)) > 2
    assert page.value("document.querySelectorAll('table')[0].querySelectorAll('[aria-sort=ascending]').length") == 1


def test_the_filters_hide_rows_and_their_points(page: Page) -> None:
    everything = column(page, 0)
    shown = "[...document.querySelectorAll('.point')].filter(p => getComputedStyle(p).display !== 'none').length"
    points = page.value(shown)
    page.click("#theirs")
    assert 0 < len(column(page, 0)) < len(everything) and page.value(shown) < points
    assert all("published" not in text for text in column(page, 0))
    page.click("#theirs")
    page.click("input[value=lwl]")
    assert all(not text.startswith("lwl") for text in column(page, 0)) and page.value(shown) < points
    page.click("input[value=lwl]")
    assert column(page, 0) == everything and page.value(shown) == points
    page.click("#search")
    page.type("joint weights/")
    assert column(page, 0) == column(page, 0, table=1) == ["joint"]
    total = page.value("document.querySelectorAll('tbody tr').length")
    assert page.value("document.getElementById('count').textContent") == f"2 of {total} rows"
    page.type(" nothing like it")
    assert column(page, 0) == [] and page.value("!document.querySelector('.none').hidden")


def test_a_row_under_the_mouse_lights_its_point_up(page: Page) -> None:
    row = page.value("document.querySelector('.point').dataset.row")
    spot = page.value(
        f"(() => {{ const e = document.getElementById('{row}'); e.scrollIntoView({{block: 'center'}});"
        " const r = e.getBoundingClientRect(); return [r.x + 40, r.y + r.height / 2]; })()"
    )
    page.call("Input.dispatchMouseEvent", type="mouseMoved", x=spot[0], y=spot[1])
    assert page.value(f"[...document.querySelectorAll('[data-row={row}]')].every(p => p.classList.contains('on'))")


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_texts_can_be_read_on_their_ground_in_both_schemes(
    opened: tuple[Page, Path], tmp_path: Path, dark: bool
) -> None:
    tab, path = opened
    tab.open(path, dark=dark)
    ratios = tab.value(
        """(() => {
          const light = (c) => { const [r, g, b] = c.match(/[\\d.]+/g).slice(0, 3).map(v => v / 255)
            .map(v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
            return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
          const ground = (e) => { for (; e; e = e.parentElement) { const c = getComputedStyle(e).backgroundColor;
            if (!/, 0\\)$/.test(c)) return c; } return 'rgb(255, 255, 255)'; };
          return [...document.querySelectorAll('h1, h2, .lead, .facts, .warn, td, th button, a, label')].map(e => {
            const [a, b] = [light(getComputedStyle(e).color), light(ground(e))].sort((x, y) => y - x);
            return (a + 0.05) / (b + 0.05); });
        })()"""
    )
    assert min(ratios) >= 4.5, "contrast as the accessibility guidelines ask for text (level AA)"
    tab.screenshot(tmp_path / "board.png")
    assert (tmp_path / "board.png").stat().st_size > 20_000
    if folder := os.environ.get("VOS_ZOO_SCREENSHOTS"):
        (Path(folder) / f"board-{'dark' if dark else 'light'}.png").write_bytes((tmp_path / "board.png").read_bytes())


def test_on_a_telephone_tables_scroll_and_the_page_does_not(opened: tuple[Page, Path]) -> None:
    tab, path = opened
    tab.open(path, width=390, height=844)
    assert tab.value("document.documentElement.scrollWidth") <= 390
