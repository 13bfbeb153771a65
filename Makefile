# Needs Python 3.11, git and make; everything else is installed into .venv.
PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3)
VENV := .venv
PACKAGES := .venv-packages
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
OPENCV := 4.11.0.86

VIDEO ?=
SPEECH ?=
OUT ?= out/demo.mp4

.PHONY: help setup demo docs test test-pythons test-packages lint types unit chromium clean

help:
	@echo "make setup  make the virtual environment .venv; then: . $(BIN)/activate"
	@echo "make demo   set up, then dub an example into $(OUT); VIDEO=... SPEECH=... takes your own footage"
	@echo "make docs   set up, then build the documentation into site/"
	@echo "make test   set up, then run the linter, the type checker and the tests"
	@echo "make test-pythons  run make test with every supported Python that is installed (3.11, 3.12)"
	@echo "make test-packages  test the stages that run the packages gfpgan and spandrel, in .venv-packages (6 GB)"
	@echo "make clean  remove .venv, out and what tools left behind"

setup: $(STAMP)

# MediaPipe asks for the OpenCV build that needs libGL. The headless build of the same version shares its folder, so
# that installing it last makes cv2 import on machines without a display.
$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -e ".[dev]" -c constraints.txt
	$(BIN)/python -m pip install --force-reinstall --no-deps opencv-contrib-python-headless==$(OPENCV)
	touch $@

demo: $(STAMP)
	$(BIN)/python examples/demo.py --output "$(OUT)" $(if $(VIDEO),--video "$(VIDEO)") $(if $(SPEECH),--speech "$(SPEECH)")

# The theme's notice about its own future is not ours; docs/generate writes what follows from the code.
docs: $(STAMP)
	$(BIN)/python docs/generate/commands.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

test: lint types unit

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP)
	$(BIN)/pyright --pythonpath $(BIN)/python

unit: $(STAMP) chromium
	$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile

# Every supported Python that is installed here, each in an environment of its own.
test-pythons:
	@for version in 3.11 3.12; do \
		python=$$(command -v python$$version) || { echo "python$$version is not installed: skipped"; continue; }; \
		$(MAKE) test PYTHON=$$python VENV=.venv-$$version || exit 1; \
	done

# The pages of `retalkit compare` are tested in a real browser: the distribution's, which nothing else here needs.
chromium:
	@if command -v chromium || command -v chromium-browser || command -v google-chrome; then :; \
	elif command -v apt-get >/dev/null && [ "$$(id -u)" = 0 ]; then \
		apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends chromium fonts-dejavu-core \
			|| echo "Chromium could not be installed: the page tests will say so"; \
	else echo "no Chromium: the page tests are skipped; install it with: sudo apt-get install chromium"; fi

# What docs/paper.md tells of restoration networks of other packages, in an environment of its own: another torch.
test-packages:
	$(PYTHON) -m venv $(PACKAGES)
	$(PACKAGES)/bin/python -m pip install torch==2.14.1 torchvision==0.29.1 "numpy<2" cython setuptools wheel
	$(PACKAGES)/bin/python -m pip install --no-build-isolation basicsr==1.4.2 filterpy "numpy<2" opencv-python==$(OPENCV)
	$(PACKAGES)/bin/python -m pip install -e ".[gfpgan,spandrel]" pytest
	$(PACKAGES)/bin/python -m pip install --force-reinstall --no-deps opencv-contrib-python-headless==$(OPENCV)
	$(PACKAGES)/bin/python -m pytest tests/plugins/enhancers/test_gfpgan_package.py tests/plugins/enhancers/test_spandrel_enhancer.py

clean:
	rm -rf $(VENV) $(PACKAGES) .venv-3.11 .venv-3.12 out site .pytest_cache .ruff_cache
