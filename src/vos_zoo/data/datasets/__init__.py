"""Readers of data sets, their checks, packing and export."""
