"""Data: sources, records, preprocessing, augmentation and input pipelines.

Nothing here depends on models or training. Import the module that you need, such as
``data.preprocess`` or ``data.pipeline``; this package itself imports none of them.
"""
