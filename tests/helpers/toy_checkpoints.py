"""Checkpoints in the format of the published ones."""

import numpy as np
import tensorflow as tf

from efficientnet import weight_names


def tf1_arrays(model, scope="efficientnet-b0", **arguments):
    names = weight_names.tf1(model, scope, **arguments)
    return {names[v.path]: np.asarray(v) for v in model.variables}


def write_tf1(prefix, arrays):
    """A checkpoint in the format of TensorFlow 1's Saver."""
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        for name, array in arrays.items():
            tf.compat.v1.get_variable(name, initializer=array)
        session.run(tf.compat.v1.global_variables_initializer())
        tf.compat.v1.train.Saver().save(session, str(prefix), write_meta_graph=False)


def hub_snapshot(cache, repository):
    """Makes the folder of a repository's files in a cache of huggingface_hub, and returns it."""
    folder = cache / f"models--{repository.replace('/', '--')}"
    snapshot = folder / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text("0" * 40)
    return snapshot
