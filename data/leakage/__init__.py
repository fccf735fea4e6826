"""Finds test images that are near duplicates of training images."""

from data.leakage.search import MAX_DISTANCE, MIN_CORRELATION, check, find, write

__all__ = ["MAX_DISTANCE", "MIN_CORRELATION", "check", "find", "write"]
