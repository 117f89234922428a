"""Soil water that plants can take up: how far dry soil closes stomata."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from pydiffgeo.data.batch import Batch
from pydiffgeo.errors import DataError, ParameterError
from pydiffgeo.models.closures import NeuralClosure
from pydiffgeo.networks.bounds import Bounds
from pydiffgeo.networks.reading import taken
from pydiffgeo.stages.base import Known, Named, Range, Series, Stage, converted, in_time

Check = Callable[[list[Tensor]], list[tuple[Tensor, str]]]
SUM = 1e-4  # by which root fractions may miss one, as rounded numbers in files do
ROUNDING = 1e-6  # by which a wetness may lie outside of 0 to 1

OPEN, CLOSED = -66000.0, -255000.0  # mm, of many plants in CLM 4.5


class SoilWaterStress(Stage):
    """Soil water stress of leaves: 1 without stress, 0 where no root finds water ("btran").

    In each soil layer psi = max(psi_saturated wetness^-B, psi_closed), and the layer gives the
    share w = (psi - psi_closed) / (psi_open - psi_closed) of what plants ask for, between 0 and 1.
    The stress is the sum of w over the layers, each with its share of the roots. The formula is
    the piecewise one of the source: where a layer is as dry as psi_closed, its w is 0 exactly, and
    so is the derivative in B.

    Source: Aboelyazeed et al. (2023), doi:10.5194/bg-20-2671-2023, and for the wilting factor
    Oleson et al. (2013), Technical description of CLM 4.5, doi:10.5065/D6RR1W7M, chapter 8.

    Parameters
    ----------
    wetness : str or sequence of str
        Series of the share of the pores that is filled with water (0 to 1), one for each layer.
    roots : sequence of str or float
        Share of the roots in each layer, numbers or attributes of the sites; together one.
    potential_open, potential_closed : str or float
        Soil water potential (mm, negative) down to which stomata are open, and at which they are
        closed: a number or an attribute of the sites.
    potential_saturated : str or float, optional
        Potential of saturated soil (mm, negative); by default `potential_open`, as in the source,
        whose B is therefore smaller than the exponent of Clapp and Hornberger.
    B : str, float or a sequence of them, optional
        Exponent of all layers or of each: numbers or attributes. By default a network gives it.
    between : (float, float)
        Bounds of the learned B.
    depths : sequence of float, optional
        Depth of the middle of each layer (cm): B is learned for each layer, by a network with
        `per="layer"` or one of sites that gives all. By default one B for all layers of a site.
    name : str
        Series that is given.
    closure : NeuralClosure, optional
        A network in the place of the formula, one for all sites: from the wetness of a layer to its
        w, which it keeps between 0 and 1 and which rises with wetness. Potentials and B are then
        not read, unless it stands beside the formula (residual=True).

    Raises
    ------
    ParameterError
        Layers, roots and depths that differ in number, root fractions that do not sum to one, a
        negative B, potentials that are not in the order closed < open < 0, or a closure that may
        leave the range or fall.
    """

    remembers = False

    def __init__(
        self,
        wetness: str | Sequence[str] = "soil_wetness",
        roots: Sequence[str | float] = (1.0,),
        potential_open: str | float = OPEN,
        potential_closed: str | float = CLOSED,
        potential_saturated: str | float | None = None,
        B: str | float | Sequence[str | float] | None = None,
        between: Range = (0.0, 1.0),
        depths: Sequence[float] | None = None,
        name: str = "soil_water_stress",
        closure: NeuralClosure | None = None,
    ):
        super().__init__()
        self.closure = closure
        # without a formula there are neither potentials nor B
        alone = closure is not None and not closure.residual
        self._require_shape()
        self.reads = (wetness,) if isinstance(wetness, str) else tuple(wetness)
        self.gives, self.roots = (name,), tuple(roots)
        saturated = potential_open if potential_saturated is None else potential_saturated
        potentials = (potential_open, potential_closed, saturated)
        count = len(self.reads)
        exponents = (B,) * count if isinstance(B, str | int | float) else tuple(B or ())
        for what, given in (("roots", self.roots), ("B", exponents), ("depths", depths or ())):
            if len(given) not in ((count,) if what == "roots" else (0, count)):
                raise ParameterError(
                    f"{self.who} has {count} layers ({', '.join(self.reads)}) and {len(given)} "
                    f"numbers of {what}; give one for each layer."
                )
        if alone and (exponents or depths):
            raise ParameterError(
                f"{self.who}: B and depths belong to the formula that the closure replaces; leave "
                "them out, or let it stand beside the formula (residual=True)."
            )
        if not exponents and not alone:
            self.learns = {"B": Bounds(*between)}
            self.layers = {"B": tuple(map(float, depths))} if depths else {}
            if between[0] < 0:
                raise ParameterError(f"{self.who}: B must not be negative; raise {between[0]:g}.")
        elif depths:
            raise ParameterError(f"{self.who}: depths are for a learned B; leave one of both out.")
        # what is read as it is, and what is wrong with it
        self.groups: tuple[tuple[tuple[str | float, ...], Check], ...] = (
            (self.roots, _roots),
            (() if alone else potentials, _potentials),
            (exponents, _positive),
        )
        every = tuple(value for group, _ in self.groups for value in group)
        self.needs = tuple(dict.fromkeys(v for v in every if isinstance(v, str)))
        for group, faults in self.groups:
            numbers = [torch.tensor([float(v)]) for v in group if not isinstance(v, str)]
            for bad, text in faults(numbers) if group and len(numbers) == len(group) else ():
                if bool(bad.any()):
                    raise ParameterError(f"{self.who}: {text}.")

    @property
    def takes(self) -> tuple[str, ...]:
        """Where roots and potentials come from."""
        names = ("roots", "potentials (open, closed, saturated)", "B")
        return tuple(
            f"{name} = {', '.join(map(str, group))}"
            for name, (group, _) in zip(names, self.groups, strict=True)
            if group
        )

    @property
    def typical(self) -> dict[str, float]:
        """A possible value of each attribute that is read, by name: for made-up sites."""
        values = (
            [1 / len(self.roots)] * len(self.roots),
            [OPEN, CLOSED, OPEN],
            [0.3] * len(self.roots),
        )
        groups = zip(self.groups, values, strict=True)
        pairs = [(n, v) for (group, _), own in groups for n, v in zip(group, own, strict=False)]
        return {name: value for name, value in pairs if isinstance(name, str)}

    def bind(self, known: Known) -> dict[str, str]:
        """Check the units of what is read, and return that of the stress."""
        self.factors = {name: known.factor(name, "1", self.who) for name in self.reads}
        units = dict.fromkeys(self.needs, "1")
        units |= {v: "mm" for v in self.groups[1][0] if isinstance(v, str)}
        self.factors |= {name: known.factor(name, unit, self.who) for name, unit in units.items()}
        return {self.gives[0]: "1"}

    def forward(self, series: Series, parameters: Named, batch: Batch) -> Named:
        """Return the stress [batch, time].

        DataError: a wetness outside of 0 to 1, or attributes that the constructor would refuse, by
        site and date.
        """
        roots, potentials, given = (
            [self._value(value, batch) for value in group] for group, _ in self.groups
        )
        for values, (_, faults) in zip((roots, potentials, given), self.groups, strict=True):
            for bad, text in faults(values) if values else ():
                self._require(bad, text, batch)
        total = torch.zeros(())
        for k, name in enumerate(self.reads):
            wetness = converted(series[name], self.factors[name])
            text = f"{name!r} must be the filled share of the pores, between 0 and 1; correct it"
            self._require((wetness < -ROUNDING) | (wetness > 1 + ROUNDING), text, batch)
            total = total + roots[k] * self._share(k, wetness, given, potentials, parameters)
        return {self.gives[0]: total}

    def _share(
        self, k: int, wetness: Tensor, given: list[Tensor], potentials: list[Tensor], own: Named
    ) -> Tensor:
        """Return what a layer gives, [batch, time], by the formula, the closure, or both."""
        if self.closure is not None and not self.closure.residual:
            return self.closure(wetness)
        if given:
            exponent = given[k]
        else:
            exponent = own["B"][:, k, None] if self.layers else in_time(own["B"], wetness)
        share = wilting_factor(wetness, exponent, *potentials)
        return share if self.closure is None else self.closure(wetness, formula=share)

    def _value(self, value: str | float, batch: Batch) -> Tensor:
        """Return a number, or an attribute [batch, 1]."""
        if isinstance(value, str):
            found = converted(taken(batch.attributes, value, "attribute"), self.factors[value])
            return found.double()[:, None]
        return torch.tensor([[float(value)]], dtype=torch.float64, device=batch.site.device)

    def _require_shape(self) -> None:
        """Raise ParameterError for a closure that leaves the range or falls with wetness."""
        if (own := self.closure) is None:
            return
        low, high = own.output_range or (-1.0, 2.0)
        if own.widths[0] != 1 or low < 0 or high > 1 or 0 not in own.monotone_in:
            raise ParameterError(
                f"{self.who}: the closure must turn wetness into a share that rises from 0 to 1; "
                "take NeuralClosure(1, output_range=(0.0, 1.0), monotone_in=(0,))."
            )

    def _require(self, bad: Tensor, text: str, batch: Batch) -> None:
        """Raise DataError for the first place where something is wrong."""
        if bool(bad.any()):
            row = int(bad.expand(len(batch), -1).any(1).nonzero()[0])
            raise DataError(f"{self.who}: {batch.where(row)}: {text}.")


def wilting_factor(
    wetness: Tensor, exponent: Tensor, opened: Tensor, closed: Tensor, saturated: Tensor
) -> Tensor:
    """Return what a soil layer gives in parts of what plants ask for, from 0 to 1.

    All broadcast: filled share of the pores, exponent B, and potentials (mm, negative).
    """
    # in logarithms, so that an empty layer is closed and not infinite
    drought = -exponent * torch.log(wetness.clamp(torch.finfo(wetness.dtype).tiny, 1.0))
    psi = saturated * torch.exp(torch.minimum(drought, torch.log(closed / saturated)))
    return ((closed - psi) / (closed - opened)).clamp(0.0, 1.0)


def _roots(shares: list[Tensor]) -> list[tuple[Tensor, str]]:
    """Return where root fractions of all layers are none, and what to do about it."""
    found = [
        (share < 0, "a root fraction is negative; give shares of the roots") for share in shares
    ]
    whole = torch.stack(torch.broadcast_tensors(*shares)).sum(0)
    text = "root fractions do not sum to 1; give those of all layers, or divide them by their sum"
    return [*found, ((whole - 1).abs() > SUM, text)]


def _potentials(values: list[Tensor]) -> list[tuple[Tensor, str]]:
    """Return where potentials cannot be, and what to do about it."""
    opened, closed, saturated = values
    found = []
    for name, value in (("potential_open", opened), ("potential_saturated", saturated)):
        found.append((value >= 0, f"{name} must be negative, in mm of water; turn its sign"))
        text = f"potential_closed must be more negative than {name}; exchange or correct them"
        found.append((closed >= value, text))
    return found


def _positive(exponents: list[Tensor]) -> list[tuple[Tensor, str]]:
    """Return where exponents are negative, and what to do about it."""
    return [(value < 0, "B is negative; give it as a positive number") for value in exponents]
