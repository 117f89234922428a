# make demo        the main job in its short form; figures and a table in runs/demo_soil_moisture/
# make test        the tests                      make check       ruff and mypy
# make docs        the documentation site, build/site; its tutorials are run
# make wheel       the wheel, in dist/            make julia-test  the tests of the Julia package
# make install     only the environment, with everything that development needs
# make clean       remove the environment, to begin afresh
#
# All of it happens in a virtual environment, .venv. Variables to set on the command line or in the environment:
#   PYTHON       the interpreter, 3.11 or newer
#   TORCH_INDEX  where the torch wheel comes from. The default has the CPU build; on Linux PyPI's own wheel brings
#                gigabytes of CUDA libraries along. For a GPU: make clean demo TORCH_INDEX=
#   JOBS         processes that run the tests
#   PYTEST_ARGS  further arguments of pytest        DOCS_RUN=false leaves the tutorials of the site unrun
#   JULIA        the Julia that `make julia-test` runs; `make julia-install` prepares the one of the engine

PYTHON ?= python3.11
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu
JOBS ?= 2
JULIA ?= julia
DOCS_RUN ?= true
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --disable-pip-version-check --no-input -c constraints.txt

.PHONY: demo test check lint types docs wheel julia-test julia-install install clean

demo: $(VENV)/installed-plot
	@$(BIN)/pydiffgeo demo --overwrite

# one thread per test process: the arrays are small, and two processes on two cores already fill them
test: export OMP_NUM_THREADS = 1
test: $(VENV)/installed-dev
	@$(BIN)/python -m pytest -n $(JOBS) $(PYTEST_ARGS)

check: lint types

lint: $(VENV)/installed-dev
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

types: $(VENV)/installed-dev
	@$(BIN)/mypy

# a warning fails it: a link to nothing, a page outside of the navigation, a tutorial that stops
docs: export DOCS_RUN := $(DOCS_RUN)
docs: export NO_MKDOCS_2_WARNING = 1
docs: export MPLBACKEND = agg
docs: $(VENV)/installed-dev
	@$(BIN)/python -m mkdocs build --quiet
	@echo "The site is in build/site: open build/site/index.html"

wheel: $(VENV)/installed-dev
	@$(BIN)/python -m pip wheel --quiet --no-deps --no-build-isolation --wheel-dir dist .
	@ls dist/*.whl

julia-test:
	@$(JULIA) --project=julia_src -e 'using Pkg; Pkg.instantiate(); Pkg.test()'

# Julia, and its packages, for the tests of the Julia engine; it downloads
julia-install: $(VENV)/installed-dev
	@$(PIP) --quiet --editable ".[julia]"
	@$(BIN)/pydiffgeo julia install

install: $(VENV)/installed-dev

clean:
	rm -rf $(VENV)

# The install is editable: changed code needs no new one, only changed requirements do.
$(VENV)/installed-%: pyproject.toml constraints.txt | $(VENV)/created
	@echo "Installing pydiffgeo[$*] into $(VENV); this happens once and takes some minutes."
	@{ $(if $(TORCH_INDEX),$(PIP) --no-deps --retries 2 --extra-index-url $(TORCH_INDEX) torch &&) \
	   $(PIP) --quiet --editable ".[$*]"; } || { \
	  echo; \
	  echo "The install failed; pip's reason stands above. What usually helps:"; \
	  echo "  no connection   pypi.org and download.pytorch.org must be reachable; behind a proxy set HTTPS_PROXY,"; \
	  echo "                  with a mirror set PIP_INDEX_URL"; \
	  echo "  disk is full    the environment needs about 2 GB in $(CURDIR)/$(VENV)"; \
	  echo "  no wheel found  this system or Python has none of a version that constraints.txt pins: change that"; \
	  echo "                  line, or choose another interpreter: make clean, then make ... PYTHON=/path/to/python3.11"; \
	  echo "Then give the same command again."; \
	  exit 1; } >&2
	@touch $(if $(filter dev,$*),$(VENV)/installed-plot) $@

$(VENV)/created:
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "pydiffgeo needs Python 3.11 or newer, and '$(PYTHON)' is missing or older."; \
	  echo "Install it (Debian, Ubuntu: apt install python3.11 python3.11-venv; macOS: brew install python@3.11;"; \
	  echo "others: https://www.python.org/downloads), or name the one you have: make ... PYTHON=/path/to/python3.11"; \
	  exit 1; } >&2
	@"$(PYTHON)" -m venv $(VENV) || { \
	  echo "'$(PYTHON)' cannot make a virtual environment in $(CURDIR)/$(VENV)."; \
	  echo "On Debian and Ubuntu its venv module is a package of its own: apt install python3.11-venv"; \
	  exit 1; } >&2
	@touch $@

.PRECIOUS: $(VENV)/installed-%
