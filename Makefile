# lawsker-db for people and for CI. `make` alone lists the targets.
#
# DATABASE_URL reaches the commands through the environment and is never written into a recipe: it may hold a password. make
# itself shows what was typed after it to `ps`, so in scripts prefer   DATABASE_URL=... make safe-upgrade
# Whatever a command exits with, make exits with 2: where the exit code matters, call .venv/bin/lawsker-db.

MAKEFLAGS += --no-builtin-rules
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.SUFFIXES:

# Options for the command behind a target: make safe-upgrade ARGS='--dry-run', make test ARGS='-k gate'
ARGS ?=
# How many test processes run at once.
WORKERS ?= 2
# A file stays with one process, which makes its servers and databases once; small files come last: all end together.
BY_FILE := --dist loadfile --no-loadscope-reorder

# make would take the $ in a password for one of its own variables; $(value) hands the text on as it was typed.
ifneq ($(value DATABASE_URL),)
override DATABASE_URL := $(value DATABASE_URL)
export DATABASE_URL
endif

.PHONY: help demo test test-majors test-long test-faults test-report lint typecheck build bench docs messages
.PHONY: upgrade downgrade safe-upgrade rollback rehearse doctor recover restore drill adopt verify report backup monitor status clean .revision-given

help: ## list the targets
	@echo "usage: make TARGET [DATABASE_URL=postgresql://...] [ARGS='...'] [PYTHON=/path/to/python]"
	@echo
	@awk -F ':.*## ' '/^[a-z][a-z-]*:.*## / { printf "  %-13s %s\n", $$1, $$2 }' Makefile

demo: .venv/.stamp-embedded ## a throwaway server and a sample database: migrate it, verify it, show the report
	@unset DATABASE_URL; .venv/bin/lawsker-db demo $(ARGS)

test: .venv/.stamp-dev ## run the tests (WORKERS=2 at once)
	@unset DATABASE_URL; .venv/bin/python -m pytest -n $(WORKERS) $(BY_FILE) -m 'not majors and not long and not faults and not browser' $(ARGS)

test-majors: .venv/.stamp-dev ## run the tests that need servers 12 to 18 (fetched into .majors)
	@scripts/majors
	@unset DATABASE_URL; LAWSKER_MAJORS=.majors .venv/bin/python -m pytest -n $(WORKERS) -m majors $(ARGS)

test-long: .venv/.stamp-dev ## run the tests that take long: evil revisions by all roads, all damages
	@unset DATABASE_URL; .venv/bin/python -m pytest -n $(WORKERS) -m long $(ARGS)

test-faults: .venv/.stamp-dev ## strike at wire, disk, server and locks (hours; goes on where it stopped)
	@scripts/faults
	@scripts/majors
	@unset DATABASE_URL; LAWSKER_MAJORS=.majors LAWSKER_FAULTS=.faults .venv/bin/python -m pytest -n $(WORKERS) -m faults
	@unset DATABASE_URL; PYTHONPATH=tests/support .venv/bin/python tests/faults/crash_suite.py --workers $(WORKERS) $(ARGS)

test-report: .venv/.stamp-dev ## look at the report's page with a real headless Chromium (installs it where it may)
	@scripts/browser
	@unset DATABASE_URL; .venv/bin/python -m pytest -m browser $(ARGS)

lint: .venv/.stamp-dev ## ruff: rules and format
	@.venv/bin/ruff check .
	@.venv/bin/ruff format --check .

typecheck: .venv/.stamp-dev ## mypy, strict
	@.venv/bin/mypy

build: .venv/.stamp-dev ## wheel and source archive into dist/
	@.venv/bin/python -m build

bench: .venv/.stamp-dev ## measure safe-upgrade against pg_dump and bare Alembic
	@unset DATABASE_URL; .venv/bin/python -m benchmarks.safe_upgrade $(ARGS)

docs: .venv/.stamp-dev ## write the command reference in docs/ from the command line, in both languages
	@.venv/bin/python scripts/reference.py

messages: .venv/.stamp-dev ## gather what people read into the Chinese catalogue, and compile it
	@.venv/bin/python scripts/messages.py --list

upgrade: .venv/.stamp-base ## plain Alembic: upgrade to head (guarded by the gate, no backup)
	@.venv/bin/alembic upgrade head $(ARGS)

downgrade: .revision-given .venv/.stamp-base ## plain Alembic: downgrade to REVISION=012
	@.venv/bin/alembic downgrade "$$REVISION" $(ARGS)

safe-upgrade: .venv/.stamp-base ## back up, prove, rehearse, upgrade in one transaction, prove, COMMIT, report
	@.venv/bin/lawsker-db safe-upgrade $(ARGS)

rollback: .venv/.stamp-base ## take the last upgrade back; what was written since is kept in an archive
	@.venv/bin/lawsker-db rollback $(ARGS)

rehearse: .venv/.stamp-base ## back up, prove by a trial restore, rehearse the upgrade on the copy
	@.venv/bin/lawsker-db rehearse $(ARGS)

doctor: .venv/.stamp-base ## server, rights, tools, disk, what a dump would miss: could safe-upgrade begin?
	@.venv/bin/lawsker-db doctor $(ARGS)

recover: .venv/.stamp-base ## settle what killed runs left: outcome, sessions, scratch databases
	@.venv/bin/lawsker-db recover $(ARGS)

restore: .venv/.stamp-base ## back to a backup: ARGS='RUN'; the damaged database is kept beside it
	@.venv/bin/lawsker-db restore $(ARGS)

drill: .venv/.stamp-base ## restore the newest backup into a scratch database, prove it, time it
	@.venv/bin/lawsker-db drill $(ARGS)

adopt: .venv/.stamp-base ## put a live database that Alembic does not know under its control
	@.venv/bin/lawsker-db adopt $(ARGS)

verify: .venv/.stamp-base ## compare the database with what its revision promises
	@.venv/bin/lawsker-db verify $(ARGS)

report: .venv/.stamp-base ## show the report of the last run again: ARGS='--open', ARGS='RUN --format json'
	@.venv/bin/lawsker-db report $(ARGS)

backup: .venv/.stamp-base ## take a backup and prove it by a trial restore
	@.venv/bin/lawsker-db backup create $(ARGS)

monitor: .venv/.stamp-base ## watch the database and the run that goes on in it, until Ctrl-C
	@.venv/bin/lawsker-db monitor $(ARGS)

status: .venv/.stamp-base ## where the database stands
	@.venv/bin/lawsker-db status $(ARGS)

clean: ## remove what make made here; reports and backups in lawsker-runs/ stay
	@rm -rf .venv .majors dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	@find src tests benchmarks alembic -name __pycache__ -type d -prune -exec rm -rf {} +

# First among the prerequisites, so that nobody waits for an environment to be told this.
.revision-given:
	@test -n "$$REVISION" || { echo "downgrade needs a revision: make downgrade REVISION=012" >&2; exit 2; }

.venv/.stamp-base: pyproject.toml scripts/bootstrap
	@scripts/bootstrap

.venv/.stamp-embedded: pyproject.toml scripts/bootstrap
	@scripts/bootstrap embedded

.venv/.stamp-dev: pyproject.toml scripts/bootstrap
	@scripts/bootstrap dev,embedded
