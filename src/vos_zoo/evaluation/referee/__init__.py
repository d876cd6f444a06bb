"""The referee: masks of any method, scored by the protocols of the field, written down, compared, put on the board."""

from __future__ import annotations

from vos_zoo.evaluation.referee.protocols import PROTOCOLS, ScoringProtocol
from vos_zoo.evaluation.referee.results import open_results
from vos_zoo.evaluation.referee.scoring import ScoredMasks, score_masks
from vos_zoo.evaluation.referee.truth import TruthSettings

__all__ = ["PROTOCOLS", "ScoredMasks", "ScoringProtocol", "TruthSettings", "open_results", "score_masks"]
