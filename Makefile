# Each target makes the virtual environment if it is missing; only Python 3.11 or newer is needed.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
RUN = runs/digits
# Tests at a time, each file in one process.
WORKERS ?= 2

.PHONY: demo test test-slow test-versions lint format peers clean

# Trains the digits experiment, tokenizer then prior, and prints where the pictures are.
demo: $(VENV)/.train
	@$(BIN)/python -m train fit configs/digits.py --workdir $(RUN)

test: $(VENV)/.dev
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile

# What takes longer than about a minute.
test-slow: $(VENV)/.dev
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile -m "slow and not gpu"

# The tests on the lowest versions that pyproject.toml allows, then on the newest there are, each in
# a virtual environment of its own. No constraints.txt: uv resolves them. (XLA's log is off: before
# jaxlib 0.10.2 it has a harmless line for every program that is read from a cache.)
test-versions:
	@for wanted in lowest-direct highest; do \
	  env=$(VENV)-$$wanted; \
	  test -x $$env/bin/uv || { $(PYTHON) -m venv $$env && $$env/bin/python -m pip install --quiet uv; } \
	    || exit 1; \
	  $$env/bin/uv pip install --quiet --python $$env/bin/python --upgrade --resolution $$wanted \
	    -e ".[train,video,audio,dev]" || exit 1; \
	  echo "the tests on $$wanted versions"; \
	  TF_CPP_MIN_LOG_LEVEL=3 $$env/bin/python -m pytest -n $(WORKERS) --dist loadfile || exit 1; \
	done

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(VENV)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Other people's implementations, which parity tests and benchmarks compare with.
peers: $(VENV)/.peers

$(VENV)/.train: EXTRAS = train,video,audio
$(VENV)/.dev: EXTRAS = train,video,audio,dev
$(VENV)/.peers: EXTRAS = train,video,audio,dev,peers
$(VENV)/.train $(VENV)/.dev $(VENV)/.peers: pyproject.toml constraints.txt
	@begun=$$(date +%s); \
	echo "installing vqlab[$(EXTRAS)] into $(VENV) ..."; \
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || exit 1; \
	$(BIN)/python -m pip install --quiet --disable-pip-version-check \
	  -c constraints.txt -e ".[$(EXTRAS)]" || exit 1; \
	touch $@; \
	echo "installed in $$(( $$(date +%s) - begun )) s"

clean:
	rm -rf $(VENV) $(VENV)-* .cache
