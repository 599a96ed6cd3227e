# Two commands do everything on a fresh machine: `make repro` answers the question, `make test` checks the house.
PYTHON ?= python3
export PATH := $(CURDIR)/.venv/bin:$(PATH)
export DVC_NO_ANALYTICS := 1
# What Python compiles, pytest's tests above all, it compiles once and not at every run.
unexport PYTHONDONTWRITEBYTECODE
export MLFLOW_DISABLE_TELEMETRY := true
INSTALLED := .venv/.installed
EXTRAS := .venv/.extras

.PHONY: repro synthetic test drills preset ui install extras lint docs bench lock clean
.DELETE_ON_ERROR:

repro: $(INSTALLED)
	@python -m stages.foresight
	dvc repro
	@python -m stages.timing

# More images later from the same generators: raise generate.plan in params.yaml, and call it again.
synthetic: $(INSTALLED)
	@python -m stages.foresight
	dvc repro filter_memorized
	@python -m stages.synthetic

test: $(EXTRAS)
	python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

drills: $(EXTRAS)
	python -m pytest --numprocesses 2 --dist loadfile -m "drill or hypothesis" --hypothesis-profile thorough

preset: $(INSTALLED)
	@python -m stages.presets $(NAME) $(if $(FOLDER),--folder "$(FOLDER)") $(if $(GROUPS),--groups "$(GROUPS)") \
		$(if $(LEAVE_OUT),--leave-out "$(LEAVE_OUT)") $(if $(QUICK),--quick)

ui: $(INSTALLED)
	@python -m stages.tracking.ui $(PORT)

# What the main job needs; every other target does it by itself.
install: $(INSTALLED)

# Recordings, DICOM and NIfTI, pretrained networks, privacy budgets, dask, S3 and torch.compile; and what tests and
# linters need.
extras: $(EXTRAS)

lint: $(EXTRAS)
	ruff check .
	ruff format --check .
	mypy
	check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yaml
	check-jsonschema --builtin-schema vendor.dependabot .github/dependabot.yml
	check-jsonschema --builtin-schema vendor.citation-file-format CITATION.cff
	zizmor --offline --quiet .github

# The site, in site/; a dead link or anchor stops it. MkDocs runs in an environment of its own.
docs: $(INSTALLED)
	NO_MKDOCS_2_WARNING=1 uv tool run --quiet --from mkdocs-material==9.8.2 mkdocs --quiet build

bench: $(EXTRAS)
	@for script in benchmarks/[a-z]*.py; do echo "== $$script"; python -m "benchmarks.$$(basename $$script .py)" || exit 1; done

# Triton (1 GB) is for torch.compile on a GPU alone: it is one of the extras.
COMPILE := uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-header --quiet
lock: $(INSTALLED)
	$(COMPILE) --all-extras --output-file requirements-all.lock
	$(COMPILE) --constraint requirements-all.lock --no-emit-package triton --output-file requirements.lock

clean:
	rm -rf .venv .work site .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find stages tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

# The locks pin uv too, so pip checks uv's hash and uv those of everything else. Bytecode is compiled here once,
# because every stage is a process of its own and would pay for it at each start.
define install
@$(PYTHON) -c 'import sys; (3, 11) <= sys.version_info < (3, 14) or sys.exit("$(PYTHON) is Python " + \
	sys.version.split()[0] + ", but 3.11 to 3.13 is needed: name one that is, as in `make repro PYTHON=python3.11`")'
$(PYTHON) -m venv .venv
sed -n '/^uv==/,/[^\\]$$/p' $< > .venv/uv.txt
python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement .venv/uv.txt
uv pip install --quiet --python .venv/bin/python --no-deps --require-hashes --compile-bytecode --requirement $<
endef

$(INSTALLED): requirements.lock
	$(install)
	touch $(INSTALLED)

$(EXTRAS): requirements-all.lock requirements.lock
	$(install)
	touch $(INSTALLED) $(EXTRAS)
