"""Noisy Student Training (Xie, Luong, Hovy, Le, CVPR 2020): the method, stage by stage."""

__version__ = "0.1.0"
