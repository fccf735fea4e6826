"""Weights in timm's layout: names, axes and results."""

import numpy as np
import pytest

import efficientnet
from efficientnet import weight_names, weights
from tests.helpers.random_weights import assert_equal_logits, assert_same_weights, images, randomize


def state_dict(model):
    """Returns the tensors of PyTorch: axes as documented for Conv2d and Linear."""
    state = {}
    names = weight_names.timm(model)
    for variable in model.variables:
        array = np.asarray(variable)
        if array.ndim == 4:
            depthwise = "depthwise" in variable.path
            array = np.moveaxis(array, (2, 3), (0, 1) if depthwise else (1, 0))
        elif array.ndim == 2:
            array = array.T
        state[names[variable.path]] = array
        if names[variable.path].endswith("running_var"):
            prefix = names[variable.path].removesuffix("running_var")
            state[f"{prefix}num_batches_tracked"] = np.int64(3)
    return state


def test_timm_names_and_axes():
    source = randomize(efficientnet.build_model("efficientnet-b0"))
    state = state_dict(source)
    shapes = {  # read off timm 1.0's tf_efficientnet_b0
        "conv_stem.weight": (32, 3, 3, 3),
        "blocks.0.0.conv_dw.weight": (32, 1, 3, 3),
        "blocks.0.0.bn1.running_mean": (32,),
        "blocks.0.0.se.conv_reduce.weight": (8, 32, 1, 1),
        "blocks.0.0.conv_pw.weight": (16, 32, 1, 1),
        "blocks.0.0.bn2.weight": (16,),
        "blocks.2.1.conv_pw.weight": (240, 40, 1, 1),
        "blocks.2.1.conv_dw.weight": (240, 1, 5, 5),
        "blocks.2.1.bn2.running_var": (240,),
        "blocks.2.1.se.conv_expand.bias": (240,),
        "blocks.2.1.conv_pwl.weight": (40, 240, 1, 1),
        "blocks.2.1.bn3.bias": (40,),
        "blocks.6.0.conv_pwl.weight": (320, 1152, 1, 1),
        "conv_head.weight": (1280, 320, 1, 1),
        "bn2.weight": (1280,),
        "classifier.weight": (1000, 1280),
    }
    assert shapes == {name: state[name].shape for name in shapes}
    model = efficientnet.build_model("efficientnet-b0")
    weights.load_timm(model, state)
    assert_same_weights(model, source)


def test_timm_computes_the_same():
    torch, timm = pytest.importorskip("torch"), pytest.importorskip("timm")
    for name, theirs in (
        ("efficientnet-b0", "tf_efficientnet_b0"),
        ("efficientnet-lite0", "tf_efficientnet_lite0"),
    ):
        source = timm.create_model(theirs, pretrained=False).eval()
        model = efficientnet.build_model(name)
        weights.load_timm(model, source.state_dict())
        inputs = images(96)
        layer = model.get_layer("normalize")
        normalized = (inputs - layer.mean) / layer.std
        with torch.no_grad():
            logits = source(torch.from_numpy(normalized.transpose(0, 3, 1, 2).astype(np.float32)))
        assert_equal_logits(model(inputs), logits.numpy())
        assert layer.mean[0] == pytest.approx(255 * source.default_cfg["mean"][0])
        assert layer.std[0] == pytest.approx(255 * source.default_cfg["std"][0])
