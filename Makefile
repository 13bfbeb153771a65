# Needs Python 3.11, git and make; everything else is installed into .venv.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
OPENCV := 4.11.0.86

VIDEO ?=
SPEECH ?=
OUT ?= out/demo.mp4

.PHONY: help setup demo test lint types unit clean

help:
	@echo "make demo   set up, then dub an example into $(OUT); VIDEO=... SPEECH=... takes your own footage"
	@echo "make test   set up, then run the linter, the type checker and the tests"
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

test: lint types unit

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP)
	$(BIN)/pyright --pythonpath $(BIN)/python

unit: $(STAMP)
	$(BIN)/python -m pytest

clean:
	rm -rf $(VENV) out .pytest_cache .ruff_cache
