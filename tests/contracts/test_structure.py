"""The package keeps its shape.

Names of files, tests beside what they test, imports that go one way.
"""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "pydiffgeo"
TESTS = ROOT / "tests"

# From the uppermost layer down: a file imports from its own layer and from those below, never from
# above
LAYERS = (
    ("cli", "cli_data", "reporting"),
    ("experiment", "examples"),
    ("training", "evaluation"),
    ("hybrid", "members"),
    ("stages",),
    ("networks", "losses"),
    ("data",),
)
CORE = len(LAYERS)

# Tests of files that have none of their name: where what they do is put to the test
TESTED_IN = {
    "bridge/models.py": "engines/test_julia_engine.py",
    "checking.py": "test_model_check.py",
    "console.py": "test_files.py",
    "conversion.py": "test_units.py",
    "cli_data.py": "data/layouts/test_own_csv.py",
    "data/archives.py": "data/test_fetch.py",
    "data/layouts/reaches.py": "data/layouts/test_river.py",
    "data/layouts/river_series.py": "data/layouts/test_river.py",
    "data/layouts/river_tables.py": "data/layouts/test_river.py",
    "data/layouts/series.py": "data/layouts/test_text.py",
    **{
        f"data/layouts/{name}.py": "data/layouts/test_text.py"
        for name in ("netcdf_files", "regular_times", "source", "tables_of_sites")
    },
    "data/layouts/suffixes.py": "data/layouts/test_points.py",
    "data/lacking.py": "data/test_windows.py",
    "data/left_out.py": "data/test_selection.py",
    "data/lazy.py": "data/test_sites.py",
    "data/problems.py": "data/test_site_report.py",
    "data/store.py": "data/test_sites.py",
    "data/tensors.py": "data/test_windows.py",
    "data/variables.py": "data/test_selection.py",
    "engines/base.py": "engines/test_golden.py",
    "engines/torch_engine.py": "engines/test_golden.py",
    "experiment/data_schema.py": "experiment/test_schema.py",
    "hydrus/output.py": "hydrus/test_project.py",
    "hydrus/project_files.py": "hydrus/test_project.py",
    "julia.py": "models/test_julia_model.py",
    "interrupt.py": "training/test_interrupt.py",
    "members.py": "test_hybrid.py",
    "models/base.py": "contracts/test_models.py",
    "models/buckets.py": "models/test_hbv.py",
    "models/closures.py": "models/test_slots.py",
    "models/exp_hydro.py": "models/test_hbv.py",
    "models/elementwise.py": "models/leaves/test_energy.py",
    **{
        f"models/leaves/{name}.py": "models/leaves/test_photosynthesis.py"
        for name in ("configuration", "exchange", "traits")
    },
    "models/streams/stream.py": "models/streams/test_air2stream.py",
    "models/spec.py": "test_model_check.py",
    "models/spec_files.py": "test_model_check.py",
    "models/richards/boundaries.py": "models/richards/test_richards_pond.py",
    "models/richards/face_means.py": "solvers/test_jacobian.py",
    "models/richards/places.py": "solvers/test_jacobian.py",
    **{
        f"models/richards/hydraulics/{name}.py": "models/richards/hydraulics/test_hydraulics.py"
        for name in (
            "base",
            "brooks_corey",
            "gardner",
            "haverkamp",
            "van_genuchten",
            "vogel",
        )
    },
    "models/richards/hydraulics/converted.py": "test_units.py",
    **{
        f"networks/{name}.py": "networks/test_parameters.py"
        for name in ("base", "mixed", "mlp", "reading")
    },
    "networks/recurrence.py": "networks/test_lstm.py",
    **{
        f"training/{name}.py": "training/test_posterior.py"
        for name in ("laplace", "likelihood", "nuts", "priors")
    },
    "solvers/stationary_search.py": "solvers/test_stationary.py",
    "stages/base.py": "contracts/test_composition.py",
    # numerics that only make sense together
    **{
        f"solvers/{name}.py": "models/richards/test_richards_steady.py"
        for name in ("implicit_euler", "kvaerno3", "sdirk2", "tableau", "trapezoid", "trbdf2")
    },
    **{
        f"solvers/{name}.py": "models/richards/test_richards_gradient.py"
        for name in ("adjoint", "autograd", "carry", "integrate", "problem", "replay", "stage")
    },
    "solvers/kernels.py": "solvers/test_solvers_batch.py",
    "solvers/newton.py": "solvers/test_control.py",
    "solvers/options.py": "test_inputs.py",
    "solvers/ordered.py": "solvers/test_tolerances.py",
    "solvers/record.py": "solvers/test_solvers_batch.py",
    "solvers/small_matrices.py": "solvers/test_step_windows.py",
    "solvers/substitution.py": "solvers/test_step_windows.py",
    "solvers/step_windows_adjoint.py": "solvers/test_step_windows.py",
}


@cache
def files() -> list[Path]:
    return sorted(f for f in PACKAGE.rglob("*.py") if "julia_src" not in f.parts)


@cache
def modules() -> dict[str, Path]:
    """Files of the package by the name that one imports."""
    return {
        ".".join(f.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): f
        for f in files()
    }


@cache
def imports(name: str) -> tuple[tuple[str, bool], ...]:
    """Modules of the package that a module imports, and whether at its beginning."""
    known = modules()
    package = name.split(".") if known[name].name == "__init__.py" else name.split(".")[:-1]

    def walk(node: ast.AST, first: bool) -> Iterator[tuple[str, bool]]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test):
                continue
            if isinstance(child, ast.Import):
                yield from ((alias.name, first) for alias in child.names if alias.name in known)
            elif isinstance(child, ast.ImportFrom):
                above = package[: len(package) - child.level + 1] if child.level else []
                base = ".".join([*above, *([child.module] if child.module else [])])
                for alias in child.names:
                    target = f"{base}.{alias.name}"
                    target = target if target in known else base
                    if target in known:
                        yield target, first
            inside = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            yield from walk(child, first and not inside)

    return tuple(walk(ast.parse(known[name].read_text(encoding="utf-8")), True))


def layer(module: str) -> int:
    part = module.split(".")[1] if "." in module else ""
    return next((i for i, names in enumerate(LAYERS) if part in names), CORE)


def test_names_of_files_are_unique() -> None:
    counts = Counter(f.name for f in files() if f.name not in ("__init__.py", "base.py"))
    assert not [name for name, count in counts.items() if count > 1]


def test_every_file_has_its_tests() -> None:
    lacking = []
    for file in files():
        path = file.relative_to(PACKAGE)
        if file.name in ("__init__.py", "__main__.py"):
            continue
        elsewhere = TESTED_IN.get(path.as_posix())
        if elsewhere is not None:
            assert (TESTS / elsewhere).is_file(), f"{path}: there is no tests/{elsewhere}"
            continue
        folder = TESTS / path.parent
        if not (folder / f"test_{path.stem}.py").is_file() and not list(
            folder.glob(f"test_{path.stem}_*.py")
        ):
            lacking.append(path.as_posix())
    assert not lacking, "write tests/FOLDER/test_NAME.py for FOLDER/NAME.py"


def test_exceptions_are_needed() -> None:
    assert not [path for path in TESTED_IN if not (PACKAGE / path).is_file()]
    own = [p for p in TESTED_IN if (TESTS / p).with_name(f"test_{Path(p).name}").is_file()]
    assert not own, "these have tests of their own name"


def test_tests_stand_where_the_package_has_a_folder() -> None:
    extra = {"contracts", "benchmarks", "docs"}  # what belongs to no folder of the package
    known = {f.parent.relative_to(PACKAGE).as_posix() for f in files()} | {"examples"}
    folders = {f.parent.relative_to(TESTS).as_posix() for f in TESTS.rglob("test_*.py")}
    assert not {f for f in folders - known if f.split("/")[0] not in extra}
    counts = Counter(f.name for f in TESTS.rglob("test_*.py"))
    assert not [name for name, count in counts.items() if count > 1]


def test_tests_of_julia_stand_where_its_sources_stand() -> None:
    places: dict[str, set[Path]] = {}
    root = ROOT / "julia_src"
    for file in (root / "src").rglob("*.jl"):
        places.setdefault(file.name, set()).add(file.parent.relative_to(root / "src"))
    tests = sorted((root / "test").rglob("test_*.jl"))
    folders = {file: file.parent.relative_to(root / "test") for file in tests}
    assert tests and all((root / "src" / folder).is_dir() for folder in folders.values())
    own = {file: places.get(file.name.removeprefix("test_")) for file in tests}
    assert not [file.name for file in tests if own[file] and folders[file] not in own[file]]


def test_imports_have_no_circles() -> None:
    done: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, " -> ".join((*path[path.index(name) :], name))
        if name in done:
            return
        for target, first in imports(name):
            if first and target != name:
                visit(target, (*path, name))
        done.add(name)

    for name in modules():
        visit(name, ())


def test_imports_go_one_way() -> None:
    up = [
        f"{name} imports {target}"
        for name in modules()
        for target, _ in imports(name)
        if layer(target) < layer(name)
    ]
    assert not up


BELOW = ("pydiffgeo.models", "pydiffgeo.data", "pydiffgeo.networks", "pydiffgeo.stages")


def test_settings_end_in_the_experiment() -> None:
    """No function below experiment/ takes the settings of an experiment."""
    kinds = re.compile(r"\b(\w*Settings|Experiment|Document|Section)\b")
    found = []
    for name, file in modules().items():
        if layer(name) < 2 or file.name in ("settings.py", "errors.py"):
            continue
        tree = ast.parse(file.read_text(encoding="utf-8"))
        # such as the cross-section of a reach
        own = {n.name for n in ast.walk(tree) if isinstance(n, ast.ClassDef)}
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(BELOW):
                own |= {part.name for part in node.names}
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                given = node.args
                for a in (*given.posonlyargs, *given.args, *given.kwonlyargs):
                    text = ast.unparse(a.annotation) if a.annotation else ""
                    if set(kinds.findall(text)) - own or a.arg in ("cfg", "config"):
                        found.append(f"{name}.{node.name}({a.arg}: {text})")
    assert not found


def public(module: str) -> set[str]:
    """Names that a module of the package offers: its `__all__`, or none."""
    file = modules().get(module)
    if file is None:
        return set()
    tree = ast.parse(file.read_text(encoding="utf-8"))
    for node in tree.body:
        targets = node.targets if isinstance(node, ast.Assign) else ()
        if any(isinstance(t, ast.Name) and t.id == "__all__" for t in targets):
            return set(ast.literal_eval(node.value))  # type: ignore[attr-defined]
    below = {name.rsplit(".", 1)[1] for name in modules() if name.rsplit(".", 1)[0] == module}
    if module.count(".") == 1 and file.name != "__init__.py":  # pydiffgeo.errors, pydiffgeo.julia
        return {n.name for n in tree.body if isinstance(n, ast.FunctionDef | ast.ClassDef)}
    return below if module == "pydiffgeo" else set()


def recipe(target: str) -> list[str]:
    """The commands that `make` runs for a target and for those that it names first."""
    rule = re.search(rf"^{target}:([^=\n]*)\n((?:\t.*\n)*)", (ROOT / "Makefile").read_text(), re.M)
    assert rule is not None, target
    inner = [part for part in rule[1].split() if re.fullmatch(r"[a-z-]+", part)]
    return [line for name in inner for line in recipe(name)] + rule[2].split("\n\t")


def test_hooks_and_ci_look_at_the_same() -> None:
    """What a hook refuses before a commit, `make check` refuses, and that runs in both kinds of CI;
    none of them fetches anything."""
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())
    assert [repo["repo"] for repo in config["repos"]] == ["local"]
    hooks = set()
    for hook in config["repos"][0]["hooks"]:
        assert hook["language"] == "system"
        entry = hook["entry"]
        lines = recipe(entry.split()[1]) if entry.startswith("make ") else [entry]
        hooks |= {tool for line in lines for tool in re.findall(r"ruff \w+|mypy", line)}
    checked = {tool for line in recipe("check") for tool in re.findall(r"ruff \w+|mypy", line)}
    assert hooks == checked == {"ruff check", "ruff format", "mypy"}
    for workflow in (".github/workflows/ci.yml", ".ci/run"):
        text = (ROOT / workflow).read_text()
        for target in ("check", "test", "docs"):
            assert re.search(rf"\bmake (--keep-going )?{target}\b", text), f"{workflow}: {target}"


def test_every_step_of_the_workflow_calls_make() -> None:
    """So that it can be tried anywhere; and each Python that the package names is one of it."""
    jobs = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())["jobs"]
    runs = [step["run"] for job in jobs.values() for step in job["steps"] if "run" in step]
    assert all(re.fullmatch(r"make [a-z-]+", run) for run in runs)
    targets = {run.split()[1] for run in runs}
    assert targets >= {"check", "test", "docs", "wheel", "julia-test"}
    assert all(recipe(target) for target in targets)  # the Makefile has it
    said = re.findall(r"Python :: (3\.\d+)", (ROOT / "pyproject.toml").read_text())
    assert jobs["python"]["strategy"]["matrix"]["python"] == said
    assert jobs["julia"]["strategy"]["matrix"]["julia"] == ["1.10", "1.12"]


@cache
def codes() -> dict[str, str]:
    """Python of the examples, of the benchmarks and of the documents."""
    scripts = [*(ROOT / "benchmarks").glob("*.py")]
    scripts += (PACKAGE / "examples").glob("*.py")
    found = {str(f.relative_to(ROOT)): f.read_text(encoding="utf-8") for f in scripts}
    for page in (*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")):
        blocks = re.findall(
            r"^( *)```python[^\n]*\n(.*?)^ *```", page.read_text("utf-8"), re.M | re.S
        )
        for i, (indent, code) in enumerate(blocks):
            found[f"{page.relative_to(ROOT)} {i}"] = re.sub(rf"^{indent}", "", code, flags=re.M)
    return found


# What one who extends the package needs: contracts to subclass, which stay where they are
FOR_EXTENSIONS = {
    "pydiffgeo.data.layouts": "a layout of one's own",
    "pydiffgeo.models.base": "a model of one's own",
    "pydiffgeo.solvers.tableau": "a method of one's own",
}


@pytest.mark.parametrize("where", codes())
def test_public_names_suffice(where: str) -> None:
    private = []
    for node in ast.walk(ast.parse(codes()[where])):
        if isinstance(node, ast.Import):
            private += [a.name for a in node.names if a.name.startswith("pydiffgeo.")]
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "pydiffgeo":
            module = node.module or ""
            if module in FOR_EXTENSIONS:
                continue
            names = public(module)
            deep = module.count(".") > 1
            private += [f"{module}.{a.name}" for a in node.names if deep or a.name not in names]
    assert not private, "no names of pydiffgeo or of a package's __all__"
