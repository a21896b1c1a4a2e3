"""Estimated costs: some work at the pace of a sample of it, and records of stages in the ledger's format."""

from __future__ import annotations

from dataclasses import replace

from selectune.costs.ledger import Ledger
from selectune.costs.record import Part, Stage, Total


def at_pace_of(sample: Total, work: Total) -> Total:
    """Work with the seconds of one device, in proportion to FLOPs, or to padded tokens where FLOPs are unknown.

    The sample is what was measured of such work; the peak of memory is taken from it.
    """
    seconds = 0.0
    if sample.flops and work.flops is not None:
        seconds = sample.device_s * work.flops / sample.flops
    elif sample.padded_tokens:
        seconds = sample.device_s * work.padded_tokens / sample.padded_tokens
    return replace(work, device_s=seconds, peak_rss_bytes=sample.peak_rss_bytes)


class EstimatedCosts(Ledger):
    """A ledger of stages that have not run.

    Args:
        device: that the run will hold.
        world_size: processes of the run.
        speed: FLOPs a second of another machine; None takes the seconds that were measured here.
    """

    def __init__(self, device: str, world_size: int, speed: float | None = None) -> None:
        super().__init__(device=device, world_size=world_size)
        self.speed, self._peak_rss = speed, 0

    def charge(self, stage: Stage, part: Part, cost: Total, parallel: bool = False) -> None:
        """Add a stage at its cost over all ranks, in seconds of one device; ``parallel`` where the ranks share it."""
        seconds = cost.flops / self.speed if self.speed is not None and cost.flops else cost.device_s
        forecast = self.stage(stage, part, kept=())
        forecast.add(cost.examples, cost.tokens, cost.padded_tokens, cost.flops, "forecast")
        record = forecast.so_far(finished=True)
        # peaks count from a process's start
        self._peak_rss = max(self._peak_rss, record.peak_rss_bytes, cost.peak_rss_bytes)
        record = replace(
            record,
            wall_s=seconds / (self.world_size if parallel else 1),
            device_s=seconds,
            energy_j=None,
            energy_source="not measured: a forecast",
            peak_rss_bytes=self._peak_rss,
        )
        self.add(record)
