"""Weights on https://huggingface.co, given by the name of their repository."""

import dataclasses
import re
from pathlib import Path

PREFIX = "hf:"  # of such names where files can be given, too
FILE = "model.safetensors"
_TIMM = re.compile(r"timm/tf_efficientnet_(?P<size>b[0-8]|l2|lite[0-4])(\.(?P<tag>\w+))?")


@dataclasses.dataclass(frozen=True)
class Weights:
    """A file of weights and what the name of its repository tells."""

    path: Path  # the file, in the cache of huggingface_hub
    network: str  # a name in `CONFIGS`
    normalization: str | None  # normalization of pixels; None: the usual one of the file's format


def find(name: str, network: str | None = None) -> Weights:
    """Returns weights from the cache of huggingface_hub, downloading them if necessary.

    Args:
        name: ``OWNER/NAME`` (its model.safetensors) or ``OWNER/NAME/FILE``. Of timm's models, only
            ``timm/tf_efficientnet_*`` have the right padding.
        network: a name in `CONFIGS`; None: inferred from `name`.

    Raises:
        ValueError: `name` is not such a repository or has weights of another network, the network
            is unknown, or the file cannot be downloaded; the message says which file to download.
    """
    owner, repository, *files = [*name.split("/", 2), "", ""][:3]
    if not (owner and repository):
        raise ValueError("must be like hf:OWNER/NAME or hf:OWNER/NAME/FILE.")
    repository = f"{owner}/{repository}"
    if owner == "timm" and not _TIMM.fullmatch(repository):
        raise ValueError(
            "must be like timm/tf_efficientnet_b0.ns_jft_in1k: other timm models use another "
            "padding."
        )
    own = network_of(repository, network or "")
    if not own:
        raise ValueError(
            "the network is unknown: give it with noisy-student convert --source="
            f"{PREFIX}{name} --name=NETWORK, and use the converted file."
        )
    if network and own != network:
        raise ValueError(f"the weights are for {own}, not for {network}.")
    # AdvProp was trained on pixels in -1..1.
    normalization = "inception" if repository.endswith(".ap_in1k") else None
    return Weights(download(repository, files[0] or FILE), own, normalization)


def network_of(name: str, default: str) -> str:
    """Returns the network that a name contains, else the default."""
    match = _TIMM.fullmatch(name.removeprefix(PREFIX))
    return f"efficientnet-{match['size']}" if match else default


def download(repository: str, file: str) -> Path:
    """Returns a file in the cache of huggingface_hub, downloading it if necessary."""
    url = f"https://huggingface.co/{repository}/resolve/main/{file}"
    try:
        from huggingface_hub import constants, hf_hub_download  # optional: only for such names
    except ImportError:
        raise ValueError(
            "the package huggingface_hub is not installed: pip install 'noisy-student[convert]', "
            f"or download {url} and give the path of the file."
        ) from None
    try:
        return Path(hf_hub_download(repository, file))
    except (OSError, ValueError) as error:  # the bases of all its errors
        raise ValueError(
            f"{url} is not in the cache {constants.HF_HUB_CACHE} and cannot be "
            f"downloaded ({first_line(error)}). Download it elsewhere and give the path of the "
            "file."
        ) from error


def first_line(error: Exception) -> str:
    """Returns the first line of an error's message."""
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
