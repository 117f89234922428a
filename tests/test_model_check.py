"""A model of one's own that does not fit its specification is refused before it is solved, in the
user's terms.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import MethodType
from typing import Any

import pytest
import torch
from own_model_cases import FLUXES, RATES, Cascade, run, slopes, write
from torch import Tensor

from pydiffgeo import (
    HBV,
    Grid,
    NeuralClosure,
    ProcessModel,
    Richards,
    Solver,
    check_model,
    solve,
)
from pydiffgeo.bridge.models import missing
from pydiffgeo.errors import DataError, ModelError, PyDiffGeoError, SpecError, UnknownName
from pydiffgeo.julia import load_model
from pydiffgeo.models.base import Linearisation

WRONG: dict[str, tuple[dict[str, Callable[..., Any]], str]] = {
    "one of two fluxes": (
        {"fluxes": lambda self, u, f, p: FLUXES(self, u, f, p)[..., :1]},
        r"fluxes returns a tensor of shape \[3, 1\].*must be \[3, 2\] \(rain_in, runoff",
    ),
    "no fluxes": (
        {"fluxes": ProcessModel.fluxes},
        r"fluxes returns a tensor of shape \[3, 0\].*must be \[3, 2\]",
    ),
    "fluxes of one column": (
        {"fluxes": lambda self, u, f, p: FLUXES(self, u, f, p)[:1]},
        r"fluxes returns a tensor of shape \[1, 2\]",
    ),
    "runoff is the rain": (
        {"fluxes": lambda self, u, f, p: FLUXES(self, u, f, p).flip(-1)},
        r"with upper = 4, lower = 7, rain = 1, rain_in - runoff is 6 mm d-1 "
        r"\(rain_in = 7, runoff = 1\), "
        r"but the storage changes by -6 "
        r"\(rates: upper = -3, lower = -3\), so that 12 is left",
    ),
    "rates of one state": (
        {"rates": lambda self, u, f, p: RATES(self, u, f, p)[..., :1]},
        r"rates returns a tensor of shape \[3, 1\].*\[3, 2\]",
    ),
    "no tensor": ({"rates": lambda self, u, f, p: 1.0}, "rates returns float; it must be a tensor"),
    "float32": (
        {"rates": lambda self, u, f, p: RATES(self, u, f, p).float()},
        "float32 on cpu for a state of torch.float64",
    ),
    "storage": (
        {"storage": lambda self, u, p: u.sum(-1)},
        r"storage returns a tensor of shape \[3\]",
    ),
    "dimensions counted from the left": (
        {
            "rates": lambda self, u, f, p: torch.stack(
                [f["rain"][:, 0] - p["k"][:, 0] * u[:, 0], p["k"][:, 0] * u[:, 0]], 1
            )
        },
        "not for one of .*count dimensions from the right",
    ),
    "slopes of a state that is not there": (
        {"slopes": lambda self, u, f, p: (slopes(self, u, f, p)[0], {(2, 0): u[..., 0]})},
        r"slopes has an entry \(2, 0\)",
    ),
    "slopes without a rate": (
        {"slopes": lambda self, u, f, p: (slopes(self, u, f, p)[0][:1], {(0, 0): u[..., 0]})},
        "slopes returns 1 rates",
    ),
    "slopes of a parameter's shape": (
        {
            "slopes": lambda self, u, f, p: (
                slopes(self, u, f, p)[0],
                slopes(self, u, f, p)[1] | {(0, 0): -p["k"][:1, 0]},
            )
        },
        r"slopes, whose entry \(0, 0\) is a tensor of shape \[1\] .* it must be \[3\]",
    ),
    "no slopes": (
        {"slopes": lambda self, u, f, p: (slopes(self, u, f, p)[0], {})},
        "slopes must return the rates and the entries of their Jacobian",
    ),
    "slopes that are none": (
        {"slopes": lambda self, u, f, p: None},
        "slopes must return the rates and the entries of their Jacobian",
    ),
    "fluxes that are no numbers": (
        {"fluxes": lambda self, u, f, p: FLUXES(self, u, f, p) * torch.nan},
        "fluxes: rain_in, runoff is no number with upper = 4, lower = 7, where the rates are",
    ),
    "Jacobian of another structure": (
        {
            "linearise": lambda self, u, f, p: Linearisation(
                u, torch.ones_like(u), RATES(self, u, f, p), (u, u, u)
            )
        },
        "linearise returns a Jacobian of 3 tensors",
    ),
}


@pytest.mark.parametrize("case", WRONG)
@pytest.mark.parametrize("method", ["implicit_euler", "kvaerno3"])
def test_equations_that_do_not_fit_are_refused(tmp_path: Path, case: str, method: str) -> None:
    functions, message = WRONG[case]
    model = type("Own", (Cascade,), functions)(tmp_path)
    with pytest.raises(ModelError, match=message):
        run(model, solver=Solver(method, step=1.0))
    with pytest.raises(ModelError):
        check_model(model)


def twice_when_wet(self: Any, u: Any, f: Any, p: Any) -> Tensor:
    return FLUXES(self, u, f, p) + torch.where(
        f["rain"] > 0, f["rain"] * torch.tensor([0.0, 1.0]).to(u), 0.0
    )


def cold_rain(self: Any, u: Any, f: Any, p: Any) -> Tensor:
    return FLUXES(self, u, f, p) * (1 + ((f["rain"] > 0) & (f["warmth"] < 0)).to(u))


WARMTH = {
    "[fluxes.rain_in]": '[forcings.warmth]\nunit = "degC"\nlower = -80.0\nupper = '
    "60.0\n[fluxes.rain_in]"
}


@pytest.mark.parametrize("rain", [[0.0, 3.0], [0.0, 0.0]])
def test_fluxes_that_are_wrong_only_when_it_rains(tmp_path: Path, rain: list[float]) -> None:
    """The first interval is dry, or the whole record."""
    own = type("Own", (Cascade,), {"fluxes": twice_when_wet})(tmp_path)
    with pytest.raises(
        ModelError, match=r"fluxes of Own do not close the balance .*with upper = .*, rain = [1-9]"
    ):
        solve(own, {"rain": [rain]}, {}, [4.0, 7.0], range(3), engine="torch")
    own = type("Own", (Cascade,), {"fluxes": cold_rain})(tmp_path, WARMTH)
    with pytest.raises(ModelError, match=r"do not close .*rain = .*, warmth = -"):
        solve(own, {"rain": [rain], "warmth": 9.0}, {}, [4.0, 7.0], range(3), engine="torch")
    right = Cascade(tmp_path, WARMTH)
    solve(
        right,
        {"rain": [rain], "warmth": 9.0},
        {"k": [1.0, 0.5, 0.3]},
        [4.0, 7.0],
        range(3),
        engine="torch",
    )


def test_a_name_that_the_specification_does_not_have(tmp_path: Path) -> None:
    own = type(
        "Own", (Cascade,), {"rates": lambda self, u, f, p: RATES(self, u, f, {"k": p["kk"]})}
    )(tmp_path)
    with pytest.raises(UnknownName, match="parameter that Own reads: 'kk'; did you mean 'k'"):
        run(own)
    own = type(
        "Own", (Cascade,), {"rates": lambda self, u, f, p: RATES(self, u, {"rain": f["rian"]}, p)}
    )(tmp_path)
    with pytest.raises(UnknownName, match="forcing that Own reads: 'rian'; did you mean 'rain'"):
        run(own)


def test_what_a_model_must_have(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="Own lacks `size`.*set size = 2"):
        run(type("Own", (Cascade,), {"size": None})(tmp_path))
    with pytest.raises(
        ModelError, match=r"Own lacks `rates`: define rates\(self, state, forcing, parameters\)"
    ):
        run(type("Own", (ProcessModel,), {"size": 2, "spec": Cascade(tmp_path).spec})())
    with pytest.raises(SpecError, match="states upper, lower, but has a size of 3"):
        run(type("Own", (Cascade,), {"size": 3})(tmp_path))
    with pytest.raises(ModelError, match="Own lacks `spec`"):
        run(type("Own", (Cascade,), {"__init__": lambda self: None})())
    with pytest.raises(
        ModelError, match=r"HBV is a class: give a model that it makes, such as HBV\(\)"
    ):
        run(HBV)
    with pytest.raises(UnknownName, match="structure of a Jacobian 'denser'; did you mean 'dense'"):
        run(type("Own", (Cascade,), {"structure": "denser"})(tmp_path))


def test_a_good_model_passes(tmp_path: Path) -> None:
    report = check_model(Cascade(tmp_path))
    assert (
        "2 states, 1 parameters, 1 forcings, 2 fluxes" in report and "balance: closes to" in report
    )
    assert float(run(Cascade(tmp_path)).balance_error().max()) < 1e-13
    closure = NeuralClosure(1, (4,), output_range=(0.0, 1.0))
    assert "networks: recharge" in check_model(HBV(closures={"recharge": closure}))
    assert "linearise as by automatic" in check_model(Richards(Grid.uniform(50.0, 8)))
    assert "2 states" in check_model(Richards(Grid.uniform(50.0, 8), top="surface_layer"))


def test_a_balance_of_some_states_and_none(tmp_path: Path) -> None:
    """Where not all states hold what is balanced, `total_storage` says which.

    A model may declare no balance.
    """

    class Own(Cascade):
        def rates(self, state: Any, forcing: Any, parameters: Any) -> Any:
            balanced = super().rates(state, forcing, parameters).sum(-1)
            return torch.stack([balanced, -state[..., 1]], -1)  # the second is a signal that fades

    with pytest.raises(ModelError, match="define total_storage"):
        run(Own(tmp_path))
    summed = type("Summed", (Own,), {"total_storage": lambda self, storage: storage[..., 0]})(
        tmp_path
    )
    assert float(run(summed).balance_error().max()) < 1e-13
    none = Own(tmp_path, {"balance = 1": "balance = 0", "balance = -1": "balance = 0"})
    run(none)
    assert "no flux has a balance" in check_model(none)


def test_derivatives_that_are_wrong(tmp_path: Path) -> None:
    own = type("Own", (Cascade,), {"slopes": slopes})(tmp_path)
    with pytest.raises(
        ModelError, match=r"Own\.slopes: entry \(1, 1\) is -2, but -1 by automatic differentiation"
    ):
        check_model(own)
    own = type("Own", (Cascade,), {"structure": "banded", "bandwidth": (0, 1)})(tmp_path)
    with pytest.raises(ModelError, match=r"structure = 'banded'.*entry \(1, 0\) is 0, but 1"):
        check_model(own)
    own = type("Own", (Cascade,), {"storage": lambda self, u, p: u + 0.1 * u.flip(-1)})(tmp_path)
    own.fluxes = MethodType(lambda self, u, f, p: FLUXES(self, u, f, p), own)
    with pytest.raises(ModelError, match="storage of a state depends on other states"):
        check_model(own)
    unbalanced = {"balance = -1": "balance = 0", "balance = 1": "balance = 0"}
    own = type(
        "Own", (Cascade,), {"rates": lambda self, u, f, p: RATES(self, u - u.mean(0), f, p)}
    )(tmp_path, unbalanced)
    with pytest.raises(ModelError, match="depends on the other columns"):
        check_model(own)


@pytest.mark.parametrize(
    ("function", "change", "what"),
    [
        ("rates", lambda self, u, f, p: RATES(self, u.detach(), f, p), "the state"),
        ("fluxes", lambda self, u, f, p: FLUXES(self, u.detach(), f, p), "the state"),
        (
            "rates",
            lambda self, u, f, p: RATES(self, u, f, {"k": torch.tensor(p["k"].tolist()).to(u)}),
            "the parameter 'k'",
        ),
        (
            "rates",
            lambda self, u, f, p: RATES(self, u, {"rain": u.new_tensor(f["rain"].tolist())}, p),
            "the forcing 'rain'",
        ),
    ],
)
def test_what_is_taken_out_of_autograd_is_found(
    function: str, change: Callable[..., Any], what: str, tmp_path: Path
) -> None:
    own = type("Own", (Cascade,), {function: change})(tmp_path)
    assert not run(own).failed
    with pytest.raises(ModelError, match=f"gradient of Own in {what} is .* by differences"):
        check_model(own)


JULIA = """
rates(u, f, p) = SVector(f.rain - p.k * u[1], p.k * (u[1] - u[2]))
fluxes(u, f, p) = SVector(f.rain, p.k * u[2])
"""


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            ("SVector(f.rain, p.k * u[2])", "SVector(f.rain)"),
            "fluxes returns 1 values; it must return 2, .*rain_in, runoff",
        ),
        (
            ("SVector(f.rain, p.k * u[2])", "SVector(p.k * u[2], f.rain)"),
            "do not close the balance",
        ),
        (("p.k *", "p.kk *"), "kk"),
        (("", "jacobian(u, f, p) = SMatrix{2,2}(-p.k, p.k, 0.0 * p.k, -2 * p.k)"), ""),
    ],
)
def test_models_in_julia(julia: Any, tmp_path: Path, change: tuple[str, str], message: str) -> None:
    write(tmp_path)
    old, new = change
    (tmp_path / "cascade.jl").write_text(JULIA.replace(old, new) if old else JULIA + new)
    model = load_model(tmp_path / "cascade.jl")
    if message:
        with pytest.raises(PyDiffGeoError, match=message):
            solve(
                model, {"rain": [[1.0, 2.0]] * 3}, {}, [4.0, 7.0], [0.0, 1.0, 2.0], engine="julia"
            )
    else:  # a Jacobian that is wrong is seen in gradients
        with pytest.raises(ModelError, match="by differences: mend `jacobian`"):
            check_model(model)


def test_a_good_model_in_julia(julia: Any, tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "cascade.jl").write_text(JULIA)
    report = check_model(load_model(tmp_path / "cascade.jl"))
    assert "balance: closes to" in report and "gradients: within" in report


def with_file(folder: Path) -> Cascade:
    model = Cascade(folder)
    model.julia_file = str(folder / "cascade.jl")
    return model


def test_equations_in_both_languages(julia: Any, tmp_path: Path) -> None:
    (tmp_path / "cascade.jl").write_text(JULIA)
    assert "cascade.jl agree within" in check_model(with_file(tmp_path))
    (tmp_path / "cascade.jl").write_text(JULIA.replace("u[1] - u[2]", "u[1] - 2 * u[2]"))
    with pytest.raises(ModelError, match=r"rates 1 of Cascade is .* in Python and .*mend one"):
        check_model(with_file(tmp_path))


def test_a_julia_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"julia_file is '.*cascade.jl', but there is no"):
        missing(with_file(tmp_path))
