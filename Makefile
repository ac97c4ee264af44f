# SPDX-License-Identifier: Apache-2.0
# Every target sets up what it needs, in .venv: only Python 3.11 to 3.13 and make have to be there.
#   make test           all tests: the two that follow
#   make test-core      those that need no Blender
#   make test-blender   fetches Blender 4.2, 5.0 and 5.2 as Python modules (3 GB), and runs the tests that need them
#   make test-gui       the extension in a real window: BLENDER=/path/to/blender; takes xdotool and ImageMagick;
#                       STRESS=SEED: 500 (STEPS) random steps with undo and redo instead; STORY=1: one whole shot;
#                       TOOLS=1: the tools, shortcuts, search and dialog
#   make attack     generated hostile inputs for MINUTES (60) from SEED (the time)
#   make demo           two loops from the example photograph: from the picture alone, and as drawn
#   make extension      the Blender extension, dist/loopcore-VERSION.zip
#   make lint           style, types, layers
#   make bench          the benchmarks
#   make clean          removes all that these make

VENV ?= .venv
PYTHON ?= $(shell for python in python3.11 python3.12 python3.13 python3 python; do \
	$$python -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null \
	&& echo $$python && break; done)
BIN := $(VENV)/$(if $(filter Windows_NT,$(OS)),Scripts,bin)
PYTEST_FLAGS ?= -n 2
DEMO := demo

BLENDERS := .venv-bpy

.PHONY: test test-core attack test-blender blender-envs extension test-gui lint style types layers demo bench clean
.DEFAULT_GOAL := test
# Two installs into one environment at once would break it.
.NOTPARALLEL:

test: test-core test-blender

test-core: $(VENV)/.with-test
	$(BIN)/python -m pytest $(PYTEST_FLAGS)

attack: $(VENV)/.with-test
	$(BIN)/python tests/attack/attack.py $(if $(SEED),--seed $(SEED)) --minutes $(or $(MINUTES),60)

# Blender 4.2, 5.0 and 5.2 as Python modules, each in an environment of its own.
blender-envs: $(VENV)/.with-test
	@$(BIN)/python .ci/blender_envs.py $(BLENDERS)

test-blender: $(VENV)/.with-test
	@pythons=$$($(BIN)/python .ci/blender_envs.py $(BLENDERS)) || exit 1; \
	LOOPCORE_BPY_PYTHONS="$$pythons" $(BIN)/python -m pytest tests/flowmap/test_flowmap_blender.py tests/addon

extension: $(VENV)/.with-test
	$(BIN)/python build_addon.py

BLENDER ?= blender
GUI_PICTURES ?= build/gui
test-gui: $(VENV)/.with-test
	$(BIN)/python tests/gui/run.py "$(BLENDER)" $(GUI_PICTURES) \
		$(if $(STRESS),--stress $(STRESS) --steps $(or $(STEPS),500)) $(if $(STORY),--story) $(if $(TOOLS),--tools)

lint: style types layers

style: $(VENV)/.with-lint
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .

types: $(VENV)/.with-lint
	$(BIN)/python -m mypy

layers: $(VENV)/.with-lint
	$(BIN)/python .ci/check_layers.py

demo: $(VENV)/.with-test
	$(BIN)/loopcore animate examples/waterfall/plate.jpg -o $(DEMO)/alone --preview
	$(BIN)/loopcore check $(DEMO)/alone
	$(BIN)/loopcore animate examples/waterfall/plate.jpg --hints examples/waterfall/hints.json -o $(DEMO)/drawn --preview
	$(BIN)/loopcore check $(DEMO)/drawn
	@echo
	@echo "Beside the frames, films, contact sheets and motion:"
	@ls $(DEMO)/*/*.mp4 $(DEMO)/*/*.png

bench: $(VENV)/.with-test
	@for script in benchmarks/[!_]*.py; do echo "== $$script"; $(BIN)/python $$script || exit 1; done

$(VENV)/.with-%: pyproject.toml constraints.txt .ci/install.py
	@test -n "$(PYTHON)" || { echo "No Python 3.11 to 3.13 found: install one, or name it: make PYTHON=/path/to/python"; exit 2; }
	$(PYTHON) .ci/install.py $(VENV) $*
	@touch $@

clean:
	rm -rf $(VENV) $(BLENDERS) $(DEMO) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
