# make demo    videos -> frames -> csv -> pretraining -> evaluation, on a small data set made here; MINUTES=20: longer
# make study   what pretraining is worth, in two hours: accuracy against the time of pretraining, beside random weights
# make test    the whole test suite            make soak    the long tests            make lint    ruff: likely faults, style
# make clean   removes the virtual environment and what demo and study made
# PYTHON=python3.12 chooses the interpreter (3.10 or newer).
PYTHON ?= python3
VENV_PYTHON := .venv/bin/python

.PHONY: demo study test soak lint clean

demo: .venv/installed
	$(VENV_PYTHON) experiments/demo.py $(if $(MINUTES),--minutes $(MINUTES))

study: .venv/installed
	$(VENV_PYTHON) experiments/study.py

test: .venv/installed
	$(VENV_PYTHON) -m pytest $(PYTEST_FLAGS)

soak: .venv/installed
	$(VENV_PYTHON) -m pytest -m soak $(PYTEST_FLAGS)

lint: .venv/installed-dev
	$(VENV_PYTHON) -m ruff check

# A stamp: the environment is completed again after requirements.txt has changed or an installation has failed.
.venv/installed: requirements.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' \
		|| { echo 'error: $(PYTHON) is not Python 3.10 or newer; name one: make PYTHON=python3.12'; exit 1; }
	@$(PYTHON) -m venv .venv \
		|| { echo 'error: $(PYTHON) cannot make .venv; on Debian and Ubuntu: apt install python3-venv'; exit 1; }
	@echo 'installing requirements.txt into .venv (torch alone is several GB)'
	@$(VENV_PYTHON) -m pip install --quiet --disable-pip-version-check -r requirements.txt \
		|| { echo 'error: pip could not install requirements.txt; its own message is above.' \
			'Fix that (network, disk space, Python version) and run make again: it continues from here'; exit 1; }
	@touch $@

.venv/installed-dev: .venv/installed requirements-dev.txt
	@$(VENV_PYTHON) -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@touch $@

clean:
	rm -rf .venv .pytest_cache .ruff_cache demo_output study_output process_data/data/demo process_data/data/demo_* process_data/data/puppets*
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
