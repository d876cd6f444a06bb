"""Videos whose objects come late."""

from __future__ import annotations

from functools import partial

from vos_zoo.evaluation import evaluate, protocol_of

quiet = partial(evaluate, progress=False)
DAVIS, YOUTUBE = protocol_of("davis", 2017), protocol_of("youtube_vos", 2019)
