# Everything a person does with this project. `make help` lists it; each command first installs what is missing.

# The first Python that really runs: `local/bootstrap.py` takes any from 3.8 on and finds 3.13 itself.
ANY_PYTHON = $$(for candidate in .venv/bin/python python3.13 python3 python; do \
	if $$candidate -c 'import sys; sys.exit(sys.version_info < (3, 8))' >/dev/null 2>&1; then echo $$candidate; exit; fi; done; \
	if command -v uv >/dev/null 2>&1; then uv python find 3.13; else echo python3; fi)
PYTHON = .venv/bin/python

.DEFAULT_GOAL := help
.PHONY: help run stop demo test chaos lint lint-infra format connector requirements bench callback-key clean install

help: ## show this list
	@grep -E '^[a-z-]+:.*## ' Makefile | sed -E 's/^([a-z-]+):.*## (.*)/  make \1|\2/' | awk -F '|' '{ printf "%-20s %s\n", $$1, $$2 }'

run: install ## bring up the app and all it talks to, and stay (PORT=7071, WORKERS=1)
	@$(PYTHON) -m local.stack up

stop: ## end the stack that `make run` started, from another terminal
	@if [ -x $(PYTHON) ]; then $(PYTHON) -m local.stack down; fi

demo: install ## generate, edit and submit a job, and show what came of it (pictures in .local/demo)
	@$(PYTHON) -m local.demo

test: install ## run all tests (ARGS="-k word" picks some)
	@$(PYTHON) -m pytest $(ARGS)

chaos: install ## kill, repeat and refuse for minutes, then account for every job and every call (SEED=)
	@$(PYTHON) -m tests.chaos $(ARGS)

lint: install ## check style and types
	@$(PYTHON) -m ruff check .
	@$(PYTHON) -m ruff format --check .
	@$(PYTHON) -m mypy

lint-infra: install ## run a security scanner over infra/ (installs it into .venv-checkov)
	@$(PYTHON) -m tests.infra.scan

format: install ## put the code into the project's style
	@$(PYTHON) -m ruff check --fix .
	@$(PYTHON) -m ruff format .

bench: install ## measure speed, memory and pacing against the usual ways, in 20 minutes (ARGS="passing --quick")
	@$(PYTHON) -m bench $(ARGS)

connector: install ## write the connector and docs/openapi.html anew, after a change of the API
	@$(PYTHON) -m infra.generate

callback-key: install ## print the keys a receiver of callbacks checks them with (HOST=hooks.example.com)
	@$(PYTHON) -m shared.delivery.callback_key "$(HOST)"

requirements: install ## pin the packages of requirements*.in anew
	@$(PYTHON) -m uv pip compile --universal --python-version 3.13 --generate-hashes --no-header --quiet requirements.in -o requirements.txt
	@$(PYTHON) -m uv pip compile --universal --python-version 3.13 --generate-hashes --no-header --quiet requirements-dev.in -o requirements-dev.txt

clean: stop ## drop the local stack's data (.local); a running stack is stopped first
	@rm -rf .local

install: ## install everything into .venv and node_modules (the others do it by themselves)
	@$(ANY_PYTHON) local/bootstrap.py
