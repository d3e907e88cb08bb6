"""`s4op measure --against`: a measurement beside an earlier one, if the two may be compared at all."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edge_s4op.errors import MeasurementError
from edge_s4op.messages import Certificate, DeviceFacts, MeasurementRequest, MeasurementResult
from edge_s4op.profiler.comparable import differences
from host.cli.measure_certificate import load_certificate
from host.cli.measure_run import Taken
from host.measure_view.figures import ms, ms_range

__all__ = ["Earlier"]

_MODES = ("backend", "batch", "threads", "transfers", "spin_wait", "cuda_graph")


@dataclass(frozen=True)
class Earlier:
    """The certificate of an earlier measurement, and the file it came from."""

    path: Path
    certificate: Certificate

    @classmethod
    def read(cls, path: Path) -> Earlier:
        """Raises CertificateError, also for one that was changed since it was written."""
        return cls(path, load_certificate(path, whole=True))

    def check_before(self, facts: DeviceFacts) -> None:
        """Refuse before the device is kept busy. Raises MeasurementError saying what differs."""
        then = self.certificate.device
        if why := "; ".join(differences(then, facts)):
            raise MeasurementError(
                f"not comparable with {self.path}: {why}",
                expected=f"fingerprint {then.fingerprint[:12]}",
                found=facts.fingerprint[:12],
                fix="set the device as it was then, or measure both models on it now with --baseline",
            )

    def check_after(self, taken: Taken) -> None:
        """Refuse where the device changed in between. Raises MeasurementError."""
        now, then = taken.result.device_fingerprint, self.certificate.device.fingerprint
        if now != then:
            raise MeasurementError(
                f"not comparable with {self.path}: the device changed while it was measured",
                expected=f"fingerprint {then[:12]}",
                found=now[:12],
            )

    def values(self, measured: MeasurementResult) -> dict[str, object]:
        """For scripts: the earlier median and by how much this one is above it."""
        then, now = self.certificate.result.latency_ms, measured.latency_ms
        against = {
            "certificate": str(self.path),
            "measurement_id": self.certificate.measurement_id,
            "median_ms": then.median,
            "median_interval_ms": [then.median_interval.low, then.median_interval.high],
            "difference_ms": now.median - then.median,
            "modes_differ": self._modes(measured.request),
        }
        return {"against": against}

    def words(self, measured: MeasurementResult) -> str:
        """Both medians with their intervals, the difference, and what it is worth."""
        then, now = self.certificate.result.latency_ms, measured.latency_ms
        difference_ms = now.median - then.median
        share = f" ({difference_ms / then.median:+.1%})" if then.median > 0 else ""
        modes = self._modes(measured.request)
        hint = f" The modes differ: {'; '.join(modes)}." if modes else ""
        return (
            f"against {self.path}: median {ms(now.median)} ms ({ms_range(now.median_interval)}), then "
            f"{ms(then.median)} ms ({ms_range(then.median_interval)}): {difference_ms:+.4f} ms{share}.{hint} "
            "Of two measurements at different times only a large difference means something: --baseline runs "
            "both in turns and resolves small ones."
        )

    def _modes(self, request: MeasurementRequest) -> list[str]:
        then = self.certificate.result.request
        pairs = ((name, getattr(then, name), getattr(request, name)) for name in _MODES)
        return [f"{name} {before} then, {after} now" for name, before, after in pairs if before != after]
