"""Devices, signals, profiles and inference."""
