"""Parameters that no network gives: a row for each site, as a calibration finds them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from pydiffgeo.data.batch import Batch
from pydiffgeo.errors import ParameterError, lookup
from pydiffgeo.recorded import Recorded

if TYPE_CHECKING:
    from pydiffgeo.networks.parameters import Learned


class Given(Recorded, nn.Module):
    """What stands in the place of a network and gives parameters in their units.

    It has no weights.
    """

    reads: tuple[str, ...] = ()
    names: tuple[str, ...] = ()

    def build_for(self, names: tuple[str, ...]) -> None:
        """Take note of the parameters that are asked for."""
        self.names = names

    def parameters_of(self, batch: Batch, learned: Learned) -> dict[str, Tensor]:
        """Return each parameter, [batch]; all soil layers have the same."""
        raise ParameterError(f"{type(self).__name__} lacks `parameters_of`: define it.")


class Table(Given):
    """A row of parameters for each site; NaN until they are set.

    Parameters
    ----------
    sites : sequence of str
        Identifiers.
    """

    values: Tensor

    def __init__(self, sites: Iterable[str]):
        super().__init__()
        self.sites = tuple(str(site) for site in sites)
        self.rows = {site: k for k, site in enumerate(self.sites)}

    def build_for(self, names: tuple[str, ...]) -> None:
        """Make the table."""
        super().build_for(names)
        empty = torch.full((len(self.sites), len(names)), torch.nan, dtype=torch.float64)
        self.register_buffer("values", empty)

    def set(self, site: str, parameters: Mapping[str, float]) -> None:
        """Set the row of a site, by name and in the parameters' units."""
        row = lookup(self.rows, site, "site of the table")
        values = [lookup(parameters, name, "parameter") for name in self.names]
        self.values[row] = torch.tensor(values, dtype=self.values.dtype)

    def parameters_of(self, batch: Batch, learned: Learned) -> dict[str, Tensor]:
        """Return the rows of the sites of a batch.

        ParameterError for a site whose row is not there or not set.
        """
        asked = batch.names
        for site in asked:
            if site not in self.rows or bool(torch.isnan(self.values[self.rows[site]]).any()):
                raise ParameterError(f"the table has no parameters of site {site!r}: set its row.")
        found = self.values[[self.rows[site] for site in asked]]
        return dict(zip(self.names, found.unbind(1), strict=True))
