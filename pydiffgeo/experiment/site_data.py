"""Records of the sites of a run: trained on, choosing the epoch, held out or left out."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field

import pandas as pd
import xarray as xr

from pydiffgeo.console import console
from pydiffgeo.data import Fill, filled_lines, left_out_lines
from pydiffgeo.data.lazy import seen_at

log = logging.getLogger("pydiffgeo")

DATA_REPORT = "data_report.csv"
REMARKS = 3  # that are printed; the report has all


@dataclass(frozen=True)
class SiteData:
    """Records of the sites of a run, those trained on before those held out."""

    sites: xr.Dataset  # site form
    trained: tuple[str, ...]
    held_out: tuple[str, ...] = ()
    # sites that cannot be used, or shall not, and why: of "all", and of the judgement in a period
    left_out: dict[str, dict[str, str]] = field(default_factory=dict)
    remarks: tuple[tuple[str, str], ...] = ()  # site, and what was put up with there
    fills: tuple[Fill, ...] = ()  # forcing that was filled
    river: tuple[str, ...] = ()  # observed series, where all sites of a river belong together
    validating: tuple[str, ...] = ()  # sites that choose the epoch

    @property
    def training(self) -> xr.Dataset:
        """Records of the sites trained on; of rivers all, without what was observed in others."""
        if not self.river:
            return self.sites.sel(site=list(self.trained))
        return self._seen_at(self.trained)

    @property
    def groups(self) -> dict[str, tuple[str, ...]] | None:
        """Sites by group, where some are held out."""
        if not self.held_out and not self.validating:
            return None
        gauges = {*self.trained, *self.validating, *self.held_out}
        others = tuple(str(s) for s in self.sites.site.values if str(s) not in gauges)
        found = {"trained": self.trained, "validation": self.validating, "held out": self.held_out}
        found = {name: some for name, some in found.items() if some}
        return found | ({"ungauged": others} if others else {})

    def judged(self, period: str) -> xr.Dataset:
        """Return the records of the sites that are judged in a period."""
        out = self.left_out.get(period, {})
        if self.river:
            return self._seen_at([s for s in (*self.trained, *self.held_out) if s not in out])
        every = (*self.trained, *self.validating, *self.held_out)
        return self.sites.sel(site=[s for s in every if s not in out])

    def report(self) -> str:
        """Return ``data_report.csv``: what sites are left out of, and why; what others have."""
        rows = [(s, scope, why) for scope, of in self.left_out.items() for s, why in of.items()]
        rows += [(site, "nothing", text) for site, text in self.remarks]
        for line in filled_lines(self.fills):
            site, _, text = line.partition(", ")
            rows.append((site, "nothing", f"filled: {text}"))
        return pd.DataFrame(rows, columns=["site", "left_out_of", "reason"]).to_csv(index=False)

    def say(self, name: str, aloud: bool) -> None:
        """Print, or else warn of, which sites a run leaves out and what others have."""
        count, more = len({site for site, _ in self.remarks}), len(self.remarks) - REMARKS
        lines = left_out_lines(self.left_out)
        lines += [f"remarks on {count} site{'s' if count > 1 else ''}:"] if count else []
        lines += [f"  {text}" for _, text in self.remarks[:REMARKS]]
        lines += [f"  and {more} more, in {DATA_REPORT}"] if more > 0 else []
        lines += [f"  filled: {line}" for line in filled_lines(self.fills)]
        for line in lines:
            (console().print if aloud else log.warning)(f"{name}: {line}")

    def _seen_at(self, sites: Sequence[str]) -> xr.Dataset:
        """Return all records of a river, observed at some sites alone."""
        own = self.sites.site.isin(list(sites)).values
        return self.sites.assign({name: seen_at(self.sites[name], own) for name in self.river})
