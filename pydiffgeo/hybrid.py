"""A hybrid: a network gives parameters, and stages add series by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

from pydiffgeo.data.batch import Batch
from pydiffgeo.data.form import step_of, times_of
from pydiffgeo.errors import DataError, ParameterError, SettingsError, nearest
from pydiffgeo.members import Ensemble
from pydiffgeo.networks.base import Network
from pydiffgeo.networks.bounds import Bounds
from pydiffgeo.networks.mixed import Mixed
from pydiffgeo.networks.parameters import Learned, Parameters
from pydiffgeo.networks.reading import Facts, Training, fit_inputs
from pydiffgeo.networks.table import Given
from pydiffgeo.recorded import Recorded
from pydiffgeo.stages.base import Known, Series, Stage, converted
from pydiffgeo.stages.explicit_hbv import ExplicitHBV
from pydiffgeo.stages.parallel import Parallel, flat
from pydiffgeo.stages.process import Process
from pydiffgeo.units import conversion


class Hybrid(Recorded, nn.Module):
    """A network gives the parameters of stages; each stage reads series by name and adds series by name.

    Its layers are made by `prepare`, which also fits the scaling of what networks read. Weights, names, units and scaling are
    all in `state_dict`.

    Parameters
    ----------
    network : Network, Mixed, Table, torch.nn.Module or None
        From attributes and series to parameters. A module that is no `Network` gets the scaled attributes [batch, attribute]
        and returns [batch, parameters x copies]. None where no stage learns anything.
    *stages : Stage
        Run one after another.
    varying : sequence of str
        Parameters that differ from step to step.
    spread : float
        Standard deviation with which the copies of `Parallel` start apart, on the unbounded scale.
    varying_dropout : float
        In training, the share of sites whose varying parameters are kept at those of the last step (Feng et al. 2022,
        doi:10.1029/2022WR032404).
    dtype : torch.dtype
        Of networks and scaling; solvers have their own.
    seed : int
        Added to the seeds of the networks; also of the spread.

    Attributes
    ----------
    reads, needs, gives : tuple of str
        Series and attributes that are read, once it is prepared, and series that are given.
    learns : dict of str to Bounds
        Parameters of the stages, in the order of the networks' outputs: those of processes, then those of the other stages,
        the last first.

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
            raise ParameterError(f"all Parallel of a hybrid need one count, got {sorted(counts)}.")
        self.copies = counts.pop() if counts else 1
        processes = [s for s in self._flat if isinstance(s, Process)]
        models = [s for s in self._flat if isinstance(s, Process | ExplicitHBV)]
        self.learns: dict[str, Bounds] = {}
        for stage in (*models, *(s for s in reversed(self._flat) if s not in models)):
            for name, bounds in stage.learns.items():
                if name in self.learns:
                    raise SettingsError(f"two stages learn {name!r}; leave one out.")
                self.learns[name] = bounds
        if self.learns and network is None:
            raise SettingsError(
                f"the stages learn {', '.join(self.learns)}, and there is no network that gives them."
            )
        for name in self.varying:
            for stage in processes:
                if name in stage.model.replaced:
                    stage._unknown(name, self.learns)
            if name not in self.learns:
                raise ParameterError(
                    f"varying: no learned parameter {name!r}{nearest(name, self.learns)} Known: {', '.join(self.learns)}."
                )
        self.learned: Parameters | None = None
        self.facts: Facts = {}
        self._ends: dict[str, tuple[float, float]] = {}

    @property
    def network(self) -> nn.Module | None:
        """The network, whose weights are those of `learned`."""
        return self._network[0]

    @property
    def _flat(self) -> list[Any]:
        return flat(self.stages)

    @property
    def prepared(self) -> bool:
        """Whether networks and scaling are there."""
        return bool(self.facts)

    @property
    def gives(self) -> tuple[str, ...]:
        """Series that the stages add."""
        return tuple(dict.fromkeys(name for stage in self._flat for name in stage.gives))

    def _parts(self) -> list[tuple[nn.Module, tuple[str, ...]]]:
        """Return each network with the parameters that it gives."""
        if self.network is None or not self.learns:
            return []
        names = tuple(self.learns)
        layered = tuple(n for stage in self._flat for n in stage.layers)
        if isinstance(self.network, Mixed):
            return self.network.parts(names, self.varying, layered)
        return [(self.network, names)]

    # ---- preparation ------------------------------------------------------------------------------------------------

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
            First and last time of training; of a Windows its own.
        forcing, attributes : sequence of str, optional
            What "series" and "attributes" stand for in `reads` of networks: all that are not observed, and all numbers.

        Raises
        ------
        DataError
            Series or attributes that nobody gives: by whom they are read, and the nearest name.
        UnitError
            A unit that does not convert to that which a stage reads.
        """
        training = Training.of(sites, start, end, forcing, attributes)
        self._require(training)
        layers = next((tuple(v) for s in self._flat for v in s.layers.values()), ())
        named = [n for n, v in training.sites.data_vars.items() if "units" in v.attrs]
        facts: Facts = {
            "units": {str(n): str(training.sites[n].attrs["units"]) for n in named},
            "observed": list(training.observed),
            "depths": training.depths,
            "seconds": step_of(times_of(training.sites)).total_seconds(),
            "inputs": [
                {} if isinstance(network, Given) else fit_inputs(network, training, layers)
                for network, _ in self._parts()
            ],
            "stages": [stage.fit(training) for stage in self._flat],
        }
        self._build(facts)
        return self

    def _require(self, training: Training) -> None:
        """Raise DataError for all series and attributes that nobody gives, at once."""
        sites, missing = training.sites, []
        known = {str(n) for n in sites.data_vars if "site" in sites[n].dims}
        series = {n for n in known if not set(sites[n].dims) <= {"site", "depth"}}
        for stage in self._flat:
            who = getattr(stage, "who", type(stage).__name__)
            for what, names, where in (
                ("series", stage.reads, series),
                ("attribute", stage.needs, known - series),
                *(("attribute", (p[0],), known - series) for p in stage.places.values()),
            ):
                missing += [
                    f"{who} reads the {what} {n!r}, which nobody gives{nearest(n, where)}"
                    for n in names
                    if n not in where
                ]
            series = series | set(stage.gives)
        if missing:
            raise DataError(" ".join(dict.fromkeys(missing)))

    def _build(self, facts: Facts) -> None:
        """Make networks and scaling, and bind the stages, from what `prepare` found or a saved hybrid has."""
        units = dict(facts["units"])
        step = pd.Timedelta(seconds=facts["seconds"])
        known = Known(units, step, facts["depths"], tuple(facts["observed"]), self.seed)
        observed = {n: units[n] for n in known.observed if n in units}
        if len(facts["stages"]) != len(self._flat):
            raise SettingsError(
                f"what was saved is of another model: it has {len(facts['stages'])} stages, this "
                f"hybrid {len(self._flat)}. Make the hybrid as it was made then."
            )
        for stage, own in zip(self._flat, facts["stages"], strict=True):
            stage.build(own, known, self.dtype)
            known.units |= stage.bind(known)
        given = set(self.gives)
        self._ends = {}
        for name, unit in observed.items():
            if name in given and name in known.units:
                factor = conversion(known.units[name], unit)
                if factor is None:
                    raise DataError(
                        f"{name!r} is observed in {unit!r} and simulated in {known.units[name]!r}, which does not convert."
                    )
                if factor != (1.0, 0.0):
                    self._ends[name] = factor
        learned = Learned(
            self.learns,
            {k: v for s in self._flat for k, v in s.begin.items()},
            {k: v for s in self._flat for k, v in s.places.items()},
            {k: v for s in self._flat for k, v in s.layers.items()},
            self.varying,
            next((s.units for s in self._flat if isinstance(s, Process) and s.layers), ("cm", "h")),
        )
        own = zip(self._parts(), facts["inputs"], strict=True)
        self.learned = Parameters(
            [(network, names, read) for (network, names), read in own],
            learned,
            self.copies,
            self.spread,
            self.varying_dropout,
            self.seed,
            self.dtype,
        )
        self.facts = facts
        self.train(self.training)  # what was made now, too

    @property
    def reads(self) -> tuple[str, ...]:
        """Series of the data that stages and, once it is prepared, networks read."""
        given: set[str] = set()
        found: list[str] = []
        for stage in self._flat:
            found += [name for name in stage.reads if name not in given]
            given |= set(stage.gives)
        return tuple(dict.fromkeys(found + [n for f in self._inputs() for n in f["series"]]))

    @property
    def needs(self) -> tuple[str, ...]:
        """Attributes that stages and, once it is prepared, networks read."""
        found = [name for stage in self._flat for name in stage.needs]
        found += [n for f in self._inputs() for n in (*f["attributes"], *f["profiles"])]
        return tuple(dict.fromkeys(found))

    @property
    def recalls(self) -> tuple[str, ...]:
        """Observed series that networks read as they were some steps before."""
        return tuple(dict.fromkeys(name for f in self._inputs() for name in f["past"]))

    def _inputs(self) -> list[Facts]:
        own = [f for f in self.facts.get("inputs", []) if f]
        return own + [f["inputs"] for f in self.facts.get("stages", []) if "inputs" in f]

    def get_extra_state(self) -> Facts:
        """Return names, units and scaling, for `state_dict`."""
        return deepcopy(self.facts)

    def set_extra_state(self, state: Facts) -> None:
        """Make the networks of a saved hybrid, before their weights are loaded."""
        if state and state != self.facts:
            self._build(state)

    # ---- simulation -------------------------------------------------------------------------------------------------

    def parameters_of(self, batch: Batch) -> dict[str, Tensor]:
        """Return the parameters of a batch by name: [batch, copy], [batch, copy, time] of varying ones, [batch, layer].

        Raises
        ------
        SettingsError
            The hybrid is not prepared.
        DataError
            The batch lacks an attribute or a series.
        """
        if self.learned is None:
            raise SettingsError(
                "this hybrid has no networks yet; call hybrid.prepare(windows), or load a state_dict."
            )
        return self.learned(batch) if self.learns else {}

    def run(self, batch: Batch, parameters: Mapping[str, Tensor]) -> Series:
        """Return all series for parameters as `parameters_of` gives them, warm-up included, in the units of the observations.

        Raises
        ------
        SolveFailed
            With site and dates of each failure, where the solver does not report them in `Series.failed`.
        """
        layered = {name for stage in self._flat for name in stage.layers}
        alone = self.copies == 1
        single = {k: v if alone and k in layered else v.mean(1) for k, v in parameters.items()}
        wide = {k: v[:, None] if alone and k in layered else v for k, v in parameters.items()}
        series = Series(batch.series)
        for stage in self.stages:
            given = wide if isinstance(stage, Parallel) else single
            series = series.added(stage(series, given, batch))
        return series.added({k: converted(series[k], f) for k, f in self._ends.items()})

    def forward(self, batch: Batch) -> Series:
        """Return all series by name for a batch; see `run`."""
        return self.run(batch, self.parameters_of(batch))

    def ensemble(self, seeds: Sequence[int], seen: Sequence[Any] | None = None) -> Ensemble:
        """Return members that differ by the seeds of their networks and, where `seen` has one for each, by their training.

        Parameters
        ----------
        seeds : sequence of int
            Added to the seed of this hybrid.
        seen : sequence of xarray.Dataset or Windows, optional
            What each member is prepared for; without it each has the scaling of this hybrid, if that is prepared.
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
        """Let a `SoilClass(best=True)` choose the class of each site by the error of its simulation in the windows.

        Returns
        -------
        dict of str to str
            Class of each site; empty for other networks.
        """
        chooser = getattr(self.network, "choose", None)
        return {} if chooser is None else dict(chooser(self, windows))

    def __repr__(self) -> str:
        """Return stages, and what each reads, gives and learns."""
        lines = [f"Hybrid ({'prepared' if self.prepared else 'not prepared'})"]
        if self.network is not None:
            for name, part in _networks(self.network).items():
                reads = ", ".join(getattr(part, "reads", ("attributes",)))
                lines += [f"  network {name}", f"    reads  {reads}"]
        for stage in self.stages:
            inner = flat([stage])
            if isinstance(stage, Parallel):
                lines.append(f"  Parallel: {stage.count} copies of")
            for one in inner:
                indent = "    " if isinstance(stage, Parallel) else "  "
                lines.append(indent + getattr(one, "who", type(one).__name__))
                lines += [
                    f"{indent}  {what:<6} {', '.join(names)}"
                    for what, names in one.summary()
                    if names
                ]
        return "\n".join(lines)


def _drawn_anew(network: nn.Module, seed: int) -> None:
    """Draw the weights of somebody else's network from a seed, as far as its layers can."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for layer in network.modules():
            if callable(reset := getattr(layer, "reset_parameters", None)):
                reset()


def _networks(network: nn.Module) -> dict[str, nn.Module]:
    if isinstance(network, Mixed):
        parts = {"static": network.static, "varying": network.varying, "layers": network.layers}
        return {f"{k}: {type(v).__name__}": v for k, v in parts.items() if v is not None}
    return {type(network).__name__: network}
