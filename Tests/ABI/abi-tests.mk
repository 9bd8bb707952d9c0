# abi-tests.mk - the tests of the C ABI, compiled with plain cc as a client would.
#
#   headers      cabochon.h and backend.h in every C and C++, alone and twice
#   exports      what the library shows and needs
#   layout       the structs of 1.0, byte for byte
#   contract     what a well-behaved caller is promised
#   failures     and what a call that fails leaves him
#   concurrency  and what its threads are
#   fork         and its children
#   memory       what refused memory comes to
#   hostile      what any other caller gets: a status
#   mutations    damaged checkpoints, a hundred of each kind
#   host         what is left alone in the program that loads the library
#   ffi          every function, called through libffi
#   examples     installed, compiled by strangers, run

ABI_LINKED := $(addprefix $(BUILD)/tests/abi-,layout contract failures concurrency fork memory hostile mutations)
# These two load the library themselves: what it does to a process by being loaded is their question.
ABI_LOADING := $(addprefix $(BUILD)/tests/abi-,host ffi)

TEST_PROGRAMS += Tests/ABI/headers.sh Tests/ABI/exports.sh $(ABI_LINKED) $(ABI_LOADING) Tests/ABI/examples.sh

ABI_CFLAGS = -std=c11 $(CFLAGS) -D_GNU_SOURCE -I Include \
    -DBLAS='"$(BUILD)/lib/cabochon/libcabochon-blas.so"' -DLIBRARY='"$(BUILD)/lib/libcabochon.so.1"' -DMODEL='"Tests/Fixtures/gemma2-tiny"'

$(ABI_LINKED): $(BUILD)/tests/abi-%: Tests/ABI/%.c Tests/ABI/check.h Tests/ABI/client.h \
    Include/cabochon/cabochon.h | $(BUILD)/lib/libcabochon.so
	@mkdir -p $(@D)
	$(CC) $(ABI_CFLAGS) $< -o $@ -L $(BUILD)/lib -lcabochon -Wl,-rpath,$(abspath $(BUILD))/lib -pthread

$(ABI_LOADING): $(BUILD)/tests/abi-%: Tests/ABI/%.c Tests/ABI/check.h Include/cabochon/cabochon.h
	@mkdir -p $(@D)
	$(CC) $(ABI_CFLAGS) $< -o $@ -ldl -lm $(if $(findstring ffi,$@),-lffi)

.PHONY: check-abi
check-abi: build $(ABI_LINKED) $(ABI_LOADING)  ## only the tests of the C ABI
	@for program in Tests/ABI/headers.sh Tests/ABI/exports.sh $(ABI_LINKED) $(ABI_LOADING) Tests/ABI/examples.sh; do \
	    echo "$$program"; $$program || failed=1; done; exit $${failed:-0}
