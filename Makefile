# Requires Python 3.11 or 3.12, git and make. Everything else is installed into .venv.
PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3)
VENV := .venv
PACKAGES := .venv-packages
BIN := $(VENV)/bin
# Two stamps: the packages of the default stages, and all packages that development requires.
STAMP := $(VENV)/.installed
DEV_STAMP := $(STAMP)-dev
OPENCV := 4.11.0.86

VIDEO ?=
SPEECH ?=
OUT ?= out/demo.mp4
EXTRAS ?=
comma := ,
space := $(subst ,, )
ALL_EXTRAS := $(shell sed -n '/^\[project.optional-dependencies/,/^\[project.scripts/s/^\([a-z]*\) = .*/\1/p' pyproject.toml)
CHOSEN_EXTRAS := $(strip $(subst $(comma),$(space),$(EXTRAS)))
ifneq ($(filter-out $(ALL_EXTRAS),$(CHOSEN_EXTRAS)),)
$(error EXTRAS: there is no extra $(filter-out $(ALL_EXTRAS),$(CHOSEN_EXTRAS)); the extras are $(ALL_EXTRAS))
endif

# Packages are installed without bytecode. The tests start many processes, which would compile all imports each time.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help setup demo docs test test-slow test-web test-pythons test-packages fuzz lint types bytecode compiled-unit unit chromium clean

help:
	@echo "make setup          create the virtual environment .venv; activate it with: . $(BIN)/activate"
	@echo "                    EXTRAS=paper,web adds the packages of extras, which pyproject.toml lists"
	@echo "make demo           dub an example into $(OUT); VIDEO=... SPEECH=... OUT=... select your own files"
	@echo "make docs           build the documentation into site/"
	@echo "make test           run the linter, the type checker and the tests"
	@echo "make lint           run the linter only; make types: the type checker; make unit: the tests"
	@echo "make test-slow      run the tests that take longer, mostly of full-size networks"
	@echo "make test-web       drive the web page in Chromium with real clips; part of make test-slow"
	@echo "make test-pythons   run make test with every installed Python that is supported (3.11, 3.12)"
	@echo "make test-packages  test the stages gfpgan_package and spandrel in .venv-packages (6 GB)"
	@echo "make fuzz           read damaged files for FUZZ_SECONDS (default 600); faults are kept in out/fuzz"
	@echo "make clean          remove the environments, out/, site/ and the caches of tools"
	@echo "setup and demo install the packages of the default stages into .venv (1.3 GB). The other targets except clean"
	@echo "and test-packages add the packages for development (3.6 GB in total)."

setup: $(STAMP)$(if $(CHOSEN_EXTRAS),-$(subst $(space),$(comma),$(CHOSEN_EXTRAS)))

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

# MediaPipe requires the OpenCV build that needs libGL. The headless build of the same version installs into the same
# directory; installed last, it lets cv2 be imported on machines without a display. Modules are compiled at their first
# import, because compiling all installed packages takes almost as long as installing them.
define install
$(BIN)/python -m pip install --no-compile -e "$(1)" -c constraints.txt
$(BIN)/python -m pip install --no-compile --force-reinstall --no-deps opencv-contrib-python-headless==$(OPENCV)
endef

$(STAMP): pyproject.toml constraints.txt | $(BIN)/python
	$(call install,.)
	touch $@

# Every extra includes the packages of the default stages, so a new environment is installed in one step.
$(STAMP)-%: pyproject.toml constraints.txt | $(BIN)/python
	$(call install,.[$*])
	touch $(STAMP) $@

demo: $(STAMP)
	$(BIN)/python examples/demo.py --output "$(OUT)" $(if $(VIDEO),--video "$(VIDEO)") $(if $(SPEECH),--speech "$(SPEECH)")

# NO_MKDOCS_2_WARNING hides the theme's notice about MkDocs 2.
docs: $(DEV_STAMP)
	$(BIN)/python docs/generate/commands.py
	$(BIN)/python docs/generate/errors.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

# The type checker uses one core for 45 seconds. On another, the collection of the tests writes the bytecode of most
# imports, and the tests start afterwards.
test: $(DEV_STAMP)
	$(MAKE) -j3 lint types compiled-unit

lint: $(DEV_STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(DEV_STAMP)
	$(BIN)/pyright --pythonpath $(BIN)/python

# `make unit` reports errors of the collection.
bytecode: $(DEV_STAMP)
	-$(BIN)/python -m pytest --collect-only -q -p no:cacheprovider > /dev/null

compiled-unit: bytecode chromium
	$(MAKE) unit

unit: $(DEV_STAMP) chromium
	$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder -m "not slow"

# Full-size networks and repeated cases, listed in CONTRIBUTING.md. About 15 minutes on two cores.
test-slow: $(DEV_STAMP)
	$(BIN)/python -m pytest -n auto --maxprocesses 2 --dist loadfile --no-loadscope-reorder -m slow

# The web page in Chromium with real clips and a real server. About 10 minutes on two cores.
test-web: $(DEV_STAMP) chromium
	$(BIN)/python -m pytest -m "slow or not slow" --log-cli-level=INFO tests/web

# Altered videos, images, audio files, cue sheets, run files, job lists and motion files.
FUZZ_SECONDS ?= 600
fuzz: $(DEV_STAMP)
	$(BIN)/python -m tests.fuzz --seconds $(FUZZ_SECONDS)

# One environment for each supported Python.
test-pythons:
	@for version in 3.11 3.12; do \
		python=$$(command -v python$$version) || { echo "python$$version is not installed: skipped"; continue; }; \
		$(MAKE) test PYTHON=$$python VENV=.venv-$$version || exit 1; \
	done

# The report pages of `retalkit compare` are tested in the Chromium of the distribution.
chromium:
	@if command -v chromium || command -v chromium-browser || command -v google-chrome; then :; \
	elif command -v apt-get >/dev/null && [ "$$(id -u)" = 0 ]; then \
		apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends chromium fonts-dejavu-core \
			|| echo "Chromium could not be installed: the page tests will fail or be skipped"; \
	else echo "no Chromium: the page tests are skipped; install it with: sudo apt-get install chromium"; fi

# The restoration networks of other packages (docs/paper.md) require another version of torch.
test-packages:
	$(PYTHON) -m venv $(PACKAGES)
	$(PACKAGES)/bin/python -m pip install torch==2.14.1 torchvision==0.29.1 "numpy<2" cython setuptools wheel
	$(PACKAGES)/bin/python -m pip install --no-build-isolation basicsr==1.4.2 filterpy "numpy<2" opencv-python==$(OPENCV)
	$(PACKAGES)/bin/python -m pip install --no-compile -e ".[gfpgan,spandrel]" pytest
	$(PACKAGES)/bin/python -m pip install --no-compile --force-reinstall --no-deps opencv-contrib-python-headless==$(OPENCV)
	$(PACKAGES)/bin/python -m pytest tests/plugins/enhancers/test_gfpgan_package.py tests/plugins/enhancers/test_spandrel_enhancer.py

clean:
	rm -rf $(VENV) $(PACKAGES) .venv-3.11 .venv-3.12 out site .pytest_cache .ruff_cache
