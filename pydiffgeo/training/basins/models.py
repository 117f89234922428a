"""What is trained on basins: the pure LSTM, and process models whose parameters a network learns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import torch
from torch import Tensor, nn

from pydiffgeo.data import BasinTensors, Batch, Scaling
from pydiffgeo.errors import SettingsError, SolveFailed
from pydiffgeo.parameters import AttributeNetwork, BasinParameters, MixedNetwork, SeriesNetwork
from pydiffgeo.training.basins.data import DTYPES
from pydiffgeo.training.basins.processes import Process, SolvedProcess, build_process, simulate
from pydiffgeo.training.basins.settings import BasinRun


class BasinModel(Protocol):
    """A torch module that simulates the targets of a batch."""

    def __call__(self, batch: Batch, gradient: int = 0) -> Tensor:
        """Return targets [batch, time - warm_up, target], without gradients through the first `gradient` days."""
        ...


class Inputs(nn.Module):
    """Standardised attributes and series of a batch, as networks read them.

    Parameters
    ----------
    scaling : Scaling
        Of the training period.
    tensors : BasinTensors
        Names and order of the features.
    series : sequence of str
        Forcing that is read.
    past_discharge : int, optional
        Also discharge of this many days before, with 0 and a feature that says so where there is none.
    """

    def __init__(
        self,
        scaling: Scaling,
        tensors: BasinTensors,
        series: tuple[str, ...],
        past_discharge: int | None = None,
    ):
        super().__init__()
        self.columns = [tensors.forcing_names.index(name) for name in series]
        self.lag = past_discharge
        groups = {
            "series": series,
            "attribute": tensors.attribute_names,
            "target": tensors.target_names,
        }
        for group, names in groups.items():
            for what in ("mean", "std"):
                values = [getattr(scaling, what)[name] for name in names]
                self.register_buffer(f"{group}_{what}", torch.tensor(values, dtype=tensors.dtype))
        if past_discharge and "discharge" not in tensors.target_names:
            raise SettingsError(
                "model.network.past_discharge needs 'discharge' among data.targets."
            )
        self.discharge = tensors.target_names.index("discharge") if past_discharge else 0
        self.sizes = len(series) + 2 * bool(past_discharge), len(tensors.attribute_names)

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return attributes [batch, attribute] and series [batch, time, feature]."""
        series = self._scaled(batch.forcing[..., self.columns], "series")
        if self.lag is not None:
            past = self._scaled(batch.observed, "target")[..., self.discharge].roll(self.lag, 1)
            past[:, : self.lag] = torch.nan
            known = torch.isfinite(past)
            series = torch.cat(
                [series, torch.stack([torch.where(known, past, 0.0), known.to(past)], -1)], -1
            )
        return self._scaled(batch.attributes, "attribute"), series

    def unscaled(self, outputs: Tensor) -> Tensor:
        """Return targets [batch, time, target] in their unit."""
        return outputs * self.get_buffer("target_std") + self.get_buffer("target_mean")

    def _scaled(self, values: Tensor, group: str) -> Tensor:
        return (values - self.get_buffer(f"{group}_mean")) / self.get_buffer(f"{group}_std")


class PureLSTM(nn.Module):
    """Forcing and attributes to the targets, with nothing between: Kratzert et al. (2019), doi:10.5194/hess-23-5089-2019.

    In evaluation mode discharge below zero is zero; in training it keeps its gradient.

    Parameters
    ----------
    inputs : Inputs
        What the network reads.
    targets : sequence of str
        What it simulates.
    hidden, dropout, seed
        As `SeriesNetwork`.
    """

    least: Tensor

    def __init__(
        self, inputs: Inputs, targets: Sequence[str], hidden: int, dropout: float, seed: int
    ):
        super().__init__()
        self.inputs = inputs
        self.network = SeriesNetwork(*inputs.sizes, len(targets), hidden, dropout, seed)
        least = [0.0 if name == "discharge" else -torch.inf for name in targets]
        self.register_buffer("least", torch.tensor(least), persistent=False)

    def forward(self, batch: Batch, gradient: int = 0) -> Tensor:
        """Return targets [batch, time - warm_up, target]."""
        attributes, series = self.inputs(batch)
        targets = self.inputs.unscaled(self.network(attributes, series, batch.warm_up, gradient))
        return targets if self.training else targets.clamp(min=self.least)


class HybridModel(nn.Module):
    """A process model whose parameters a network learns: differentiable parameter learning.

    Tsai et al. (2021), doi:10.1038/s41467-021-26107-z; Feng et al. (2022), doi:10.1029/2022WR032404.

    Parameters
    ----------
    inputs : Inputs
        What the network reads.
    parameters : BasinParameters
        The network and the bounds of its outputs.
    process : Process
    tensors : BasinTensors
        Names of forcing and targets.
    outputs : dict of str to str
        Flux or state of each target.

    Attributes
    ----------
    closures : torch.nn.ModuleDict
        Networks in the equations of the process model, by slot.
    """

    def __init__(
        self,
        inputs: Inputs,
        parameters: BasinParameters,
        process: Process,
        tensors: BasinTensors,
        outputs: dict[str, str],
    ):
        super().__init__()
        self.inputs, self.learned, self.process, self.outputs = inputs, parameters, process, outputs
        # the very modules of the process model, so that their weights are trained and saved with the others
        self.closures = nn.ModuleDict(
            process.model.closures if isinstance(process, SolvedProcess) else {}
        )
        self.forcing = {
            name: tensors.forcing_names.index(series) for name, series in process.forcing.items()
        }

    def parameters_of(self, batch: Batch) -> dict[str, Tensor]:
        """Return the parameters of a batch: [batch, component], or [batch, component, time]."""
        return self.learned(*self.inputs(batch))

    def forward(self, batch: Batch, gradient: int = 0) -> Tensor:
        """Return targets [batch, time - warm_up, target]; gradients flow through all days, whatever `gradient` says.

        Raises
        ------
        SolveFailed
            With basin and window of each failure.
        """
        return self.simulate(batch)[0]

    def simulate(
        self, batch: Batch, also: Mapping[str, str] | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return targets as `forward`, and other series by name, [batch, time - warm_up], as far as the process gives them.

        Parameters
        ----------
        batch : Batch
        also : mapping of str to str, optional
            Flux or state by name of each other series; see `processes.simulate`.

        Raises
        ------
        SolveFailed
            As `forward`.
        """
        parameters = self.parameters_of(batch)
        forcing = {name: batch.forcing[..., k] for name, k in self.forcing.items()}
        try:
            found = simulate(self.process, forcing, parameters, self.outputs, also)
        except SolveFailed as error:
            places = "; ".join(
                f"{batch.where(sample)}: {why}" for sample, why in list(error.failed.items())[:3]
            )
            raise SolveFailed(
                f"the process model failed for {len(error.failed)} basins of a batch: {places}. Take shorter steps "
                "(model.process.step), another solver, or narrower model.process.bounds.",
                error.failed,
            ) from error
        judged = {
            name: series[:, batch.warm_up :].to(batch.forcing.dtype)
            for name, series in found.items()
        }
        return torch.stack([judged.pop(target) for target in self.outputs], -1), judged


def build_model(
    settings: BasinRun, tensors: BasinTensors, scaling: Scaling, process: Process | None
) -> nn.Module:
    """Return the untrained model of a run.

    Parameters
    ----------
    settings : BasinRun
    tensors : BasinTensors
        Names of the features.
    scaling : Scaling
        Of the training period.
    process : Process or None
        From `process_of`.
    """
    model, data, seed = settings.model, settings.data, settings.training.seed
    targets = tensors.target_names
    if process is None:
        inputs = Inputs(scaling, tensors, data.forcing)
        built: nn.Module = PureLSTM(inputs, targets, model.lstm.hidden, model.lstm.dropout, seed)
        return built.to(DTYPES[settings.training.dtype])
    net, components = model.network, model.process.components
    inputs = Inputs(scaling, tensors, data.forcing, net.past_discharge)
    count, daily = len(process.bounds) * components, len(net.varying) * components
    network: nn.Module
    if net.kind == "attributes":
        network = AttributeNetwork(inputs.sizes[1], count, net.hidden, net.dropout, seed)
    elif net.kind == "series":
        network = SeriesNetwork(*inputs.sizes, count, net.hidden[0], net.dropout, seed)
    else:
        network = MixedNetwork(
            AttributeNetwork(inputs.sizes[1], count - daily, net.hidden[1:], net.dropout, seed),
            SeriesNetwork(*inputs.sizes, daily, net.hidden[0], net.dropout, seed),
        )
    learned = BasinParameters(
        network,
        process.bounds,
        process.default,
        net.varying,
        components,
        varying_dropout=net.varying_dropout,
        seed=seed,
    )
    outputs = {target: model.process.outputs.get(target, target) for target in targets}
    dtype = DTYPES[
        settings.training.dtype
    ]  # of the networks of parameters; closures have that of the solver
    return HybridModel(inputs.to(dtype), learned.to(dtype), process, tensors, outputs)


def process_of(settings: BasinRun) -> Process | None:
    """Return the process model of a run, None for the pure LSTM."""
    return None if settings.model.name == "lstm" else build_process(settings.model)
