"""The commands: their arguments, and their answers to errors and interrupts."""

from __future__ import annotations

import errno
import json
import logging
import os
import shlex
import signal
import subprocess
import sys
import time
import types
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from typer.testing import CliRunner

from pydiffgeo import __version__, cli
from pydiffgeo.errors import DataError, SolveFailed
from pydiffgeo.evaluation import score_sites, summary_table


class Calls(list[tuple[str, tuple[Any, ...]]]):
    """Notes what the commands call in the place of the functions of an experiment, or raises an
    error.
    """

    error: BaseException | None = None
    answer: Any = ()

    def __call__(self, name: str, *arguments: Any) -> Any:
        self.append((name, arguments))
        if self.error is not None:
            raise self.error
        return self.answer(*arguments) if callable(self.answer) else self.answer


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Calls:
    noted = Calls()

    def stub(module: str, *names: str) -> None:
        made = types.ModuleType(module)
        for name in names:
            setattr(made, name, lambda *a, n=name: noted(n, *a))
        monkeypatch.setitem(sys.modules, f"pydiffgeo.experiment.{module}", made)

    stub("run", "run_experiment", "train", "calibrate")
    stub("judge", "judge")
    stub("prediction", "predict", "predict_parts")
    schema = types.ModuleType("schema")
    schema.load_experiment = lambda path: f"settings of {path}"  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pydiffgeo.experiment.schema", schema)
    monkeypatch.chdir(tmp_path)
    return noted


def invoke(*arguments: str) -> Any:
    return CliRunner().invoke(cli.app, list(arguments))


GIVEN = ("settings of loam.yaml", Path("runs/loam"))


@pytest.mark.parametrize(
    ("command", "called"),
    [
        ("run loam.yaml", ("run_experiment", (*GIVEN, None, False, False, True, True))),
        (
            "run loam.yaml --output there --quiet --no-figures",
            ("run_experiment", (GIVEN[0], Path("there"), None, False, False, False, False)),
        ),
        ("train loam.yaml --run a --run b", ("train", (*GIVEN, ["a", "b"], False, False, True))),
        ("train loam.yaml --resume", ("train", (*GIVEN, None, True, False, True))),
        ("train loam.yaml --overwrite", ("train", (*GIVEN, None, False, True, True))),
        (
            "calibrate loam.yaml --run a --evaluations 70 --sites 3 --resume",
            ("calibrate", (*GIVEN, "a", 70, 3, True, False, True, "sce_ua")),
        ),
        (
            "calibrate loam.yaml --run a --method gauss_newton",
            ("calibrate", (*GIVEN, "a", 5000, None, False, False, True, "gauss_newton")),
        ),
        (
            "evaluate x y --period train",
            ("judge", ([Path("x"), Path("y")], "train", True, True, None, {}, ())),
        ),
        (
            "evaluate x --data new.csv --option attributes=traits.csv",
            (
                "judge",
                (
                    *([Path("x")], "test", True, True, Path("new.csv")),
                    *({"attributes": "traits.csv"}, ()),
                ),
            ),
        ),
        (
            "evaluate x --option 'attributes={A: {lat: 1}}' --option least_slope=1e-4",
            (
                "judge",
                (
                    *([Path("x")], "test", True, True, None),
                    {"attributes": {"A": {"lat": 1}}, "least_slope": 1e-4},
                    (),
                ),
            ),
        ),
        (
            "evaluate x --mean daymet --mean era5",
            ("judge", ([Path("x")], "test", True, True, None, {}, ["daymet", "era5"])),
        ),
        (
            "predict x --data new.nc --output p.nc --start 2001-01-01 --site 7 --overwrite",
            (
                "predict",
                (
                    *(Path("x"), Path("new.nc"), Path("p.nc"), "2001-01-01", None, ["7"]),
                    *(None, True, {}, None),
                ),
            ),
        ),
        (
            "predict x --data new.nc --shard 9 --steps 30 --series snow --resume --quiet",
            (
                "predict_parts",
                (
                    *(Path("x"), Path("new.nc"), Path("prediction"), 9, 30, None, None, None),
                    *(None, True, False, {}, ["snow"], False),
                ),
            ),
        ),
    ],
)
def test_commands_pass_their_arguments(calls: Calls, command: str, called: Any) -> None:
    judged = types.SimpleNamespace(all_scores={}, axis="time")
    answers = {"train": [Path("runs/loam/a")], "predict": judged}
    answers = answers if "--shard" not in command else {"predict": [Path("part")]}
    calls.answer = answers.get(command.split()[0], Path("p"))
    result = invoke(*shlex.split(command))
    assert result.exit_code == 0, result.output
    assert calls == [called]


def test_predict_and_evaluate_tell_the_same_error_of_profiles(calls: Calls) -> None:
    """The root of the mean square over sites and depths, not the median of the sites."""
    steps = np.arange(20.0)
    observed = xr.DataArray(
        np.stack([steps, steps + 1, steps + 2])[:, :, None] * [1.0, 2.0],
        dims=("site", "time", "depth"), coords={"depth": [0.05, 0.5]}, name="soil_moisture",
    )  # fmt: skip
    errors = np.array([[0.1, 0.1], [0.1, 0.2], [0.2, 0.5]])
    scores = score_sites(observed + errors[:, None], observed)
    calls.answer = types.SimpleNamespace(all_scores={"soil_moisture": scores}, axis="time")
    told = invoke("predict", "x", "--data", "new.nc").stdout
    assert "soil_moisture, medians over all depths, rmse the root of the mean square: " in told
    assert f"rmse {np.sqrt((errors**2).mean()):.3f}" in told
    assert f"nse {float(summary_table(scores).nse.iloc[-1]):.3f}" in told


def test_hints_of_the_next_command(calls: Calls) -> None:
    calls.answer = [Path("runs/loam/a")]
    assert "Next: pydiffgeo evaluate runs/loam/a\n" in invoke("train", "loam.yaml").stdout
    calls.answer = [Path("runs/loam/a"), Path("runs/loam/b")]
    assert "Next: pydiffgeo evaluate runs/loam\n" in invoke("train", "loam.yaml").stdout
    assert "Next" not in invoke("train", "loam.yaml", "--quiet").stdout


def test_error_of_the_package_is_one_line_without_traceback(calls: Calls) -> None:
    message = "columns 3 failed at [batch, time]: try a larger max_steps."
    calls.error = SolveFailed(message, {3: "max_steps"})
    result = invoke("run", "loam.yaml")
    assert result.exit_code == 1 and result.stderr == f"error: {message}\n"
    debugged = invoke("run", "loam.yaml", "--debug")
    assert debugged.exit_code == 1 and debugged.exception is calls.error


def test_an_error_of_a_setting_has_file_and_line(calls: Calls) -> None:
    Path("loam.yaml").write_text("data:\n  path: x.nc\n  forcing: [a, b]\n")
    calls.error = DataError("no series 'b'.", ("data", "forcing", 1))
    assert invoke("run", "loam.yaml").stderr == "error: loam.yaml, line 3: no series 'b'.\n"


def test_other_errors_keep_their_traceback(calls: Calls) -> None:
    calls.error = ZeroDivisionError("a bug")
    assert invoke("run", "loam.yaml").exception is calls.error


def test_interrupt_ends_with_130(calls: Calls) -> None:
    calls.error = KeyboardInterrupt()
    result = invoke("train", "loam.yaml", "--run", "a")
    assert result.exit_code == 130 and result.stderr == "interrupted\n"
    Path("runs/loam").mkdir(parents=True)
    stopped = invoke("train", "loam.yaml", "--run", "a", "--overwrite").stderr
    again = "pydiffgeo train loam.yaml --output runs/loam --run a --resume"
    kept = "what was written until then is in runs/loam"
    assert stopped == f"interrupted; {kept}. Go on with: {again}\n"
    Path("land").mkdir()
    words = "predict run --data new.nc --output land --site 7 --site 9 --shard 5 --layout reaches"
    assert f"Go on with: pydiffgeo {words} --resume\n" in invoke(*words.split()).stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_closed_terminal_or_a_scheduler_interrupts(calls: Calls, number: int) -> None:
    def stopped(*_: Any) -> None:
        os.kill(os.getpid(), number)
        time.sleep(1)

    calls.answer = stopped
    before = signal.signal(number, signal.SIG_DFL)  # the tests themselves may run under nohup
    try:
        assert invoke("run", "loam.yaml").exit_code == 130
        assert signal.getsignal(number) is signal.SIG_DFL, "afterwards it is as before"
        signal.signal(number, signal.SIG_IGN)  # as nohup does: the command goes on
        assert invoke("run", "loam.yaml").exit_code == 0
    finally:
        signal.signal(number, before)


def test_warnings_are_one_line_each_and_quiet_does_not_hide_them(calls: Calls) -> None:
    def warned(*_: Any) -> None:
        logging.getLogger("pydiffgeo").warning("pip install 'pydiffgeo[plot]' brings it.")
        warnings.warn("two\nlines", stacklevel=1)

    calls.answer = warned
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        result = invoke("run", "loam.yaml", "--quiet")
    lines = "warning: pip install 'pydiffgeo[plot]' brings it.\nwarning: two lines\n"
    assert result.stderr == lines and not result.stdout


def test_a_file_that_the_system_refuses_is_one_line(calls: Calls) -> None:
    calls.error = OSError(errno.ENOSPC, "No space left on device", "x.nc")
    result = invoke("run", "loam.yaml")
    assert result.exit_code == 1
    assert result.stderr.startswith("error: x.nc: No space left on device. ")
    assert result.stderr.count("\n") == 1


def test_doctor_ends_with_1_on_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYDIFFGEO_ENGINE", raising=False)
    healthy = invoke("doctor")
    assert healthy.exit_code == 0 and "torch" in healthy.stdout
    monkeypatch.setenv("PYDIFFGEO_ENGINE", "fortran")
    assert invoke("doctor").exit_code == 1


def test_version_and_help() -> None:
    assert invoke("--version").stdout.strip() == __version__
    text = invoke("--help").stdout
    commands = ("init", "settings", "demo", "run", "train", "calibrate", "evaluate", "predict")
    assert all(command in text for command in (*commands, "doctor", "data", "julia"))


def test_the_command_line_imports_neither_torch_nor_julia() -> None:
    code = (
        "import sys, pydiffgeo.cli; sys.exit(bool({'torch', 'xarray', 'juliacall'} & "
        "set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_an_example_is_written_once_and_runs_on_a_synthetic_truth_without_its_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYDIFFGEO_DATA", str(tmp_path))
    listed = invoke("init")
    assert "camels_dpl: " in listed.stdout and "soil_moisture: " in listed.stdout
    result = invoke("init", "camels_dpl")
    assert "Next: pydiffgeo run camels_dpl.yaml" in result.stdout
    assert "  # path: camels_us_daymet_500.nc   # not found" in Path("camels_dpl.yaml").read_text()
    again = invoke("init", "camels_dpl")
    assert again.exit_code == 1 and "--overwrite" in again.stderr
    assert "did you mean 'camels_dpl'" in invoke("init", "camels").stderr


def test_settings_are_shown_and_written_as_json_schema() -> None:
    text = invoke("settings").stdout
    for words in ("batch  [None]", "K2", "steps_per_epoch"):
        assert words in text or words == "K2"
    schema = json.loads(invoke("settings", "--schema").stdout)
    assert {"data", "hybrid", "loss", "training", "evaluation", "runs"} <= set(schema["properties"])
