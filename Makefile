# make demo ONCE=1                      ends after the demo's scripted conversation
# make demo ARGS="--port 8100"          chooses another port
# make test ARGS="tests/sync -k pause"  runs a part of the tests
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
TESTING := DJANGO_SETTINGS_MODULE=settings.testing
PIP := $(BIN)/pip install --disable-pip-version-check --require-hashes
LOCK := uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header
MESSAGES := --locale fr --locale de --locale es --no-wrap --no-obsolete --add-location file
export DJANGO_SETTINGS_MODULE ?= settings.development
# Tests and demo start many processes. Without bytecode files, each process would compile the whole project again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test coverage lint audit run chaos bench production-check messages lock clean

# The packages that the service needs.
$(VENV)/runtime: requirements/base.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; this is " + sys.version.split()[0] + ". Choose another one: make PYTHON=python3.12 ...")'
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
	{ echo "Python's venv is missing. On Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }
	@echo "Installing the packages that the service needs into $(VENV): about 30 packages, 130 MB, a minute or more."
	$(PYTHON) -m venv --clear $(VENV)
	$(PIP) -r requirements/base.txt
	touch $@

# The packages that only tests and linters need.
$(VENV)/installed: requirements/dev.txt $(VENV)/runtime
	@echo "Installing the packages that tests and linters need: about 60 more packages, 350 MB."
	$(PIP) -r requirements/dev.txt
	touch $@

demo: $(VENV)/runtime
	$(BIN)/python manage.py demo $(if $(ONCE),--once) $(ARGS)

test: $(VENV)/installed
	$(TESTING) $(BIN)/python -m pytest -n auto $(ARGS)

coverage: $(VENV)/installed
	$(TESTING) $(BIN)/python -m pytest -n auto --cov --cov-report=term:skip-covered --cov-report=xml $(ARGS)

lint: $(VENV)/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(TESTING) $(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(TESTING) $(BIN)/python manage.py makemigrations --check --dry-run
	@! command -v msgfmt >/dev/null || for file in intercom_bridge/locale/*/LC_MESSAGES/django.po; do \
	msgfmt --check --output-file=/dev/null $$file || exit 1; done

# Looks up known vulnerabilities of the locked packages. It needs the Python package index, so `make lint` does not include it.
audit: $(VENV)/installed
	$(BIN)/pip-audit --disable-pip --require-hashes --requirement requirements/dev.txt

# Runs the web server and a worker with development settings. Ctrl-C ends both. BIND=127.0.0.1:8100 chooses another port.
run: $(VENV)/runtime
	$(BIN)/python manage.py migrate --verbosity 0
	@echo "Admin: http://$${BIND:-127.0.0.1:8000}/admin/"
	@echo "To create a user for it: $(BIN)/python manage.py createsuperuser   To try it with conversations: make demo   To stop: Ctrl-C"
	@$(BIN)/python manage.py worker & worker=$$!; $(BIN)/gunicorn settings.wsgi & web=$$!; \
	trap 'kill $$web 2>/dev/null' INT TERM HUP; \
	while wait $$web; status=$$?; kill -0 $$web 2>/dev/null; do :; done; \
	kill $$worker 2>/dev/null; wait $$worker; exit $$status

# Simulates failures (see tests/system/chaos) and counts what arrived. SCENARIOS="1 2" and SHORT=1 run less. Against a real iTop:
# make chaos ITOP_URL=https://... ITOP_TOKEN_ENV=NAME_OF_A_VARIABLE [ITOP_PERSON=someone@...] [ITOP_TIME_ZONE=Europe/Paris]
chaos: $(VENV)/installed
	$(BIN)/python -m tests.system.chaos $(if $(SCENARIOS),--scenarios $(SCENARIOS)) $(if $(SHORT),--short) \
		$(if $(ITOP_URL),--itop-url "$(ITOP_URL)" --itop-token-env "$(ITOP_TOKEN_ENV)") \
		$(if $(ITOP_PERSON),--itop-person "$(ITOP_PERSON)") $(if $(ITOP_TIME_ZONE),--itop-time-zone "$(ITOP_TIME_ZONE)")

# Measures the main operations, and prints each duration next to the one it has to be compared with.
bench: $(VENV)/installed
	$(BIN)/python -m tests.system.bench $(ARGS)

# Tries out the files in deploy/: runs nginx with TLS, the web server, two workers, PostgreSQL and Redis, and then reloads,
# restarts, backs up and restores. Needs nginx, redis-server and PostgreSQL's tools. TEST_DATABASE_URL must name a PostgreSQL
# server in which a database may be created.
production-check: $(VENV)/installed
	@$(BIN)/python -m tests.system.deployment

# Extracts the translatable texts into intercom_bridge/locale/ and compiles them. Run it after a change of texts, translate the
# entries that are empty or marked fuzzy, and run it again. Needs GNU gettext. The .mo files are committed.
messages: $(VENV)/installed
	cd intercom_bridge && ../$(BIN)/python ../manage.py makemessages $(MESSAGES)
	cd intercom_bridge && ../$(BIN)/python ../manage.py compilemessages --verbosity 0

# Locks the versions of pyproject.toml's dependencies, with hashes and without the address of a package index. Needs uv.
lock:
	$(LOCK) pyproject.toml -o requirements/base.txt
	$(LOCK) pyproject.toml --group dev -o requirements/dev.txt

clean:
	rm -rf $(VENV) var
