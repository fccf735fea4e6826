"""Names of the robustness benchmarks, in the order of reports, by what they measure."""

# Error rates.
CORRUPTED = ("corruptions", "imagenet_c", "imagenet2012_corrupted", "cifar10_c")
PERTURBED = ("perturbations", "imagenet_p", "cifar10_p")  # flip probabilities
TEST_SETS = ("imagenet_a", "imagenet_r", "imagenet_v2")  # accuracies on other images
ATTACKS = ("fgsm", "pgd", "square")  # accuracies by epsilon
BENCHMARKS = (*CORRUPTED, *PERTURBED, *TEST_SETS, *ATTACKS)
ACCURACIES = (*TEST_SETS, *ATTACKS)  # more is better; of the others, less
TITLES = {
    "corruptions": "Corrupted test images",
    "imagenet_c": "ImageNet-C",
    "imagenet2012_corrupted": "ImageNet-C remade by tensorflow-datasets",
    "cifar10_c": "CIFAR-10-C",
    "perturbations": "Perturbed test images",
    "imagenet_p": "ImageNet-P",
    "cifar10_p": "CIFAR-10-P",
    "imagenet_a": "ImageNet-A",
    "imagenet_r": "ImageNet-R",
    "imagenet_v2": "ImageNetV2",
    "fgsm": "FGSM",
    "pgd": "PGD",
    "square": "Square attack",
}
