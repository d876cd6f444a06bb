"""Score tables as plain text."""

from __future__ import annotations

from collections.abc import Sequence


def text_table(title: str, columns: Sequence[str], rows: Sequence[tuple[str, Sequence[float]]]) -> str:
    """A table with aligned columns and 3 decimals.

    Args:
        title: header of the first column.
        columns: headers of the others.
        rows: name and values, as many values as `columns`.
    """
    first = max(len(title), *(len(name) for name, _ in rows)) if rows else len(title)
    widths = [max(len(column), 6) for column in columns]
    lines = [f"{title:<{first}}  " + "  ".join(f"{column:>{w}}" for column, w in zip(columns, widths, strict=True))]
    for name, values in rows:
        cells = "  ".join(f"{value:>{w}.3f}" for value, w in zip(values, widths, strict=True))
        lines.append(f"{name:<{first}}  {cells}")
    return "\n".join(lines)
