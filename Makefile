# The front door. CMake does the building (CMakePresets.json); this says which of it you want.

PREFIX ?= /usr/local
DESTDIR ?=
FUZZ_SECONDS ?= 60
FUZZ_RUNS ?= 0
PYTHON := /usr/bin/python3

.PHONY: all demo test e2e one fuzz model matrix keepalive bench size coverage lint install clean help

all:
	@cmake --preset release -DCMAKE_INSTALL_PREFIX="$(PREFIX)" --log-level=WARNING >/dev/null
	@cmake --build build
	@echo "Built: build/bin"

demo:
	@tools/install-packages build demo
	@cmake --preset dev --log-level=WARNING >/dev/null
	@cmake --build build/dev --target programs
	@BECKON_BIN="$(CURDIR)/build/dev/bin" $(PYTHON) tools/demo

test:
	@tools/install-packages build test
	@$(PYTHON) tools/run-tests

e2e:
	@tools/install-packages build test
	@$(PYTHON) tools/run-tests --only e2e --e2e dev $(if $(K),-k "$(K)")

one:
	@test -n "$(T)" || { echo "usage: make one T=name" >&2; exit 2; }
	@tools/install-packages build test
	@$(PYTHON) tools/run-tests --one "$(T)"

fuzz:
	@tools/install-packages build test
	@$(PYTHON) tools/run-tests --only fuzz --fuzz-seconds $(FUZZ_SECONDS) --fuzz-runs $(FUZZ_RUNS) --fuzz-target "$(T)"

model:
	@tools/install-packages model
	@$(PYTHON) tests/model/run $(P)

matrix:
	@tools/install-packages build test
	@cmake --preset dev --log-level=WARNING >/dev/null
	@cmake --build build/dev --target programs
	@BECKON_BIN="$(CURDIR)/build/dev/bin" $(PYTHON) tools/matrix $(if $(TRIES),--punch-tries $(TRIES)) $(if $(RELAY),--relay $(RELAY))

keepalive:
	@tools/install-packages build test
	@cmake --preset dev --log-level=WARNING >/dev/null
	@cmake --build build/dev --target programs
	@BECKON_BIN="$(CURDIR)/build/dev/bin" $(PYTHON) tools/keepalive

bench:
	@tools/install-packages build bench
	@cmake --preset release --log-level=WARNING >/dev/null
	@cmake --build build --target programs bench-tools
	@$(PYTHON) bench/run $(if $(QUICK),--quick) $(if $(ONLY),--only "$(ONLY)")

size:
	@tools/install-packages build bench
	@cmake --preset release --log-level=WARNING >/dev/null
	@cmake --build build --target programs
	@cmake --preset tiny --log-level=WARNING >/dev/null
	@cmake --build build/tiny --target programs
	@$(PYTHON) bench/sizes.py build/bin build/tiny/bin

coverage:
	@tools/install-packages build test
	@tools/coverage

lint:
	@tools/install-packages build lint
	@tools/lint

install: all
	@DESTDIR="$(DESTDIR)" cmake --install build

clean:
	rm -rf build

help:
	@echo "make                 the release, into build/bin"
	@echo "make demo            the reference network, a call through it, packets and tables beside the reference's"
	@echo "make test            every test: unit, simulation, fuzz targets, laboratory; with sanitizers"
	@echo "make e2e [K=expr]    the laboratory alone, with optimised programs"
	@echo "make one T=name      the tests with that in their name"
	@echo "make fuzz [FUZZ_SECONDS=60] [T=word]   the fuzz targets, so many seconds each"
	@echo "make fuzz FUZZ_RUNS=10000000   until each has executed so many inputs; goes on where it was interrupted"
	@echo "make model [P=word]  the protocol's models against their attackers, with spin: minutes"
	@echo "make matrix [TRIES=20] [RELAY=coturn]  calls between every two kinds of networks; TRIES where holes are punched"
	@echo "make keepalive        what a waiting device sends a day, by the NAT's patience: half an hour of captures"
	@echo "make bench [QUICK=1] [ONLY=name,name]  every figure beside what it is compared with; a report in build/bench"
	@echo "make size             how large the programs are, also built for size (build/tiny), and which libraries they need"
	@echo "make coverage        lines and branches of the pure layers that unit tests and simulation reach"
	@echo "make lint            layers, format, limits, warnings of both compilers, static analysis"
	@echo "make install [PREFIX=/usr/local] [DESTDIR=]"
	@echo "make clean           removes build/"
	@echo
	@echo "demo and test need root on Debian 12 and install what is missing themselves; plain make needs"
	@echo "what \"tools/install-packages build\" installs."
