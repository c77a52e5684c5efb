# Everything a newcomer runs. Each target makes .venv by itself when it is missing.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# Processes that test at the same time: half of the time, a test waits for a wire.
WORKERS ?= 2

.PHONY: setup demo test check install-check mutants fuzz audit bench train clean

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "afdaemon needs Python 3.11 or newer: make PYTHON=python3.11 setup")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $(STAMP)

demo: $(STAMP)
	$(BIN)/afdaemon demo --report runs/demo.html

test: $(STAMP)
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadscope --max-worker-restart 0

check: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/mypy --explicit-package-bases tests benchmarks
	$(BIN)/lint-imports
	$(BIN)/python benchmarks/structure.py
	$(BIN)/python -m pytest -q tests/packaging

# The wheel as users install it, from the package index, outside this tree: minutes, and the disk that the daemon takes.
install-check: $(STAMP)
	PATH="$(CURDIR)/$(BIN):$$PATH" .ci/install

# Changes the decisions one by one and sees whether a test notices: an hour or two.
mutants: $(STAMP)
	$(BIN)/python benchmarks/mutants.py

# Ten minutes for each parser; follows the code that an input reaches where atheris can be installed.
fuzz: $(STAMP)
	-$(BIN)/python -m pip install --quiet --disable-pip-version-check atheris
	$(BIN)/python -m tests.fuzz --minutes 10

# Known vulnerabilities in what constraints.txt installs. A package that cannot be looked up is a failure.
audit:
	$(PYTHON) -m venv --clear build/audit
	build/audit/bin/python -m pip install --quiet --disable-pip-version-check pip-audit
	build/audit/bin/pip-audit --strict --no-deps --disable-pip -r constraints.txt; \
	  found=$$?; rm -rf build/audit; exit $$found

bench: $(STAMP)
	$(BIN)/python benchmarks/first_light.py

train: $(STAMP)
	$(BIN)/afdaemon train aenet --out models/weights/aenet_compact.safetensors
	$(BIN)/afdaemon train acnet --out models/weights/acnet.safetensors
	$(BIN)/afdaemon train defocus --out models/weights/defocus.safetensors
	$(BIN)/python -m afdaemon.models.shipped

clean:
	rm -rf $(VENV) build dist runs *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
