# Five verbs: demo, test, lint, run, clean. `make demo ONCE=1` ends after the story.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
MESSAGES := --locale fr --locale de --locale es --no-wrap --no-obsolete --add-location file
export DJANGO_SETTINGS_MODULE ?= settings.development

.PHONY: demo test lint run chaos bench production-check audit messages lock clean

$(VENV)/installed: requirements/base.txt requirements/dev.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; this is " + sys.version.split()[0] + ". Name another one: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	touch $@

demo: $(VENV)/installed
	$(BIN)/python manage.py demo $(if $(ONCE),--once)

test: $(VENV)/installed
	DJANGO_SETTINGS_MODULE=settings.testing $(BIN)/python -m pytest -n auto $(ARGS)

lint: $(VENV)/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	DJANGO_SETTINGS_MODULE=settings.testing $(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	DJANGO_SETTINGS_MODULE=settings.testing $(BIN)/python manage.py makemigrations --check --dry-run
	$(BIN)/python requirements/audit.py

# Whether a package that is locked has a known hole. Where nobody can be asked, it says so.
audit: $(VENV)/installed
	$(BIN)/python requirements/audit.py

# The service and a worker on this machine, as production runs them, with development settings. The worker ends with the service.
run: $(VENV)/installed
	$(BIN)/python manage.py migrate --verbosity 0
	@$(BIN)/python manage.py worker & worker=$$!; $(BIN)/gunicorn settings.wsgi & web=$$!; \
	trap 'kill $$web 2>/dev/null' INT TERM HUP; \
	while wait $$web; status=$$?; kill -0 $$web 2>/dev/null; do :; done; \
	kill $$worker 2>/dev/null; wait $$worker; exit $$status

# Everything that goes wrong, counted from the outside; SCENARIOS="1 2" and SHORT=1 play less of it. Against a real iTop:
# make chaos ITOP_URL=https://... ITOP_TOKEN_ENV=NAME_OF_A_VARIABLE [ITOP_PERSON=someone@...] [ITOP_TIME_ZONE=Europe/Paris]
chaos: $(VENV)/installed
	$(BIN)/python manage.py chaos $(if $(SCENARIOS),--scenarios $(SCENARIOS)) $(if $(SHORT),--short) \
		$(if $(ITOP_URL),--itop-url "$(ITOP_URL)" --itop-token-env "$(ITOP_TOKEN_ENV)") \
		$(if $(ITOP_PERSON),--itop-person "$(ITOP_PERSON)") $(if $(ITOP_TIME_ZONE),--itop-time-zone "$(ITOP_TIME_ZONE)")

# What it costs, each number beside the one it has to be compared with.
bench: $(VENV)/installed
	$(BIN)/python manage.py bench $(ARGS)

# The files in deploy/, played: nginx with TLS, the web server, two workers, PostgreSQL and Redis; reload, restart, backup, restore.
# Needs nginx, redis-server, PostgreSQL's tools, and a PostgreSQL in which it may make a database: TEST_DATABASE_URL.
production-check: $(VENV)/installed
	@$(BIN)/python manage.py production_check

# The panel's words: out of the code into intercom_bridge/locale/, and compiled. Run it after a change of words, translate
# what is empty or marked fuzzy in the three files, and run it again. Needs GNU gettext, here only: .mo files are committed.
messages: $(VENV)/installed
	cd intercom_bridge && ../$(BIN)/python ../manage.py makemessages $(MESSAGES)
	cd intercom_bridge && ../$(BIN)/python ../manage.py compilemessages --verbosity 0

# Locks what requirements/*.in asks for, with hashes and without the address of any index (needs uv).
lock:
	for name in base dev; do uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
		--no-emit-index-url --no-header requirements/$$name.in -o requirements/$$name.txt; done

clean:
	rm -rf $(VENV) var
