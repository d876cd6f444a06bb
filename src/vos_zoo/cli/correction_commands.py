"""The commands on corrections: which masks to correct next, and what corrections are worth."""

from __future__ import annotations

from typing import Any

from vos_zoo.cli import handlers
from vos_zoo.cli.options import add_config, add_model, add_weights, command, finish
from vos_zoo.tasks import POLICIES


def review(commands: Any) -> None:
    """Which masks to correct next."""
    parser = command(
        commands,
        "review",
        handlers.run_review,
        "show the masks of a tracked video whose correction is expected to help most",
        "results/clip --video video.mp4 --output review",
        "results/clip --video frames/ --second NAME --output review",
    )
    parser.add_argument("results", metavar="FOLDER", help="masks and confidence.csv, written by track --report")
    parser.add_argument("--video", metavar="FILE|FOLDER", required=True, help="the video, or the folder of its frames")
    parser.add_argument(
        "--second",
        dest="weights",
        metavar="NAME",
        help="weights of a second method: where its masks differ, one of both is wrong",
    )
    parser.add_argument(
        "--backward",
        metavar="NAME",
        help="weights that track backward from each object's last mask: from where both passes differ on, masks are in "
        "doubt; takes as long as tracking the video",
    )
    parser.add_argument("--count", metavar="K", type=int, default=8, help="how many masks (default: 8)")
    parser.add_argument("--output", metavar="FOLDER", required=True, help="where the page and its pictures are written")
    finish(parser)


def simulate(commands: Any) -> None:
    """What corrections are worth."""
    parser = command(
        commands,
        "simulate",
        handlers.run_simulate,
        "measure J&F against the number of corrected frames per video, with a perfect corrector",
        "--weights NAME --data davis16 data.root=DAVIS --policy suggest --policy uniform --output curves",
    )
    add_model(parser)
    add_weights(parser, required=True)
    add_config(parser)
    parser.add_argument(
        "--policy",
        dest="policies",
        action="append",
        choices=POLICIES,
        default=[],
        help="who chooses the next frame; may be repeated (default: suggest, uniform, random): suggest takes the "
        "greatest expected gain, worst the lowest true J&F, oracle tries every frame",
    )
    parser.add_argument("--step", metavar="N", type=int, default=1, help="use every n-th frame only (default: 1)")
    parser.add_argument("--draws", metavar="N", type=int, default=4, help="random is the mean of so many (default: 4)")
    parser.add_argument("--output", metavar="FOLDER", help="where curves.json and curves.png are written")
    finish(parser)
