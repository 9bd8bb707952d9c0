# blas.mk - the BLAS backend: Embedded Swift, which needs no Swift at run time; it opens OpenBLAS itself.
#
# clang comes with the Swift toolchain. -nostartfiles keeps the C runtime's own constructors out, for a
# plugin runs nothing until the host has read its descriptor; -z nodelete since nothing unloads it.

BLAS_FOLDER := Sources/Backends/BLASBackend
BLAS_BACKEND := $(BUILD)/lib/cabochon/libcabochon-blas.so
BACKENDS += $(BLAS_BACKEND)

# Norms and GELU have the scalar ops' bits because they are computed by the same sources.
BLAS_SOURCES := $(wildcard $(BLAS_FOLDER)/*.swift) \
    $(addprefix Sources/Backends/ScalarBackend/,GELU.swift Normalize.swift Vector.swift)

$(BUILD)/backends/blas.o: $(BLAS_SOURCES) $(BLAS_FOLDER)/OpenBLAS/openblas.h Include/cabochon/backend.h
	@mkdir -p $(@D)
	swiftc -enable-experimental-feature Embedded -wmo -Ounchecked -parse-as-library -swift-version 6 \
	    -module-name BLASBackend -I Include -I $(BLAS_FOLDER)/OpenBLAS -Xcc -fPIC \
	    -emit-object $(BLAS_SOURCES) -o $@
	@touch $@

$(BUILD)/backends/blas-plugin.o: $(BLAS_FOLDER)/plugin.c Include/cabochon/backend.h
	@mkdir -p $(@D)
	clang -std=c11 -O2 -Wall -Wextra -fPIC -I Include -c $< -o $@

$(BLAS_BACKEND): $(BUILD)/backends/blas.o $(BUILD)/backends/blas-plugin.o $(BLAS_FOLDER)/backend.map
	@mkdir -p $(@D)
	clang -shared -nostartfiles -o $@ $(filter %.o,$^) -Wl,--version-script=$(BLAS_FOLDER)/backend.map \
	    -Wl,--no-undefined -Wl,--gc-sections -Wl,-z,nodelete -Wl,-z,noexecstack -lm -lc
