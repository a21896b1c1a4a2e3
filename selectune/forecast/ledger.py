"""Estimated cost records, one per stage, in the ledger's format."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from selectune.costs.meters import peak_cuda, peak_rss
from selectune.costs.record import STAGES, CostRecord, Part, Stage, code_version
from selectune.forecast.measure import Memory
from selectune.forecast.plans import Work


@dataclass
class EstimatedCosts:
    """Estimated cost records of a run."""

    device: str  # that the run will hold
    world_size: int  # processes of the run
    speed: float | None = None  # FLOPs a second of another machine; None takes the seconds that were measured here
    records: list[CostRecord] = field(default_factory=list)
    _rss: int = 0
    _cuda: int | None = None

    def charge(
        self,
        stage: Stage,
        part: Part,
        work: Work,
        seconds: float,
        method: str,
        memory: Memory | None = None,
        parallel: bool = False,
    ) -> None:
        """Add a stage.

        Args:
            stage: as in a ledger.
            part: as in a ledger.
            work: over all ranks.
            seconds: of one device that does it all.
            method: how the FLOPs were counted.
            memory: that it takes; default what this process took so far.
            parallel: whether the ranks share it; else rank 0 does it alone.
        """
        if self.speed is not None and work.flops:
            seconds = work.flops / self.speed
        self._rss = max(self._rss, memory.peak_rss if memory else peak_rss())  # peaks count from a process's start
        cuda = memory.peak_cuda if memory else peak_cuda()
        self._cuda = cuda if self._cuda is None else max(self._cuda, cuda or 0)
        started = datetime.now(UTC) + timedelta(microseconds=len(self.records))  # the start identifies a record
        self.records.append(
            CostRecord(
                stage=stage,
                part=part,
                wall_s=seconds / (self.world_size if parallel else 1),
                device_s=seconds,
                flops=work.flops,
                flops_method=method,
                energy_j=None,
                energy_source="not measured: a forecast",
                peak_rss_bytes=self._rss,
                peak_cuda_bytes=self._cuda,
                examples=work.examples,
                tokens=work.tokens,
                padded_tokens=work.padded_tokens,
                world_size=self.world_size,
                rank=0,
                device=self.device,
                cached=False,
                attempt=1,
                finished=True,
                commit=code_version(),
                started_at=started.isoformat(timespec="microseconds"),
            )
        )

    @property
    def unscaled(self) -> list[Stage]:
        """Stages whose time on another machine is not known, as their FLOPs are not."""
        unknown = {record.stage for record in self.records if record.flops is None and not record.cached}
        return [stage for stage in STAGES if self.speed is not None and stage in unknown]
