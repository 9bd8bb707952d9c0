# backends-tests.mk - checkbackend, which checks backends op by op, and the plugins it must refuse.
#
# The C here is compiled with plain cc: nothing of it needs Swift, which is what a plugin's author has.

CHECK_BACKEND := $(BUILD)/tests/checkbackend
# Without arguments it checks the scalar backend, so it is a test program as well.
TEST_PROGRAMS += $(CHECK_BACKEND)
BACKEND_CHECKER := $(CHECK_BACKEND)

CHECK_SOURCES := $(wildcard Tests/Backends/checkbackend*.c)

$(CHECK_BACKEND): $(CHECK_SOURCES) Tests/Backends/checkbackend.h Include/cabochon/backend.h \
    | $(BUILD)/tests/libcabochon-scalar-check.so
	@mkdir -p $(@D)
	$(CC) -std=c11 $(CFLAGS) -D_GNU_SOURCE -I Include $(CHECK_SOURCES) -o $@ -lm -ldl -pthread

# The scalar backend, which is a part of libcabochon.so, once more as a plugin.
SCALAR_CHECK_SOURCES := $(wildcard Sources/Backends/ScalarBackend/*.swift) Tests/Backends/scalar_plugin/ScalarPlugin.swift

$(BUILD)/tests/libcabochon-scalar-check.so: $(SCALAR_CHECK_SOURCES) $(BUILD)/tests/scalar_plugin.o
	swiftc -parse-as-library -wmo -Ounchecked -emit-library -static-stdlib -module-name ScalarPlugin -I Include \
	    $(SCALAR_CHECK_SOURCES) $(BUILD)/tests/scalar_plugin.o -o $@

$(BUILD)/tests/scalar_plugin.o: Tests/Backends/scalar_plugin/scalar_plugin.c Include/cabochon/backend.h
	@mkdir -p $(@D)
	$(CC) -std=c11 $(CFLAGS) -fPIC -I Include -c $< -o $@

# Plugins that a host must refuse, or load with care: one file each in Tests/Backends/bad_plugins.
BAD_PLUGINS := $(patsubst Tests/Backends/bad_plugins/%.c,$(BUILD)/tests/plugins/libcabochon-%.so,\
    $(wildcard Tests/Backends/bad_plugins/*.c))

.PHONY: bad-plugins
bad-plugins: $(BAD_PLUGINS)

run-tests: bad-plugins

$(BUILD)/tests/plugins/libcabochon-%.so: Tests/Backends/bad_plugins/%.c Tests/Backends/bad_plugins/bad_plugin.h \
    Include/cabochon/backend.h
	@mkdir -p $(@D)
	$(CC) -std=c11 $(CFLAGS) -fPIC -shared -I Include $< -o $@

# Backends for other processors than this one, emulated. They take too long for `make test`.

.PHONY: check-neon
check-neon: setup  ## check the NEON backend in qemu, which it installs with a cross compiler
	@scripts/check_neon.sh $(BUILD)/neon

.PHONY: check-avx512
check-avx512: setup  ## check the AVX-512 backend in Bochs, which it builds
	@$(MAKE) --no-print-directory $(CHECK_BACKEND) $(BUILD)/lib/cabochon/libcabochon-avx512.so
	@scripts/check_in_bochs.sh $(BUILD)/bochs sapphire_rapids $(CHECK_BACKEND) \
		$(BUILD)/lib/cabochon/libcabochon-avx512.so

.PHONY: check-avxvnni
check-avxvnni: setup  ## check the AVX-VNNI backend in Bochs, which it builds
	@$(MAKE) --no-print-directory $(CHECK_BACKEND) $(BUILD)/lib/cabochon/libcabochon-avxvnni.so
	@scripts/check_in_bochs.sh $(BUILD)/bochs arrow_lake $(CHECK_BACKEND) \
		$(BUILD)/lib/cabochon/libcabochon-avxvnni.so
