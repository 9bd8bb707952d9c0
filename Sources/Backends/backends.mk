# The SIMD backends: one library per instruction set from the same Embedded Swift sources.
# Included by the top Makefile; works alone too: make -f Sources/Backends/backends.mk BUILD=build backends

BUILD ?= build
SWIFTC ?= swiftc
CLANG ?= clang

simd_directory := Sources/Backends/SIMDBackend
simd_shared := $(wildcard $(simd_directory)/*.swift)
simd_widened := $(wildcard $(simd_directory)/WithoutBrainFloats/*.swift)
simd_dotted := $(wildcard $(simd_directory)/WithDotProducts/*.swift)
simd_float_sums := $(wildcard $(simd_directory)/WithFloatSums/*.swift)
simd_screened := $(wildcard $(simd_directory)/WithScreens/*.swift)
simd_vnni := $(wildcard $(simd_directory)/VNNI/*.swift)
simd_unmatrixed := $(wildcard $(simd_directory)/WithoutMatrices/*.swift)
simd_headers := $(wildcard $(simd_directory)/Intrinsics/*) Include/cabochon/backend.h Include/module.modulemap
simd_output := $(BUILD)/lib/cabochon
simd_objects := $(BUILD)/backends
simd_swift_flags := -enable-experimental-feature Embedded -wmo -Ounchecked -parse-as-library -swift-version 6 \
	-I $(simd_directory)/Intrinsics -I Include
simd_machine := $(shell uname -m)

# Swift's own code generation takes -target-cpu, the imported intrinsics the flags after -Xcc.
simd_avx512_flags := -Xfrontend -target-cpu -Xfrontend cooperlake -Xcc -march=x86-64-v4 -Xcc -mavx512vnni -Xcc -mavx512bf16
simd_amx_flags := $(simd_avx512_flags) -Xcc -mamx-tile -Xcc -mamx-int8 -Xcc -mamx-bf16
simd_avx2_flags := -Xfrontend -target-cpu -Xfrontend haswell -Xcc -march=x86-64-v3
simd_avxvnni_flags := $(simd_avx2_flags) -Xcc -mavxvnni

simd_avx512_constants := -DSIMD_NAME='"avx512"' -DSIMD_PRIORITY=30 -DSIMD_SCREENS=CABOCHON_BACKEND_SCREENS \
	-DSIMD_CPU_FEATURES='(CABOCHON_CPU_AVX2|CABOCHON_CPU_FMA|CABOCHON_CPU_F16C|CABOCHON_CPU_AVX512|CABOCHON_CPU_AVX512_VNNI)'
simd_amx_constants := -DSIMD_NAME='"amx"' -DSIMD_PRIORITY=35 -DSIMD_SCREENS=CABOCHON_BACKEND_SCREENS \
	-DSIMD_CPU_FEATURES='(CABOCHON_CPU_AVX2|CABOCHON_CPU_FMA|CABOCHON_CPU_F16C|CABOCHON_CPU_AVX512|CABOCHON_CPU_AVX512_VNNI|CABOCHON_CPU_AVX512_BF16|CABOCHON_CPU_AMX_INT8|CABOCHON_CPU_AMX_BF16)'
simd_avxvnni_constants := -DSIMD_NAME='"avxvnni"' -DSIMD_PRIORITY=25 -DSIMD_SCREENS=CABOCHON_BACKEND_SCREENS \
	-DSIMD_CPU_FEATURES='(CABOCHON_CPU_AVX2|CABOCHON_CPU_FMA|CABOCHON_CPU_F16C|CABOCHON_CPU_AVX_VNNI)'
simd_avx2_constants := -DSIMD_NAME='"avx2"' -DSIMD_PRIORITY=20 -DSIMD_SCREENS=CABOCHON_BACKEND_SCREENS \
	-DSIMD_CPU_FEATURES='(CABOCHON_CPU_AVX2|CABOCHON_CPU_FMA|CABOCHON_CPU_F16C)'

# Compiled, and linked into a library where make itself runs on arm64; Embedded Swift's only arm64
# target is bare metal, whose objects follow the same calling convention.
simd_neon_flags := -target aarch64-none-none-elf -Xcc -march=armv8.2-a+dotprod -Xcc -fPIC
simd_neon_constants := -DSIMD_NAME='"neon"' -DSIMD_PRIORITY=20 -DSIMD_SCREENS=0 \
	-DSIMD_CPU_FEATURES='(CABOCHON_CPU_NEON|CABOCHON_CPU_DOTPROD)'

.PHONY: backends
ifeq ($(simd_machine),x86_64)
backends: $(patsubst %,$(simd_output)/libcabochon-%.so,amx avx512 avxvnni avx2)
else
backends: $(simd_output)/libcabochon-neon.so
endif

# swiftc leaves a file with the same bytes as it was, with its old time: touched, or make would compile it every time.
$(simd_objects)/amx.o: $(simd_shared) $(simd_widened) $(simd_dotted) $(simd_vnni) $(simd_screened) \
		$(filter-out %/BrainFloatPairs.swift,$(wildcard $(simd_directory)/AVX512/*.swift)) \
		$(wildcard $(simd_directory)/AMX/*.swift) $(simd_headers)
	@mkdir -p $(@D)
	$(SWIFTC) $(simd_swift_flags) $(simd_amx_flags) -module-name amx -emit-object $(filter %.swift,$^) -o $@
	@touch $@

$(simd_objects)/avx512.o: $(simd_shared) $(simd_unmatrixed) $(simd_dotted) $(simd_float_sums) $(simd_vnni) $(simd_screened) \
		$(wildcard $(simd_directory)/AVX512/*.swift) $(simd_headers)
	@mkdir -p $(@D)
	$(SWIFTC) $(simd_swift_flags) $(simd_avx512_flags) -module-name avx512 -emit-object $(filter %.swift,$^) -o $@
	@touch $@

$(simd_objects)/avxvnni.o: $(simd_shared) $(simd_unmatrixed) $(simd_widened) $(simd_dotted) $(simd_float_sums) $(simd_vnni) $(simd_screened) \
		$(wildcard $(simd_directory)/AVX2/*.swift $(simd_directory)/AVXVNNI/*.swift) $(simd_headers)
	@mkdir -p $(@D)
	$(SWIFTC) $(simd_swift_flags) $(simd_avxvnni_flags) -module-name avxvnni -emit-object $(filter %.swift,$^) -o $@
	@touch $@

$(simd_objects)/avx2.o: $(simd_shared) $(simd_unmatrixed) $(simd_widened) $(simd_screened) \
		$(wildcard $(simd_directory)/AVX2/*.swift $(simd_directory)/WithoutDotProducts/*.swift) $(simd_headers)
	@mkdir -p $(@D)
	$(SWIFTC) $(simd_swift_flags) $(simd_avx2_flags) -module-name avx2 -emit-object $(filter %.swift,$^) -o $@
	@touch $@

$(simd_objects)/neon.o: $(simd_shared) $(simd_unmatrixed) $(simd_widened) $(simd_dotted) $(simd_float_sums) $(wildcard $(simd_directory)/NEON/*.swift) $(simd_headers)
	@mkdir -p $(@D)
	$(SWIFTC) $(simd_swift_flags) $(simd_neon_flags) -module-name neon -emit-object $(filter %.swift,$^) -o $@
	@touch $@

$(simd_objects)/%-descriptor.o: $(simd_directory)/descriptor.c Include/cabochon/backend.h Sources/Backends/backends.mk
	@mkdir -p $(@D)
	$(CLANG) -O2 -fPIC -std=c11 -Wall -Wextra -I Include $(simd_$*_constants) -c $< -o $@

$(simd_output)/libcabochon-%.so: $(simd_objects)/%.o $(simd_objects)/%-descriptor.o $(simd_directory)/backend.map
	@mkdir -p $(@D)
	$(CLANG) -shared -nostartfiles -o $@ $(filter %.o,$^) -Wl,--version-script=$(simd_directory)/backend.map \
		-Wl,--no-undefined-version -Wl,-z,nodelete -Wl,-z,defs -Wl,--gc-sections -Wl,-s -lc

.PRECIOUS: $(simd_objects)/%.o $(simd_objects)/%-descriptor.o
