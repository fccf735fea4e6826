"""Images in, batches out: sources, records, preprocessing, augmentation and input pipelines.

Nothing here knows about models or training, and nothing is imported on behalf of the caller: import
the module needed, such as ``data.preprocess`` or ``data.pipeline``.
"""
