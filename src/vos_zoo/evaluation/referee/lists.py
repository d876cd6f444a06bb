"""LVOS's videos of unseen categories, as its evaluation program (LingyiHongfd/lvos-evaluation) lists them."""

from __future__ import annotations

_V2 = """
R3UJGYwy K3OUeINk 058oeZ2p xpI7xRWN FiRTBMg2 nfcT3owb JGG6MrhF yfzVCnvU 6mNj04tC yWnanBID v3uNUctx 49TNsJzk gw84JOqH
711gAS21 dtHbJvYy tAyQIobn vJ8W2TO5 FmzvB44A 8lxxCA5h N6CONZUW Oj1z5fO0 gdqCcvs2 LWVlKBlK yxCvN6OJ pMntJwSQ p9RjdKoh
9NA8c5C3 m37l7ti1 nwflTTf1 LY2zehlH beR0WT11 afoR2rH6 xQZlxhxV o36i3YWC cdzAjcuN IlvtT6D6 YfoFnMgm FiQUhyRi 9oLyy7aJ
9RoNInYO wrrX6bxv q2HE4zaM rvwT3piq ZFqAoImI bwcKqVSN QE1wMR58 eEcUJVBZ Qf9YVXOW SRRojucs PQfn7XV2 3bvEjhOT
"""
LVOS_V2_UNSEEN = tuple(_V2.split())
"""The 51 videos of version 2."""

_V1 = """
R3UJGYwy 058oeZ2p UtEnRpiP yfzVCnvU 6mNj04tC yWnanBID gw84JOqH 711gAS21 FmzvB44A Oj1z5fO0 tAyQIobn yxCvN6OJ LWVlKBlK
K3OUeINk xpI7xRWN aFytsETk FiRTBMg2 nfcT3owb v3uNUctx JGG6MrhF 49TNsJzk dtHbJvYy 8lxxCA5h N6CONZUW vJ8W2TO5 gdqCcvs2
pMntJwSQ
"""
LVOS_V1_UNSEEN = tuple(_V1.split())
"""The 27 videos of version 1."""
