"""Where the numbers stand and come from: the paper's own, and how to make these again."""

from collections.abc import Mapping
from html import escape
from typing import Any

from noisy_student.report import markup, results

# Published numbers, in percent: measure, who stands before, before, Noisy Student. Xie et al., CVPR
# 2020, but for SVHN, which is the example of the paper's public code.
_PAPER = (
    ("ImageNet top-1", "EfficientNet-L2, supervised", 85.5, 88.4),
    ("ImageNet top-1 after the second and third L2 round", "after the first", 87.6, 88.4),
    ("SVHN top-1, EfficientNet-B0", "supervised", 97.9, 98.6),
)


def paper(measured: Mapping[str, Any]) -> str:
    """The paper's accuracies beside this run's; its robustness stands with this run's."""
    gain, rows = measured["gain"], []
    if gain:
        models = {model["name"]: model for model in measured["models"]}
        before, after = models[gain["before"]], models[gain["after"]]
        name = f"<b>This run: {escape(results.dataset(measured))} top-1</b>"
        values = [f"<b>{before['top1']:.1f}</b>", f"<b>{after['top1']:.1f}</b>"]
        values.append(f"<b>{markup.signed(gain['points'])}</b>")
        rows.append([name, escape(before["label"].lower()), *values])
    rows += [
        [
            escape(name),
            escape(baseline),
            f"{before:.1f}",
            f"{after:.1f}",
            markup.signed(after - before),
        ]
        for name, baseline, before, after in _PAPER
    ]
    headers = ["Measure, percent", "Compared with", "Before", "Noisy Student", "Points"]
    text = (
        "Published numbers for orientation only. They are of other data, other networks and another"
        " scale (up to 130 million pseudo-labeled images a round), and compare with this run's in"
        " direction, not in size."
    )
    source = (
        "Xie, Luong, Hovy, Le: Self-training with Noisy Student improves ImageNet classification,"
        " CVPR 2020, arXiv:1911.04252; SVHN: the public code's example."
    )
    return markup.section(
        "The paper's numbers",
        f"<p>{text}</p>",
        markup.table(headers, rows, "two-texts"),
        f"<p>{source}</p>",
    )


def again(measured: Mapping[str, Any], provenance: Mapping[str, Any]) -> str:
    """Command, seed, device, versions, seconds and flags."""
    parts = []
    if provenance["command"]:
        parts.append(f"<pre><code>{escape(provenance['command'])}</code></pre>")
    facts = {"seed": provenance["seed"], "device": provenance["device"]}
    sizes = measured["split_sizes"] or {}
    facts |= {f"{part} images": size for part, size in sizes.items()}
    if sizes:
        excluded = provenance["excluded"]
        facts["near duplicates of test images"] = (
            "not searched for (python -m data.leakage)"
            if excluded is None
            else f"{excluded:,} excluded (--exclude)"
        )
    facts |= provenance["versions"] or {}
    listed = "".join(
        f"<div><dt>{escape(name)}</dt><dd>{escape(_fact(value))}</dd></div>"
        for name, value in facts.items()
        if value is not None
    )
    parts.append(f"<dl>{listed}</dl>" if listed else markup.absent("config.json"))
    seconds = provenance["seconds"]
    if seconds:
        rows = [[escape(stage), f"{value:,.1f}"] for stage, value in seconds.items()]
        rows.append(["<b>in all</b>", f"<b>{sum(seconds.values()):,.1f}</b>"])
        parts.append(markup.details("Seconds per stage", markup.table(["Stage", "Seconds"], rows)))
    flags = provenance["flags"]
    if flags:
        lines = "\n".join(
            f"--{name}={_flag(value)}" for name, value in sorted(flags.items()) if value is not None
        )
        parts.append(markup.details("All flags", f"<pre><code>{escape(lines)}</code></pre>"))
    return markup.section("How to make these numbers again", *parts)


def _fact(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)


def _flag(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)
