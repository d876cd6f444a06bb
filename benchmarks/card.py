"""The measured numbers of the model cards: measure them, keep them as JSON, write them into the cards.

    python benchmarks/card.py measure --model lwl            writes model_cards/measured/lwl.json (some CPU minutes)
    python benchmarks/card.py measure --model NAME --memory 110 --frames 10      the same for shipped weights
    python benchmarks/card.py score RESULTS/record.json      adds the scores of a `vos-zoo test` run
    python benchmarks/card.py score RESULTS/record.json --title "drawn, three objects"       under a name of its own
    python benchmarks/card.py write                          brings every card and the README up to date with the JSON

A method has the card model_cards/METHOD.md; shipped weights have src/vos_zoo/shipped/NAME/README.md, with measured.json
beside it. Scores of shipped weights go there, and the run's record is kept in benchmarks/results. A card holds its
numbers between two comment lines; nobody edits what is between them, a test compares it with the JSON.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from statistics import mean
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from vos_zoo import methods
from vos_zoo.config.resources import shipped_folder
from vos_zoo.evaluation.board.published import PUBLISHED_FILE, read_published
from vos_zoo.evaluation.fingerprint import processor
from vos_zoo.hub.weights import CARD_FILE, NUMBERS_FILE
from vos_zoo.registry import load_method

CARDS = Path(__file__).resolve().parents[1] / "model_cards"
README = Path(__file__).resolve().parents[1] / "README.md"
WEIGHTS_BEGIN = "<!-- weights: written by benchmarks/card.py from the models that ship -->"
WEIGHTS_END = "<!-- weights: end -->"
RECORDS = Path(__file__).resolve().parent / "results"
BEGIN = "<!-- measured: written by benchmarks/card.py from {source} -->"
END = "<!-- measured: end -->"
WINDOWS = {"same": "search regions coincide", "apart": "search regions apart", "free": ""}


def is_shipped(name: str) -> bool:
    """Whether a card is that of shipped weights, not of a method."""
    return (shipped_folder() / name).is_dir()


def card_file(name: str) -> Path:
    """The card of a method or of shipped weights."""
    return shipped_folder() / name / CARD_FILE if is_shipped(name) else CARDS / f"{name}.md"


def numbers_file(name: str) -> Path:
    """Where the numbers of a card lie."""
    return shipped_folder() / name / NUMBERS_FILE if is_shipped(name) else CARDS / "measured" / f"{name}.json"


def record_file(name: str, title: str) -> Path:
    """Where the record behind a score of shipped weights is kept."""
    words = "-".join(re.findall(r"[^\W_]+", title))
    return RECORDS / f"{name}-{words}.json"


def render(numbers: dict[str, Any]) -> str:
    """The block of a card: speed and memory by number of objects, size, then scores, as Markdown."""
    lines = _speed_lines(numbers["speed"]) if numbers["speed"] else []
    size = f" in {numbers['bytes'] / 1e6:.1f} MB" if "bytes" in numbers else ""
    lines.append(f"{numbers['parameters'] / 1e6:.1f} million parameters{size}.")
    if numbers["scores"]:
        lines += ["", "| weights | data | J&F | J | F |", "|---|---|---|---|---|"]
        for row in numbers["scores"]:
            values = [f"{row[name]:.1f}" if name in row else "-" for name in ("J&F", "J", "F")]
            lines.append("| " + " | ".join([row["weights"], row["data"], *values]) + " |")
    for row in numbers["scores"]:
        if "sequences" in row:
            each = ", ".join(f"{name} {value:.1f}" for name, value in row["sequences"].items())
            lines += ["", f"J&F by sequence of {row['data']}: {each}."]
    if not any(row["real"] for row in numbers["scores"]):
        lines += ["", "No score of ours on a real data set yet."]
    return "\n".join(lines)


def _speed_lines(speed: dict[str, Any]) -> list[str]:
    """Speed and memory by number of objects; frames per second where they were measured."""
    timed = all("frames_per_second" in row for row in speed["rows"])
    columns = ["objects", "per frame", *(["frames per second"] if timed else []), "held memory"]
    lines = [
        f"{speed['what']}; measured by `{speed['command']}`.",
        f"R is one ResNet-50 forward at 480 x 832 in the same process ({speed['R_seconds']:.2f} s, {speed['device']}).",
        "",
        "| " + " | ".join(columns) + " |",
        "|" + "---|" * len(columns),
    ]
    for row in speed["rows"]:
        name = f"{row['objects']}, {row['note']}" if row["note"] else str(row["objects"])
        cells = [name, f"{row['in_R']:.1f} R", f"{row['held_bytes'] / 1e6:.0f} MB"]
        if timed:
            cells[1:2] = [f"{row['in_R']:.2f} R", f"{row['frames_per_second']:.1f}"]
        lines.append("| " + " | ".join(cells) + " |")
    return [*lines, ""]


def with_numbers(card: str, name: str, block: str) -> str:
    """The card with the block between its two comment lines.

    Raises:
        ValueError: the card lacks one of them.
    """
    path = numbers_file(name)
    begin = BEGIN.format(source=path.relative_to(card_file(name).parent).as_posix())
    head, found, rest = card.partition(begin)
    _, ended, tail = rest.partition(END)
    if not found or not ended:
        raise ValueError(f"the card of {name} lacks the lines {begin!r} and {END!r}")
    return f"{head}{begin}\n\n{block}\n\n{END}{tail}"


def write_card(name: str) -> None:
    """Bring one card up to date."""
    card = card_file(name)
    card.write_text(with_numbers(card.read_text(), name, render(json.loads(numbers_file(name).read_text()))))


def write_cards() -> None:
    """Bring every card that has numbers up to date."""
    names = [path.stem for path in sorted((CARDS / "measured").glob("*.json"))]
    names += [path.parent.name for path in sorted(shipped_folder().glob(f"*/{NUMBERS_FILE}"))]
    for name in names:
        write_card(name)
        print(f"{name}: from {numbers_file(name).name}")
    README.write_text(with_weights(README.read_text(encoding="utf-8")), encoding="utf-8")


def weights_table() -> str:
    """The table of the README: every model that ships, its scores, size and speed, beside what its authors report."""
    lines = [
        "| `--weights` | method | J&F | J | F | size | R per frame, 1 / 5 objects | frames/s | published, DAVIS 2017 |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for path in sorted(shipped_folder().glob(f"*/{NUMBERS_FILE}")):
        numbers, name = json.loads(path.read_text()), path.parent.name
        method = json.loads((path.parent / "config.json").read_text())["method"]
        info = load_method(method)
        real = [row for row in numbers["scores"] if row["real"]]
        scores = [f"{real[0][key]:.1f}" if real else "-" for key in ("J&F", "J", "F")]
        speed = {row["objects"]: row for row in (numbers["speed"] or {"rows": []})["rows"]}
        times = " / ".join(f"{speed[count]['in_R']:.2f}" if count in speed else "-" for count in (1, 5))
        rate = f"{speed[1]['frames_per_second']:.1f}" if 1 in speed else "-"
        cells = [f"`{name}`", f"[{info.title}]({info.url}), {info.year}", *scores, f"{numbers['bytes'] / 1e6:.1f} MB"]
        lines.append("| " + " | ".join([*cells, times, rate, _published(method)]) + " |")
    return "\n".join(lines)


def _published(method: str) -> str:
    """The best J&F on DAVIS 2017 val that the authors report, marked as theirs."""
    rows = read_published(Path(methods.__file__).parent / method / PUBLISHED_FILE, method)
    found = [row.scores["J&F"] for row in rows if row.data == "davis2017-val" and "J&F" in row.scores]
    return f"{max(found):.1f} (published)" if found else "-"


def with_weights(page: str) -> str:
    """The README with the table of weights between its two comment lines."""
    head, _, rest = page.partition(WEIGHTS_BEGIN)
    _, _, tail = rest.partition(WEIGHTS_END)
    return f"{head}{WEIGHTS_BEGIN}\n\n{weights_table()}\n\n{WEIGHTS_END}{tail}"


def add_score(record: Path, title: str | None = None) -> None:
    """Add a run's scores to a card's numbers; the same weights on the same data count once.

    Args:
        record: the `record.json` of the run.
        title: what the card calls the data; None: the title of the data set and its split.

    Raises:
        VOSError: a run of shipped weights was made with other weights than those that ship now.
    """
    from vos_zoo.evaluation.record import read_record
    from vos_zoo.types import VOSError

    found = read_record(record)
    result, source = found.result, found.run.source
    scores = {name: round(100 * value, 2) for name, value in result.scores.items() if value is not None}
    title = title or result.data.title
    row = {"weights": source, "data": title, "real": result.data.name != "synthetic", **scores}
    path = numbers_file(source if is_shipped(source) else result.method)
    numbers = json.loads(path.read_text())
    if is_shipped(source):
        if result.weights != numbers["weights"]:
            raise VOSError(f"{record}: a run of {source} as it was before; run vos-zoo test again")
        if row["real"]:
            row["sequences"] = {
                name: round(100 * mean(one["J&F"] for one in objects.values()), 2)
                for name, objects in result.sequences.items()
                if objects
            }
        RECORDS.mkdir(exist_ok=True)
        shutil.copyfile(record, record_file(source, title))
    rows = {(one["weights"], one["data"]): one for one in numbers["scores"]}
    numbers["scores"] = list({**rows, (row["weights"], row["data"]): row}.values())
    path.write_text(json.dumps(numbers, indent=2) + "\n")


def measure_once(model: str, objects: int, memory: int, windows: str, frames: int) -> dict[str, float]:
    """Speed, held memory and parameters for a number of objects, in this process."""
    from benchmarks.common import random_model, stripes, video
    from benchmarks.speed import measure, measure_stream

    if is_shipped(model):
        return measure_stream(model, objects, memory, frames)
    options = argparse.Namespace(
        model=model, windows=windows, memory=memory, frames=frames, track=[], height=480, width=854, device="cpu"
    )
    times = measure(options, objects)
    network = random_model(model, torch.device("cpu"))
    engine = network.propagator(group_size=max(objects, 1))
    engine.push(video(1, 480, 854)[0], stripes(objects, 480, 854, 1.0 if windows == "same" else 0.15))
    parameters = sum(parameter.numel() for parameter in network.parameters())
    return {**times, "held_bytes": engine.nbytes, "parameters": parameters}


def measure_card(model: str, memory: int, frames: int) -> None:
    """Measure 1, 2 and 5 objects, each in a process of its own, and write the JSON; scores that are there stay."""
    shipped = is_shipped(model)
    cases = [(1, "same"), (2, "same"), (2, "apart"), (5, "same")]
    if shipped:
        cases = [(1, "free"), (2, "free"), (5, "free")]
    path, rows, unit = numbers_file(model), [], []
    numbers = json.loads(path.read_text()) if path.is_file() else {"scores": []}
    for objects, windows in cases:
        command = [sys.executable, __file__, "child", "--model", model, "--memory", str(memory)]
        command += ["--frames", str(frames), "--objects", str(objects), "--windows", windows]
        run = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        r = (run["R_before"] + run["R_after"]) / 2
        unit.append(r)
        numbers["parameters"] = run.get("parameters", numbers.get("parameters"))
        note = WINDOWS[windows] if objects > 1 else ""
        rows.append({"objects": objects, "note": note, "in_R": run["frame"] / r, "held_bytes": run["held_bytes"]})
        rows[-1]["frames_per_second"] = 1 / run["frame"]
        print(rows[-1], flush=True)
    filled = f"a full memory of {memory}, random weights"
    if shipped:
        filled = f"a generated video, mean of {frames} frames behind the first {memory}"
    numbers["speed"] = {
        "what": f"854 x 480 frames, {filled}, writes included, float32, one CPU thread, one run",
        "command": f"python benchmarks/card.py measure --model {model} --memory {memory} --frames {frames}",
        "device": processor(),
        "R_seconds": sum(unit) / len(unit),
        "rows": rows,
    }
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(numbers, indent=2) + "\n")


def main() -> None:
    """Measure one card's numbers, or write the cards."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("action", choices=("measure", "score", "write", "child"))
    parser.add_argument("record", nargs="?", type=Path, help="score: a record.json")
    parser.add_argument("--model", default="lwl")
    parser.add_argument(
        "--memory", type=int, default=32, help="samples in memory (of shipped weights: frames that fill it)"
    )
    parser.add_argument("--frames", type=int, default=3, help="frames timed")
    parser.add_argument("--objects", type=int, default=1, help=argparse.SUPPRESS)
    parser.add_argument("--windows", default="same", help=argparse.SUPPRESS)
    parser.add_argument("--title", help="score: what the card calls the data")
    options = parser.parse_args()
    if options.action == "write":
        write_cards()
    elif options.action == "score":
        if options.record is None:
            parser.error("score needs the record.json of a run")
        add_score(options.record, options.title)
    elif options.action == "measure":
        measure_card(options.model, options.memory, options.frames)
    else:
        one = measure_once(options.model, options.objects, options.memory, options.windows, options.frames)
        sys.stdout.write(json.dumps(one))


if __name__ == "__main__":
    main()
