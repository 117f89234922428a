"""The command line: what it calls, and how it ends when something goes wrong."""

from __future__ import annotations

import errno
import logging
import os
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict
from typer.testing import CliRunner, Result

from pydiffgeo import __version__, cli
from pydiffgeo.errors import SolveFailed


class Settings(BaseModel):
    model_config = ConfigDict(extra="forbid")
    epochs: int = 5


class Calls(list[tuple[Any, ...]]):
    """Stands for run_experiment: keeps its arguments, or raises `error`."""

    error: BaseException | None = None

    def __call__(self, *arguments: Any) -> dict[str, Any]:
        self.append(arguments)
        if self.error is not None:
            raise self.error
        return {}


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Calls:
    recorded = Calls()
    monkeypatch.setitem(cli.EXPERIMENTS, "soil_moisture", lambda: (Settings, recorded))
    monkeypatch.chdir(tmp_path)
    return recorded


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(cli.app, list(arguments))


def write(text: str) -> str:
    Path("loam.yaml").write_text(text)
    return "loam.yaml"


def test_run_passes_settings_output_and_progress(calls: Calls) -> None:
    config = write("experiment: soil_moisture\nepochs: 7\n")
    assert invoke("run", config).exit_code == 0
    assert invoke("run", config, "--output", "elsewhere", "--quiet").exit_code == 0
    settings = Settings(epochs=7)
    assert (
        invoke("run", config, "--resume").exit_code == 0
        and invoke("run", config, "--overwrite").exit_code == 0
    )
    here = Path("runs/loam")
    assert calls == [
        (settings, here, True, False, False), (settings, Path("elsewhere"), False, False, False),
        (settings, here, True, True, False), (settings, here, True, False, True),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "experiment: soil_moisture\nepohcs: 7\n",
            "line 2: unknown key: 'epohcs'; did you mean 'epochs'?",
        ),
        (
            "experiment: soil_mositure\n",
            "line 1: unknown experiment 'soil_mositure'; did you mean 'soil_moisture'?",
        ),
        ("epochs: 3\n", "the key 'experiment' is missing"),
    ],
)
def test_mistakes_in_the_settings(calls: Calls, text: str, words: str) -> None:
    result = invoke("run", write(text))
    assert result.exit_code == 1 and calls == []
    assert result.stderr.startswith("error: loam.yaml") and words in result.stderr
    assert result.stderr.count("\n") == 1, "one line, however long"


def test_missing_file(calls: Calls) -> None:
    result = invoke("run", "absent.yaml")
    assert result.exit_code == 1 and "absent.yaml: no such file" in result.stderr


def test_error_of_the_package_is_one_line_without_traceback(calls: Calls) -> None:
    calls.error = SolveFailed(
        "columns 3 failed at [batch, time]: try a larger max_steps", {3: "max_steps"}
    )
    config = write("experiment: soil_moisture\n")
    result = invoke("run", config)
    assert result.exit_code == 1
    assert result.stderr == "error: columns 3 failed at [batch, time]: try a larger max_steps\n"
    debugged = invoke("run", config, "--debug")
    assert debugged.exit_code == 1 and debugged.exception is calls.error


def test_other_errors_keep_their_traceback(calls: Calls) -> None:
    calls.error = ZeroDivisionError("a bug")
    assert invoke("run", write("experiment: soil_moisture\n")).exception is calls.error


def test_interrupt_ends_with_130(calls: Calls) -> None:
    calls.error = KeyboardInterrupt()
    config = write("experiment: soil_moisture\n")
    result = invoke("run", config)
    assert result.exit_code == 130 and result.stderr == "interrupted\n"
    Path("runs/loam").mkdir(parents=True)
    stopped = invoke("run", config, "--overwrite").stderr
    again = "pydiffgeo run loam.yaml --output runs/loam --resume"
    assert (
        stopped
        == f"interrupted; what was written until then is in runs/loam. Go on with: {again}\n"
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_closed_terminal_or_a_scheduler_interrupts(
    calls: Calls, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def stopped(*_: Any) -> None:
        os.kill(os.getpid(), number)
        time.sleep(1)

    monkeypatch.setitem(cli.EXPERIMENTS, "soil_moisture", lambda: (Settings, stopped))
    config = write("experiment: soil_moisture\n")
    before = signal.signal(number, signal.SIG_DFL)  # the tests themselves may run under nohup
    try:
        assert invoke("run", config).exit_code == 130
        assert signal.getsignal(number) is signal.SIG_DFL, "afterwards it is as before"
        signal.signal(number, signal.SIG_IGN)  # as nohup does: the command goes on
        assert invoke("run", config).exit_code == 0
    finally:
        signal.signal(number, before)


def test_warnings_are_one_line_each_and_quiet_does_not_hide_them(
    calls: Calls, monkeypatch: pytest.MonkeyPatch
) -> None:
    def warned(*_: Any) -> None:
        logging.getLogger("pydiffgeo").warning("pip install 'pydiffgeo[plot]' brings it.")
        warnings.warn("two\nlines", stacklevel=1)

    monkeypatch.setitem(cli.EXPERIMENTS, "soil_moisture", lambda: (Settings, warned))
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        result = invoke("run", write("experiment: soil_moisture\n"), "--quiet")
    assert (
        result.stderr == "warning: pip install 'pydiffgeo[plot]' brings it.\nwarning: two lines\n"
        and not result.stdout
    )


def test_a_file_that_the_system_refuses_is_one_line(calls: Calls) -> None:
    calls.error = OSError(errno.ENOSPC, "No space left on device", "x.nc")
    result = invoke("run", write("experiment: soil_moisture\n"))
    assert result.exit_code == 1 and result.stderr.startswith(
        "error: x.nc: No space left on device. "
    )
    assert result.stderr.count("\n") == 1


def test_demo_runs_the_demo_settings(calls: Calls, monkeypatch: pytest.MonkeyPatch) -> None:
    from pydiffgeo.training import soil_moisture

    monkeypatch.setattr(soil_moisture, "run_experiment", calls)
    assert invoke("demo", "--quiet").exit_code == 0
    assert calls == [(soil_moisture.demo_settings(), Path("runs/demo"), False, False, False)]


def test_example_settings_are_valid() -> None:
    from pydiffgeo.settings import load_tagged_settings

    classes = {name: load()[0] for name, load in cli.EXPERIMENTS.items()}
    examples = sorted((Path(__file__).parents[1] / "examples").glob("*.yaml"))
    of_commands = [
        path for path in examples if not path.with_suffix(".py").is_file()
    ]  # of a script
    assert len(of_commands) >= 3
    for path in of_commands:
        assert load_tagged_settings(path, classes, "experiment")[0] in classes


def test_doctor_ends_with_1_on_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYDIFFGEO_ENGINE", raising=False)
    healthy = invoke("doctor")
    assert healthy.exit_code == 0 and "torch" in healthy.stdout
    monkeypatch.setenv("PYDIFFGEO_ENGINE", "fortran")
    assert invoke("doctor").exit_code == 1


def test_version_and_help() -> None:
    assert invoke("--version").stdout.strip() == __version__
    text = invoke("--help").stdout
    assert all(command in text for command in ("demo", "run", "doctor"))


def test_the_command_line_imports_neither_torch_nor_julia() -> None:
    code = "import sys, pydiffgeo.cli; sys.exit(bool({'torch', 'xarray', 'juliacall'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("command", [["train"], ["calibrate", "--run", "a"]])
def test_a_model_that_is_not_there_has_file_and_line(tmp_path, command):
    period = "{start: 2000-01-01, end: 2001-01-01}"
    text = f"experiment: basins\ndata: {{path: x, train: {period}, test: {period.replace('200', '201')}}}\nruns:\n  a:\n"
    file = tmp_path / "hvb.yaml"
    file.write_text(text + "    model: {name: hvb}\n")
    result = CliRunner().invoke(cli.app, [*command, str(file), "--output", str(tmp_path / "out")])
    said = " ".join(result.output.split())
    assert (
        result.exit_code == 1
        and "hvb.yaml, line 5: unknown model (besides lstm) 'hvb'; did you mean 'hbv'" in said
    )
