# The commands of this project. Every target installs what it needs first; nothing but Python >= 3.11 and make is needed.
PYTHON ?= python3
BIN := .venv/bin
export PIP_DISABLE_PIP_VERSION_CHECK = 1
# The tests start hundreds of interpreters: what is compiled once is not compiled again by each.
unexport PYTHONDONTWRITEBYTECODE
COMPILE = uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --custom-compile-command "make lock"

.PHONY: install demo up test check check-code check-units promtool audit bench openapi lock

install: .venv/installed  ## .venv with everything, from the hashed locks

.venv/installed: requirements-dev.txt setup.cfg pyproject.toml
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("simyard needs Python 3.11 or newer: make PYTHON=python3.11")'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --require-hashes --requirement requirements-dev.txt
	$(BIN)/pip install --quiet --no-deps --no-build-isolation --config-settings editable_mode=compat --editable .
	@touch $@

demo: install  ## the whole way of a simulation on this machine, shown live
	$(BIN)/python -m standalone.demo

up: install  ## the stack in the foreground; Ctrl-C stops it
	$(BIN)/simyard up

test: install  ## the whole suite; starts the servers it needs
	$(BIN)/pytest --numprocesses 3 --dist loadscope --no-loadscope-reorder

check: install  ## lint, types, import contracts, unit tests
	@$(MAKE) --no-print-directory --jobs 2 check-units check-code

check-code:
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/bandit --quiet --configfile pyproject.toml --recursive shared webapp workers standalone client simulators

check-units:
	$(BIN)/pytest --numprocesses 2 --dist loadscope --no-loadscope-reorder -m "not servers and not long"

promtool: .venv/bin/promtool  ## for the tests of the alerts: Debian's, without the daemon that comes with it; needs no root

.venv/bin/promtool: | install
	mkdir -p .venv/prometheus
	cd .venv/prometheus && apt-get download --quiet prometheus && dpkg-deb --extract prometheus_*.deb .
	mv .venv/prometheus/usr/bin/promtool $@ && rm -r .venv/prometheus

audit: install .venv-audit/installed  ## the manifests, by checkov, which does not get on with our own packages
	rm -rf .venv-audit/manifests && mkdir .venv-audit/manifests
	for overlay in base overlays/dev overlays/prod; do \
		$(BIN)/kubectl kustomize k8s/$$overlay > .venv-audit/manifests/$$(basename $$overlay).yaml || exit 1; done
	.venv-audit/bin/checkov --config-file .checkov.yaml --directory .venv-audit/manifests

.venv-audit/installed: requirements-audit.txt
	$(PYTHON) -m venv .venv-audit
	.venv-audit/bin/pip install --quiet --require-hashes --requirement requirements-audit.txt
	@touch $@

bench: install  ## each figure with its limit; exit code 1 when something could not be measured
	$(BIN)/python -m benchmarks

openapi: install  ## docs/openapi.json anew, after the API was changed on purpose
	$(BIN)/python -m webapp.openapi > docs/openapi.json.new
	mv docs/openapi.json.new docs/openapi.json

lock:  ## the hashed locks anew; needs uv. Images get the very versions that the tests run with
	$(COMPILE) --extra standalone --extra otel --extra dev setup.cfg --output-file requirements-dev.txt
	$(COMPILE) --extra web --extra worker setup.cfg --output-file requirements.txt
	$(COMPILE) --no-annotate --constraint requirements-dev.txt --extra web --extra otel setup.cfg --output-file requirements-web.txt
	$(COMPILE) --no-annotate --constraint requirements-dev.txt --extra worker --extra otel setup.cfg --output-file requirements-worker.txt
	sed -n '/^simulator =/,/^\#/s/^    //p' setup.cfg | $(COMPILE) --no-annotate --constraint requirements-dev.txt - --output-file requirements-simulator.txt
	echo setuptools | $(COMPILE) --no-annotate --constraint requirements-dev.txt - --output-file requirements-build.txt
	echo checkov | $(COMPILE) - --output-file requirements-audit.txt
