"""Parts of the page that explain: the device, the search's settings, the served model, how to read it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from edge_s4op.messages import DeviceFacts
from host.family import Family
from host.report import text
from host.report.comparability import device_differences
from host.report.html import Html, definitions, element
from host.report.names import device_names, is_budgeted, is_unpruned

__all__ = ["devices", "lead", "reading", "served_model", "settings"]


_FINGERPRINT = "Latencies compare only between measurements with the same fingerprint."


def lead(family: Family) -> str:
    """What was done, in one sentence; and whether it is all."""
    seconds = sum(trial.seconds for trial in family.trials)
    candidates = sum(not is_unpruned(trial) for trial in family.trials)
    where = " and ".join(f"{facts.board}, {facts.cpu}" for facts in (family.device, *family.other_devices))
    stopped = "" if family.complete else " The search was interrupted: resuming it finishes this family."
    return (
        f"The unpruned model and {candidates} pruned candidates, tried in {_duration(seconds)}; latency was "
        f"measured on {where}.{stopped}"
    )


def devices(family: Family) -> list[Html]:
    """What the latencies were measured on, one table a device; and in what several devices differ."""
    names = device_names(family)
    facts = (family.device, *family.other_devices)
    first, *others = (f"{name}. " if len(names) > 1 else "" for name in names)
    captions = [f"{first}{_FINGERPRINT}", *others]
    differing = device_differences(family)
    notes = (
        element("ul", *(element("li", line) for line in differing), class_="note") if differing else Html()
    )
    return [*(_device(*pair) for pair in zip(captions, facts, strict=True)), *([notes] if differing else [])]


def _device(caption: str, facts: DeviceFacts) -> Html:
    rows = [
        ("Board", facts.board),
        ("CPU", f"{facts.cpu}, {facts.cores} cores"),
        *([("GPU", facts.gpu)] if facts.gpu else []),
        ("Frequency governor", facts.governor or "could not be read"),
        ("Huge pages", facts.huge_pages),
        ("Memory", f"{facts.memory_bytes / 2**30:.1f} GiB"),
        ("System", facts.os),
        ("Versions", ", ".join(f"{name} {version}" for name, version in sorted(facts.versions.items()))),
        ("Backends", ", ".join(facts.backends)),
        ("Fingerprint", element("code", facts.fingerprint)),
    ]
    return definitions(caption, rows)


def settings(family: Family) -> Html:
    """What the search was asked, and the sizes of the unpruned model."""
    asked = definitions("What the search was asked", _flat(family.options))
    sizes = definitions("The unpruned model", _flat(family.config.model_dump(exclude_none=True)))
    return element("details", element("summary", "Search settings and model sizes"), asked, sizes)


def served_model(served: Mapping[str, object]) -> Html:
    """Whether the model answers over HTTP as accurately as it did offline."""
    http, offline = served.get("accuracy_http"), served.get("accuracy_offline")
    equal = _same(http, offline, served.get("samples"))
    words = "The accuracies are equal." if equal else "The accuracies are not equal."
    return element(
        "div",
        element("strong", words),
        f"{_named(served)} reached {_accuracy(http)} over HTTP and {_accuracy(offline)} offline",
        f", on {served['samples']} samples each." if served.get("samples") is not None else ".",
        class_="verdict" if equal else "verdict bad",
    )


def reading(family: Family) -> Html:
    """The terms used on this page."""
    taken = next((trial.latency for trial in family.trials if trial.latency is not None), None)
    share = "the stated share" if taken is None else f"{100 * taken.confidence:g} %"
    terms = {
        "p50, p95": "Half of the timed inferences took at most p50, 95 % of them at most p95. Each inference "
        "is one run of the exported model on the device, with inputs in memory and after a warm-up.",
        "Interval": f"On a machine that stays as it is, {share} of such intervals hold the true p50 (or "
        "p95). A shared or warming machine changes by more between two measurements: models whose "
        "intervals overlap, or nearly do, are not to be ranked.",
        "Stopped by": "Timing ends when the interval of p50 is narrow enough (precision), or when time is "
        "up (time); then it is wider than was asked.",
        "Pruned": "The share of all SSM operators, one per channel and layer, that was removed; the input "
        "passes by a removed operator unchanged. Everything between the operators stays, so latency "
        "usually falls by less than this share.",
        **_asked(family),
        "Pareto front": "The trials to which no other is preferable: no other is both as fast and as "
        "accurate, and better in one of the two. Every other trial gives something away for nothing.",
        "Validation and test accuracy": "Candidates were compared by accuracy on the validation split. The "
        "test split was looked at once, at the end and for the kept models only, so it is the fair "
        "estimate; differences of a few samples mean little.",
        "Speedup": "The unpruned p50 divided by the model's p50.",
        "Parameters and MACs": "Of the compacted model; MACs are multiply-accumulates of one inference.",
    }
    pairs = (element("div", element("dt", term), element("dd", words)) for term, words in terms.items())
    return element("dl", *pairs, class_="terms")


def _asked(family: Family) -> dict[str, str]:
    """Terms that only some searches need."""
    terms = {}
    if any(is_budgeted(trial.stage) for trial in family.trials):
        terms["Budget"] = (
            "A model named by a budget was planned to stay within a latency (ms), a share of the unpruned "
            "model's latency (x) or an energy (mJ); how much was pruned is what that came to."
        )
    if any(trial.features is not None for trial in family.trials):
        terms["Residual channels"] = (
            "The channels that carry the signal from layer to layer. Where some were removed, everything "
            "between the operators became smaller, too."
        )
    if any(trial.states is not None for trial in family.trials):
        terms["States"] = "Real numbers an operator remembers of the past; fewer make it cheaper to stream."
    if any(trial.latency is not None and trial.latency.energy_mj is not None for trial in family.trials):
        terms["Energy"] = "Per inference, from the board's own power sensors."
    return terms


def _named(served: Mapping[str, object]) -> str:
    where = f" at {served['url']}" if served.get("url") else ""
    return f"{served.get('name') or 'The model'}{where}"


def _accuracy(value: object) -> str:
    return f"{100 * value:.2f} %" if isinstance(value, (int, float)) else "no accuracy"


def _same(http: object, offline: object, samples: object) -> bool:
    """Equal to less than half a sample, since both are counts divided by the number of samples."""
    if not isinstance(http, (int, float)) or not isinstance(offline, (int, float)):
        return False
    tolerance = 0.5 / samples if isinstance(samples, int) and samples > 0 else 1e-9
    return abs(http - offline) < tolerance


def _flat(values: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, object]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", _plain(value)


def _plain(value: object) -> str:
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value))
    return text.MISSING if value is None else str(value)


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
