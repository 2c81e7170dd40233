"""Measurements of the real program; the test suite runs none of them."""
