# Everything a developer runs: `make run`, `make test`, `make test-fast`, `make check`,
# `make bench`, `make chaos`, `make mutants`, `make fuzz`, `make dist`, `make sbom`, `make audit`.
# The environment in .venv is made if it is missing or older than its sources.

PYTHON ?= python3
BIN := .venv/bin
VENDOR := edge/static/vendor
CHARTS := $(VENDOR)/uPlot.esm.js
# supervisord puts a socket below the directory of its configuration, and the path of a socket has 107
# bytes. This one is short, however long the path of the working directory is.
HERE := $(if $(wildcard /proc/self/cwd/cluster.conf),/proc/self/cwd,.)

.PHONY: run test test-fast check format bench chaos mutants fuzz screenshot docs dist npm sbom audit lock clean

run: .venv/.installed $(CHARTS)
	@mkdir -p .run
	@EDGE_DATA_DIR="$${EDGE_DATA_DIR:-.run/edge}" $(BIN)/event-edge user add alice --role admin --generate --if-first
	@exec $(BIN)/supervisord -n -c $(HERE)/cluster.conf

# Tests run side by side, more of them than there are cores: most of them wait for a process.
# tests/conftest.py says which run one after another, in the same worker.
WORKERS ?= 4
test test-fast: export PYTHONDONTWRITEBYTECODE :=
test: .venv/.installed $(CHARTS)
	$(BIN)/pytest -n $(WORKERS) --dist load

# Unit and property tests: no processes, no browser.
test-fast: .venv/.installed
	$(BIN)/pytest -n auto -m "not process"

check: .venv/.installed $(CHARTS)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	PATH="$(CURDIR)/$(BIN):$$PATH" node_modules/.bin/tsc -p tsconfig.json

format: .venv/.installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: .venv/.installed .venv/.bench-installed $(CHARTS)
	$(BIN)/python -m bench

# The other servers. If one cannot be installed, the benchmark skips it and prints a line about it.
.venv/.bench-installed: requirements-bench.lock bench/package-lock.json | .venv/.installed $(CHARTS)
	-$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-bench.lock
	-PATH="$$PATH:$(CURDIR)/$(BIN)" npm ci --prefix bench --ignore-scripts --no-audit --no-fund --loglevel=error
	@touch $@

# Rounds of faults under load, each with a new seed, for MINUTES minutes.
MINUTES ?= 10
chaos: .venv/.installed $(CHARTS)
	$(BIN)/python -m tests.e2e.chaos $(MINUTES)

# Small faults put into the cores, each of which a fast test must see. With BUDGET, a sample that
# takes about so many seconds and depends on SEED; with FILES, those files.
FILES ?=
BUDGET ?=
SEED ?=
mutants: .venv/.installed
	$(BIN)/python -m tests.mutants $(FILES) $(if $(BUDGET),--budget $(BUDGET)) $(if $(SEED),--seed $(SEED))

# Changed traffic against parsers and live processes, SECONDS seconds for each part (tests/fuzz). Two parts
# need Atheris and schemathesis. On two cores, SECONDS=1800 gives a million inputs to the parsers and a
# hundred thousand to each socket.
SECONDS ?= 600
fuzz: .venv/.installed .venv/.fuzz-installed $(CHARTS)
	$(BIN)/python -m tests.fuzz --seconds $(SECONDS) $(if $(SEED),--seed $(SEED))

.venv/.fuzz-installed: requirements-fuzz.lock | .venv/.installed
	-$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-fuzz.lock
	@touch $@

screenshot: .venv/.installed $(CHARTS)
	$(BIN)/python -m tests.screenshot docs/dashboard.png

docs: .venv/.installed
	$(BIN)/python -m tests.event_docs docs/events.md

# A release depends on the commit alone: its time stands for the time of the build.
dist sbom: export SOURCE_DATE_EPOCH := $(or $(shell git log -1 --format=%ct 2>/dev/null),315532800)
VERSION = $(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
dist: .venv/.installed $(CHARTS)
	rm -rf dist
	$(BIN)/hatchling build
	$(MAKE) npm sbom
	cd dist && sha256sum *.whl *.tar.gz *.tgz *.json > SHA256SUMS

# The bill of materials, in the form of CycloneDX.
sbom: .venv/.installed
	$(BIN)/python -m release.sbom dist/event_relay-$(VERSION).cdx.json

# Known vulnerabilities of the locked versions. Exit code 1 tells of some, 3 that nobody could be asked.
audit: .venv/.installed .venv/.audit-installed
	PATH="$$PATH:$(CURDIR)/$(BIN)" $(BIN)/python -m release.audit

.venv/.audit-installed: requirements-audit.lock | .venv/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-audit.lock
	@touch $@

# The npm package: its files are those that the edge serves. npm packs their modes, which depend on the umask.
NPM_DIST ?= dist
npm: $(CHARTS)
	rm -rf $(NPM_DIST)/npm
	mkdir -p $(NPM_DIST)/npm
	cp clients/js/package.json clients/js/README.md LICENSE $(NPM_DIST)/npm
	cp edge/static/relay-client*.js edge/static/relay-client.d.ts $(NPM_DIST)/npm
	chmod -R u=rwX,go=rX $(NPM_DIST)/npm
	cd $(NPM_DIST) && PATH="$$PATH:$(CURDIR)/$(BIN)" npm pack --silent ./npm

lock: .venv/.installed
	$(BIN)/python -m pip install --quiet "uv>=0.9,<1"
	$(BIN)/uv pip compile --universal --generate-hashes --no-header --no-annotate \
	  --python-version 3.11 --group dev --extra all pyproject.toml -o requirements.lock
	$(BIN)/uv pip compile --universal --generate-hashes --no-header --no-annotate \
	  --python-version 3.11 -c requirements.lock bench/requirements.in -o requirements-bench.lock
	$(BIN)/uv pip compile --universal --generate-hashes --no-header --no-annotate \
	  --python-version 3.11 -c requirements.lock tests/fuzz/requirements.in -o requirements-fuzz.lock
	$(BIN)/uv pip compile --universal --generate-hashes --no-header --no-annotate \
	  --python-version 3.11 -c requirements.lock release/requirements.in -o requirements-audit.lock
	npm install --package-lock-only --ignore-scripts
	npm install --package-lock-only --ignore-scripts --prefix bench

clean:
	rm -rf .venv .run node_modules bench/node_modules $(VENDOR) dist

.venv/.installed: pyproject.toml requirements.lock
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed")'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

# If Node is missing, PyPI has it. npm itself writes this file.
node_modules/.package-lock.json: package.json package-lock.json | .venv/.installed
	command -v npm >/dev/null || test -x $(BIN)/npm || \
	  $(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-node.lock
	PATH="$$PATH:$(CURDIR)/$(BIN)" npm ci --ignore-scripts --no-audit --no-fund --loglevel=error
	@touch $@

# Browser libraries come from the locked npm packages.
$(CHARTS): node_modules/.package-lock.json
	mkdir -p $(VENDOR)
	cd node_modules/swagger-ui-dist && cp swagger-ui-bundle.js swagger-ui.css $(CURDIR)/$(VENDOR)
	cp node_modules/swagger-ui-dist/LICENSE $(VENDOR)/swagger-ui.LICENSE
	cp node_modules/uplot/LICENSE $(VENDOR)/uPlot.LICENSE
	cp node_modules/uplot/dist/uPlot.min.css $(VENDOR)
	echo 'export { default } from "uplot";' > $(VENDOR)/uPlot.esm.d.ts
	cp node_modules/uplot/dist/uPlot.esm.js $(CHARTS)
	@touch $@
