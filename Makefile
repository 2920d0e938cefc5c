# The project's commands; `make run` and `make test` need nothing but Debian 12.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := help
.PHONY: help run test lint fix generate install clean faults nested patroni bench bench-quick lock release-api

RELEASED := proto/released.binpb
BIN := .venv/bin
# docs/decisions/0020-what-fails-once-is-run-once-more.md
ONCE_MORE := --reruns 1 --max-suite-reruns 2 --rerun-exclude-path tests/faults --rerun-show-tracebacks

help: ## say what there is
	@sed -n 's/^\([a-z-]*\):.*## /  make \1|/p' $(MAKEFILE_LIST) | column -t -s '|'

run: ## a cloud with one virtual machine, until Ctrl-C (ARGS=--once ends by itself)
	@tools/install.sh
	@$(BIN)/python -m zcloud.cli.demo $(ARGS)

test: ## lint, then every test (ARGS go to pytest)
	@tools/install.sh --test
	@$(MAKE) --no-print-directory lint-installed
	@$(BIN)/python -m pytest -n auto --dist loadscope $(ONCE_MORE) $(ARGS)

lint: install lint-installed ## style, types, import contracts, API rules

.PHONY: lint-installed
lint-installed:
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/buf lint
	@if [ -e $(RELEASED) ]; then $(BIN)/buf breaking --against $(RELEASED); fi

fix: install ## let ruff put right what it can
	@$(BIN)/ruff check --fix
	@$(BIN)/ruff format

generate: ## code from proto/
	@tools/install.sh
	@tools/generate.sh

install: ## Debian packages, .venv, generated code; only what is missing
	@tools/install.sh

faults: install ## kills, repeats, bad weather (SEEDS=100000 COMMANDS=1000000 FUZZ=10000 EVENTS=1000000 for a night; ARGS: -k …)
	@SEEDS=$(SEEDS) COMMANDS=$(COMMANDS) FUZZ=$(FUZZ) EVENTS=$(EVENTS) $(BIN)/python -m pytest -m faults $(ARGS)

nested: install ## a host with a kernel of its own under QEMU, on a real NFS server (debootstrap, minutes)
	@$(BIN)/python -m pytest --timeout=3600 tests/nested/kernel_nfs.py $(ARGS)

patroni: install ## failovers of two PostgreSQL under Patroni (apt-get install patroni etcd-server, or pip), under load
	@$(BIN)/python -m pytest -s tests/patroni/failover.py $(ARGS)

bench: install ## measurements, each against a limit of the same run, into var/bench.json (ARGS: names)
	@$(BIN)/python -m bench $(ARGS)

bench-quick: install ## the same, smaller: three minutes
	@$(BIN)/python -m bench --quick $(ARGS)

lock: ## pin dependencies anew (ARGS=--upgrade for the newest)
	@tools/lock.sh $(ARGS)

release-api: install ## keep the API as it is now, for buf to compare with from now on
	@$(BIN)/buf build --as-file-descriptor-set --exclude-source-info -o $(RELEASED)

clean: ## what can be made again; the data in var/ stays
	@rm -rf build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .venv/.generated
	@rm -f zcloud/v1/*_pb2.py zcloud/v1/*_pb2.pyi zcloud/v1/*_pb2_grpc.py
	@find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +
