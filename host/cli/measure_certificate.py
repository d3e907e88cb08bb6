"""Certificates of measurements: `s4op measure --verify`, which needs no agent; and reading one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
from rich import box
from rich.table import Table

from edge_s4op.errors import CertificateError, DataError
from edge_s4op.messages import Certificate
from edge_s4op.profiler.certificate import Verification, read_certificate, verify
from host.cli.console import emit_json, log, result
from host.cli.measure_outputs import baseline_file

__all__ = ["load_certificate", "verify_command"]

Samples = npt.NDArray[np.float64]


def verify_command(path: Path, model: Path | None, samples: Path | None, as_json: bool) -> None:
    """Print every check of a certificate. Raises CertificateError when one failed, after printing.

    `model` and `samples` are checked by it, too, where given; a baseline's samples lie in the file beside.
    """
    certificate = load_certificate(path)
    verification = verify(
        certificate,
        artifact=None if model is None else _read(model),
        samples_ms=None if samples is None else _read_samples(samples),
        baseline_samples_ms=_baseline_samples(certificate, samples),
    )
    if as_json:
        emit_json(_values(path, certificate, verification))
    else:
        result.print(_table(verification))
    _must_hold(path, verification)
    if not as_json:
        log.print(f"{path} holds. It shows that nothing was changed since, not who wrote it.")


def load_certificate(path: Path, *, whole: bool = False) -> Certificate:
    """The certificate in a file; `whole`: one that holds in itself.

    Raises CertificateError, which names the file.
    """
    try:
        certificate = read_certificate(_read(path))
    except (CertificateError, DataError) as error:
        what = error.what if isinstance(error, DataError) else f"{path}: {error.what}"
        raise CertificateError(what, expected=error.expected, found=error.found, fix=error.fix) from error
    if whole:
        _must_hold(path, verify(certificate))
    return certificate


def _must_hold(path: Path, verification: Verification) -> None:
    if not verification.passed:
        names = ", ".join(check.name for check in verification.failed)
        raise CertificateError(f"{path}: this certificate does not hold: {names} failed")


def _values(path: Path, certificate: Certificate, verification: Verification) -> dict[str, object]:
    checks = [{"name": c.name, "outcome": c.outcome, "what": c.what} for c in verification]
    return {
        "certificate": str(path),
        "measurement_id": certificate.measurement_id,
        "passed": verification.passed,
        "checks": checks,
    }


def _table(verification: Verification) -> Table:
    table = Table("check", "outcome", "what", box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    styles = {"failed": "bold red", "not checked": "dim"}
    for check in verification:
        table.add_row(check.name, check.outcome, check.what, style=styles.get(check.outcome, ""))
    return table


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error


def _baseline_samples(certificate: Certificate, samples: Path | None) -> Samples | None:
    if samples is None or certificate.result.comparison is None or not baseline_file(samples).exists():
        return None
    return _read_samples(baseline_file(samples))


def _read_samples(path: Path) -> Samples:
    """One latency a line, ms. Raises DataError naming the line that is none."""
    values = []
    for number, line in enumerate(_read(path).decode(errors="replace").splitlines(), start=1):
        try:
            values.append(float(line))
        except ValueError as error:
            raise DataError(
                f"{path}, line {number}: not a latency",
                expected="one number a line, ms",
                found=repr(line[:40]),
            ) from error
    return np.array(values, dtype=np.float64)
