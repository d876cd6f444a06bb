"""Parity with the published methods: golden numbers."""
