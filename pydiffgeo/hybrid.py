"""A hybrid: a network gives parameters, and stages add series by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any, Literal

import pandas as pd
import torch
import xarray as xr
from torch import Tensor, nn

from pydiffgeo.data.batch import Batch
from pydiffgeo.data.derive import derivation
from pydiffgeo.data.form import unit_of
from pydiffgeo.data.windows import Windows
from pydiffgeo.distributions import kind_in, rescaled
from pydiffgeo.errors import DataError, ParameterError, SettingsError, UnitError, nearest
from pydiffgeo.members import Ensemble
from pydiffgeo.networks.base import Network
from pydiffgeo.networks.bounds import Bounds
from pydiffgeo.networks.mixed import Mixed
from pydiffgeo.networks.parameters import Learned, Parameters
from pydiffgeo.networks.reading import Facts, depths_of, fit_inputs
from pydiffgeo.networks.table import Given
from pydiffgeo.recorded import Recorded
from pydiffgeo.stages.base import Known, Series, Stage, converted, stages_of
from pydiffgeo.stages.explicit_hbv import ExplicitHBV
from pydiffgeo.stages.parallel import Parallel, ends, flat
from pydiffgeo.stages.process import Process
from pydiffgeo.units import same_unit


class Hybrid(Recorded, nn.Module):
    """A network gives the parameters of stages.

    Each stage reads series by name and adds series by name.

    Its layers are made by `prepare`, which also fits the scaling of what networks read. Weights,
    names, units and scaling are all in `state_dict`.

    Parameters
    ----------
    network : Network, Mixed, Table, torch.nn.Module or None
        From attributes and series to parameters. A module that is no `Network` gets the scaled
        attributes [batch, attribute] and returns [batch, parameters x copies]. None where no stage
        learns anything.
    *stages : Stage
        Run one after another.
    varying : sequence of str
        Parameters that differ from step to step.
    spread : float
        Standard deviation with which the copies of `Parallel` start apart, on the unbounded scale.
    varying_dropout : float
        In training, the share of sites whose varying parameters are kept at those of the last step
        (Feng et al. 2022, doi:10.1029/2022WR032404).
    dtype : torch.dtype
        Of networks and scaling; solvers have their own.
    seed : int
        Added to the seeds of the networks; also of the spread.

    Attributes
    ----------
    reads, needs, gives : tuple of str
        Series and attributes that are read, once it is prepared, and series that are given.
    units : dict of str to str
        Unit of each series that is read or given, once it is prepared.
    learns : dict of str to Bounds
        Parameters of the stages, in the order of the networks' outputs: those of processes, then
        those of the other stages, the last first.

    Raises
    ------
    ParameterError, SettingsError
        Stages that do not fit together.
    """

    def __init__(
        self,
        network: nn.Module | None,
        *stages: Stage,
        varying: Sequence[str] = (),
        spread: float = 0.5,
        varying_dropout: float = 0.0,
        dtype: torch.dtype = torch.float32,
        seed: int = 0,
    ):
        super().__init__()
        self._network, self.stages = (network,), nn.ModuleList(stages)
        self.varying, self.spread, self.varying_dropout = tuple(varying), spread, varying_dropout
        self.dtype, self.seed = dtype, seed
        counts = {stage.count for stage in stages if isinstance(stage, Parallel)}
        if len(counts) > 1:
            raise ParameterError(f"all Parallel need one count, got {sorted(counts)}; take one.")
        self.copies = counts.pop() if counts else 1
        self.learned: Parameters | None = None
        self.facts: Facts = {}
        self.units: dict[str, str] = {}
        self._flat = flat(stages)
        if any(s.whole_rivers for s in self._flat) and any(s.whole_cells for s in self._flat):
            raise SettingsError("one stage needs whole rivers, another whole cells; leave one out.")
        self._layers = self._all("layers")
        self.gives = ends(self._flat)[1]
        models = [s for s in self._flat if isinstance(s, Process | ExplicitHBV)]
        self.learns: dict[str, Bounds] = {}
        for stage in (*models, *(s for s in reversed(self._flat) if s not in models)):
            for name, bounds in stage.learns.items():
                if name in self.learns:
                    raise SettingsError(f"two stages learn {name!r}; leave one out.")
                self.learns[name] = bounds
        names = ", ".join(self.learns)
        if self.learns and network is None:
            raise SettingsError(f"{names}: there is no network that gives them; add one.")
        for name in self.varying:
            for stage in models:
                if isinstance(stage, Process) and name in stage.model.replaced:
                    stage.refuse(name, self.learns)
            if name not in self.learns:
                close = nearest(name, self.learns)
                raise ParameterError(f"varying: nobody learns {name!r}{close} Known: {names}.")

    @property
    def network(self) -> nn.Module | None:
        """The network, whose weights are those of `learned`."""
        return self._network[0]

    @property
    def prepared(self) -> bool:
        """Whether networks and scaling are there."""
        return bool(self.facts)

    @property
    def closed(self) -> Literal["upstream", "cell"] | None:
        """What windows must be closed to: "upstream" where a stage needs whole rivers, "cell" where
        one needs whole cells.
        """
        stages = stages_of(self, Stage)
        if any(stage.whole_rivers for stage in stages):
            return "upstream"
        return "cell" if any(stage.whole_cells for stage in stages) else None

    @property
    def remembers(self) -> bool:
        """Whether a step may depend on steps before it: not where all models store nothing."""
        networks = (network for network, _ in self._parts())
        return any(stage.remembers for stage in self._flat) or any(
            getattr(network, "remembers", False) for network in networks
        )

    def _all(self, what: str) -> dict[str, Any]:
        """Return `begin`, `places` or `layers` of all stages."""
        return {k: v for stage in self._flat for k, v in getattr(stage, what).items()}

    def _parts(self) -> list[tuple[nn.Module, tuple[str, ...]]]:
        """Return each network with the parameters that it gives."""
        names = tuple(self.learns)
        if self.network is None or not names:
            return []
        if isinstance(self.network, Mixed):
            return self.network.parts(names, self.varying, tuple(self._layers))
        return [(self.network, names)]

    def prepare(
        self,
        sites: Any,
        start: str | None = None,
        end: str | None = None,
        forcing: Sequence[str] | None = None,
        attributes: Sequence[str] | None = None,
    ) -> Hybrid:
        """Check names and units, fit the scaling, and make the networks with new weights.

        Parameters
        ----------
        sites : xarray.Dataset or Windows
            Those that it will be trained on.
        start, end : str, optional
            First and last time of training, of sites.
        forcing, attributes : sequence of str, optional
            What "series" and "attributes" stand for in `reads` of networks: by default what
            `Windows` take.

        Raises
        ------
        DataError, UnitError
            Series or attributes that nobody gives, all at once, or units that do not convert.
        """
        if isinstance(sites, xr.Dataset):
            windows = Windows(
                sites, start=start, end=end, forcing=forcing, attributes=attributes,
                closed=self.closed,
            )  # fmt: skip
        elif isinstance(sites, Windows) and start is None and end is None:
            named = forcing is not None or attributes is not None
            windows = sites.reading(forcing, None, attributes) if named else sites
        else:
            raise SettingsError("give sites, or Windows without start and end, which have them.")
        self._require(windows.sites)
        optional = self.optional
        layers = next(iter(self._layers.values()), ())
        units = {str(n): unit_of(v) for n, v in windows.sites.data_vars.items()}
        facts: Facts = {
            "units": {name: unit for name, unit in units.items() if unit is not None},
            "observed": list(windows.observed),
            "depths": depths_of(windows.sites),
            "seconds": windows.interval.total_seconds(),
            "inputs": [
                {} if isinstance(network, Given) else fit_inputs(network, windows, layers)
                for network, _ in self._parts()
            ],
            "stages": [stage.fit(windows) for stage in self._flat],
        }
        read = {name for inputs in facts["inputs"] for name in inputs.get("series", ())}
        if lacking := [name for name in optional if name in read]:
            raise SettingsError(
                f"{', '.join(lacking)} may be missing on some steps (others=True), and a network "
                "reads it; let it read other series (`reads`, data.forcing), or fill it."
            )
        self._build(facts)
        return self

    def _require(self, sites: xr.Dataset) -> None:
        """Raise DataError for all series and attributes that nobody gives, at once."""
        dims = {str(name): set(v.dims) for name, v in sites.data_vars.items() if "site" in v.dims}
        attributes = {name for name, own in dims.items() if own <= {"site", "depth"}}
        series, missing = set(dims) - attributes, []
        for stage in self._flat:
            read = [("series", name, series) for name in stage.reads]
            for what, name, known in (*read, *(("attribute", n, attributes) for n in stage.needs)):
                if name not in known:
                    derive = derivation(sites, name)
                    close = f": derive={derive} gives it." if derive else nearest(name, known)
                    missing.append(
                        f"{stage.who} reads the {what} {name!r}, which nobody gives{close}"
                    )
            series = series | set(stage.gives)
        if missing:
            raise DataError(
                f"{' '.join(dict.fromkeys(missing))} Rename yours, derive them in open_sites, name "
                "yours where the stage takes it, or a number that it always is there (forcing and "
                "given of a process), or add a stage."
            )

    def _build(self, facts: Facts) -> None:
        """Make networks and scaling, and bind the stages, from what `prepare` found or a saved
        hybrid has.
        """
        units, observed = dict(facts["units"]), tuple(facts["observed"])
        if len(facts["stages"]) != len(self._flat):
            raise SettingsError(
                f"what was saved is of another model: it has {len(facts['stages'])} stages, this "
                f"hybrid {len(self._flat)}. Make the hybrid as it was made then."
            )
        step = pd.Timedelta(seconds=facts["seconds"])
        known = Known(units, step, facts["depths"], observed, self.seed)
        wanted = {name: units[name] for name in observed if name in units and name in self.gives}
        for stage, own in zip(self._flat, facts["stages"], strict=True):
            stage.build(own, known, self.dtype)
            known.units |= stage.bind(known)
        self.units = known.units | wanted
        # observations tell the unit in which series are compared with them
        self._ends = {k: known.factor(k, unit, "the loss") for k, unit in wanted.items()}
        if known.wrong:
            told = "; ".join(dict.fromkeys(known.wrong))
            raise UnitError(f"{told}: these do not convert; correct the units.")
        column = next((s for s in self._flat if isinstance(s, Process) and s.layers), None)
        soil_units = ("cm", "h") if column is None else column.units
        begin, places = self._all("begin"), self._all("places")
        learned = Learned(self.learns, begin, places, self._layers, self.varying, soil_units)
        parts = [(*part, own) for part, own in zip(self._parts(), facts["inputs"], strict=True)]
        options = (self.copies, self.spread, self.varying_dropout, self.seed, self.dtype)
        self.learned = Parameters(parts, learned, *options)
        self.facts = facts
        self.train(self.training)  # what was made now, too

    @property
    def reads(self) -> tuple[str, ...]:
        """Series of the data that stages and, once it is prepared, networks read."""
        return tuple(dict.fromkeys((*ends(self._flat)[0], *self._read("series"))))

    @property
    def optional(self) -> tuple[str, ...]:
        """Those of `reads` that may be missing on some steps; see `Fuse(others=True)`."""
        own = {name for stage in self._flat for name in stage.optional}
        needed = {name for s in self._flat for name in s.reads if name not in s.optional}
        return tuple(name for name in self.reads if name in own - needed)

    @property
    def readers(self) -> dict[str, str]:
        """Who reads each of the series that `reads` has."""
        of = {name: stage.who for stage in self._flat[::-1] for name in stage.reads}
        return {name: of.get(name, "a network") for name in self.reads}

    @property
    def needs(self) -> tuple[str, ...]:
        """Attributes that stages and, once it is prepared, networks read."""
        own = (name for stage in self._flat for name in stage.needs)
        return tuple(dict.fromkeys((*own, *self._read("attributes", "profiles"))))

    @property
    def recalls(self) -> tuple[str, ...]:
        """Observed series that networks read as they were some steps before."""
        return tuple(dict.fromkeys(self._read("past")))

    def _read(self, *kinds: str) -> list[str]:
        """Return the names that networks read."""
        stages = [facts["inputs"] for facts in self.facts.get("stages", ()) if "inputs" in facts]
        networks = [facts for facts in self.facts.get("inputs", ()) if facts]
        return [name for own in networks + stages for kind in kinds for name in own[kind]]

    def get_extra_state(self) -> Facts:
        """Return names, units and scaling, for `state_dict`."""
        return deepcopy(self.facts)

    def set_extra_state(self, state: Facts) -> None:
        """Make the networks of a saved hybrid, before their weights are loaded."""
        if state and state != self.facts:
            self._build(state)

    def _require_units(self, batch: Batch) -> None:
        """Raise UnitError where a batch states other units than the sites it was prepared for."""
        wrong, own = [], self.facts.get("units", {})
        for name in (*batch.series, *batch.attributes, *batch.observed):
            wanted, now = own.get(name), batch.units.get(name)
            if wanted is not None and now is not None and not same_unit(wanted, now):
                wrong.append(
                    f"{name!r} is given in {now!r}, and the hybrid was prepared for {wanted!r}"
                )
        if wrong:
            raise UnitError(f"{'; '.join(wrong)}: convert them, as `open_sites` does.")
        for name in batch.observed:  # observed here, but not where the hybrid was prepared
            given, now = self.units.get(name), batch.units.get(name)
            compared = name in self.gives and given is not None and now is not None
            if compared and not same_unit(str(given), str(now)):
                raise UnitError(
                    f"{name!r} is observed in {now!r}, and the hybrid gives {given!r}: prepare it "
                    f"by windows of which {name!r} is observed, and it gives that unit."
                )

    def parameters_of(self, batch: Batch) -> dict[str, Tensor]:
        """Return the parameters of a batch by name.

        [batch, copy], [batch, copy, time] of varying ones, [batch, layer].

        SettingsError: the hybrid is not prepared. DataError: the batch lacks an attribute or a
        series.
        """
        if self.learned is None:
            raise SettingsError(
                "the hybrid is not prepared; call hybrid.prepare(sites), or load a state_dict."
            )
        return self.learned(batch) if self.learns else {}

    def run(self, batch: Batch, parameters: Mapping[str, Tensor]) -> Series:
        """Return all series for given parameters, warm-up included, in units of the observations.

        Parameters are as `parameters_of` gives them.

        SolveFailed: with site and dates of each failure, where the solver does not report them in
        `Series.failed`.
        """
        self._require_units(batch)
        single, wide = {}, {}
        for name, x in parameters.items():  # a single copy of layers has no dimension of copies
            alone = self.copies == 1 and name in self._layers
            single[name], wide[name] = (x, x[:, None]) if alone else (x.mean(1), x)
        series = Series(batch.series)
        for stage in self.stages:
            given = wide if isinstance(stage, Parallel) else single
            series = series.added(stage(series, given, batch))
        series = series.filled(torch.nan, self.gives)
        ends = {k: converted(series[k], change) for k, change in self._ends.items()}
        for name, kind in [(k, kind_in(series, k)) for k in ends]:
            if kind is not None and self._ends[name] != (1.0, 0.0):
                own = f"{name}_{kind}"
                ends[own] = rescaled(kind, series[own], self._ends[name])
        return series.added(ends)

    def forward(self, batch: Batch) -> Series:
        """Return all series by name for a batch; see `run`."""
        return self.run(batch, self.parameters_of(batch))

    def ensemble(self, seeds: Sequence[int], seen: Sequence[Any] | None = None) -> Ensemble:
        """Return members that differ by `seeds`, each added to the seed of this hybrid.

        `seen` are the sites or Windows that each is prepared for; without it each has the scaling
        of this hybrid, if it has.
        """
        members = []
        for k, seed in enumerate(seeds):
            args, options = deepcopy(self._given)
            member = type(self)(*args, **options | {"seed": self.seed + seed})
            if not isinstance(member.network, Network | Mixed | Given | None):
                _drawn_anew(member.network, member.seed)
            if seen is not None:
                member.prepare(seen[k])
            elif self.prepared:
                member._build(deepcopy(self.facts))
            members.append(member)
        return Ensemble(members)

    def choose(self, windows: Any) -> dict[str, str]:
        """Let a `SoilClass(best=True)` choose the class of each site, and return it.

        Other networks choose nothing.
        """
        chooser = getattr(self.network, "choose", None)
        return {} if chooser is None else dict(chooser(self, windows))

    def __repr__(self) -> str:
        """Return stages, and what each reads, gives and learns."""
        lines = [f"Hybrid ({'prepared' if self.prepared else 'not prepared'})"]
        own = {"": self.network}
        if isinstance(self.network, Mixed):
            own = {f"{k}: ": v for k, v in self.network.networks.items()}
        for role, network in own.items():
            if network is not None:
                reads = ", ".join(getattr(network, "reads", ("attributes",)))
                lines += [f"  network {role}{type(network).__name__}", f"    reads  {reads}"]
        for stage in self.stages:
            indent = "  "
            if isinstance(stage, Parallel):
                lines.append(f"  Parallel: {stage.count} copies of")
                indent = "    "
            for one in flat([stage]):
                learned = [f"{k} [{b.lower:g}, {b.upper:g}]" for k, b in one.learns.items()]
                lines.append(indent + one.who)
                for what, names in (
                    ("reads", one.reads),
                    ("takes", one.takes),
                    ("gives", one.gives),
                    ("learns", learned),
                ):
                    lines += [f"{indent}  {what:<6} {', '.join(names)}"] if names else []
        return "\n".join(lines)


def _drawn_anew(network: nn.Module, seed: int) -> None:
    """Draw the weights of somebody else's network from a seed, as far as its layers can."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for layer in network.modules():
            if callable(reset := getattr(layer, "reset_parameters", None)):
                reset()
