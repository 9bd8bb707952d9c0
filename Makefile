# Makefile - builds what a user installs, runs every test, and shows it working.
#
# SwiftPM builds the engine, the C ABI and the command line; the rules here add what it cannot: the
# SIMD backends (the same sources compiled once for each instruction set), the BLAS backend, and the
# staging of everything under build/ in the layout of an installation, so that a development build
# finds its own parts.
#
# The parts with rules of their own bring a fragment, included below, which adds to:
#   BACKENDS         backend libraries, as files in $(BUILD)/lib/cabochon; or prerequisites of `backends`
#   TEST_PROGRAMS    C test programs; run without arguments, 0 is a pass
#   BACKEND_CHECKER  the program that takes a backend library's path and checks its every op

.DEFAULT_GOAL := help
SHELL := /bin/bash
.DELETE_ON_ERROR:

BUILD := build
PREFIX ?= /usr/local
CFLAGS ?= -O2 -g -Wall -Wextra
JOBS ?= 2
# Where SwiftPM keeps its own; .build is its default.
SCRATCH ?= .build
PYTHON := $(BUILD)/venv/bin/python

# One source for the version: the macros that clients compile against.
version_part = $(shell awk '$$2 == "CABOCHON_VERSION_$(1)" { print $$3 }' Include/cabochon/cabochon.h 2>/dev/null)
MAJOR := $(or $(call version_part,MAJOR),1)
VERSION := $(MAJOR).$(or $(call version_part,MINOR),0).$(or $(call version_part,PATCH),0)

STAGED_LIBRARY := $(BUILD)/lib/libcabochon.so.$(MAJOR)
STAGED_PROGRAM := $(BUILD)/bin/cabochon
STAGED_HEADERS := $(patsubst Include/%,$(BUILD)/include/%,$(wildcard Include/cabochon/*.h))
STAGED := $(STAGED_LIBRARY) $(BUILD)/lib/libcabochon.so $(STAGED_PROGRAM) $(STAGED_HEADERS)

BACKENDS :=
TEST_PROGRAMS :=
BACKEND_CHECKER :=
BAD_PLUGINS :=

BUILD_PACKAGES := binutils gcc libc6-dev libopenblas-openmp-dev python3 python3-venv
TEST_PACKAGES := cmake g++ git libffi-dev pkg-config

-include Sources/Backends/backends.mk
-include Sources/Backends/BLASBackend/blas.mk
-include Tests/Backends/backends-tests.mk
-include Tests/ABI/abi-tests.mk

.PHONY: help
help:  ## this list
	@echo "Cabochon $(VERSION): Gemma 2 and Gemma 3 on CPUs"
	@echo
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo
	@echo "PREFIX ($(PREFIX)) and DESTDIR say where make install puts things."

# --- build ---

.PHONY: build
build: $(STAGED) backends  ## release build into build/
	@echo "Cabochon $(VERSION) is built:" $(STAGED_PROGRAM) $(STAGED_LIBRARY) $(BUILD)/lib/cabochon/*.so

.PHONY: backends
backends: $(BACKENDS)

# SwiftPM knows its own dependencies; the stamp only spares an unchanged tree the second it takes to ask.
SWIFT_INPUTS := Package.swift $(shell find Sources/Cabochon Sources/CabochonABI Sources/CabochonShims \
    Sources/Backends/ScalarBackend Sources/MachineLimits Sources/cabochon-cli Include -type f 2>/dev/null)
SWIFT_STAMP := $(BUILD)/.swift-release
SWIFT_OPTIONS := --scratch-path $(SCRATCH) --jobs $(JOBS)

# The command line carries its Swift runtime, as the library does, and runs where no Swift is installed.
$(SWIFT_STAMP): $(SWIFT_INPUTS)
	@mkdir -p $(BUILD)
	swift build $(SWIFT_OPTIONS) -c release --static-swift-stdlib --product CabochonABI
	swift build $(SWIFT_OPTIONS) -c release --static-swift-stdlib --product cabochon
	@touch $@

$(STAGED_LIBRARY): $(SWIFT_STAMP)
	@mkdir -p $(@D)
	strip --strip-unneeded -o $@ $(SCRATCH)/release/libCabochonABI.so

$(BUILD)/lib/libcabochon.so: $(STAGED_LIBRARY)
	@ln -sf $(notdir $<) $@

$(STAGED_PROGRAM): $(SWIFT_STAMP)
	@mkdir -p $(@D)
	strip -o $@ $(SCRATCH)/release/cabochon

$(BUILD)/include/%: Include/%
	@mkdir -p $(@D)
	@cp $< $@

# --- test and show ---

.PHONY: setup
setup:
	@scripts/install_packages.sh $(BUILD_PACKAGES)

.PHONY: setup-test
setup-test: setup
	@scripts/install_packages.sh $(TEST_PACKAGES)

$(BUILD)/venv/.complete: Tests/requirements.txt
	@mkdir -p $(BUILD)
	python3 -m venv --clear $(BUILD)/venv
	$(PYTHON) -m pip install --quiet --disable-pip-version-check -r $<
	@touch $@

.PHONY: test
test: setup-test  ## install what the tests need, build, and run every test
	@$(MAKE) --no-print-directory run-tests

# A make of its own, so that what setup-test installs is seen by rules that look for it.
.PHONY: run-tests
run-tests: build $(TEST_PROGRAMS) $(BACKEND_CHECKER) $(BAD_PLUGINS) $(BUILD)/venv/.complete
	@scripts/run_tests.py --build $(BUILD) --python $(PYTHON) $(addprefix --program ,$(TEST_PROGRAMS)) \
	    $(addprefix --backend-checker ,$(BACKEND_CHECKER)) --swift-options="$(SWIFT_OPTIONS)" $(if $(ONLY),--only $(ONLY))

.PHONY: demo
demo: setup  ## install what it needs, build, fetch Gemma 3 270M, and stream an answer
	@$(MAKE) --no-print-directory build
	@scripts/demo.sh $(STAGED_PROGRAM)

# --- install ---

.PHONY: install
install: build  ## library, backends, headers, command line, pkg-config and CMake files to PREFIX
	scripts/install.sh $(BUILD) "$(DESTDIR)" "$(PREFIX)" $(VERSION)

.PHONY: uninstall
uninstall:  ## remove what make install put there
	scripts/uninstall.sh "$(DESTDIR)" "$(PREFIX)" $(VERSION)

# --- tidy ---

.PHONY: format
format: $(BUILD)/venv/.complete  ## lay out all Swift and C sources
	@scripts/format.sh $(PYTHON)

.PHONY: check-format
check-format: $(BUILD)/venv/.complete  ## say which sources make format would change
	@scripts/format.sh --check $(PYTHON)

.PHONY: clean
clean:  ## remove build/ and .build/
	rm -rf $(BUILD) $(SCRATCH)
