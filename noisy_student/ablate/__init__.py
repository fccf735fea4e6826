"""Runs the studies that measure the claims of the paper."""
