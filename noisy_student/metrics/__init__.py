"""Statistics of predictions: intervals, comparisons, calibration."""
