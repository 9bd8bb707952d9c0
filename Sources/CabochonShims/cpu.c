#include "CabochonShims.h"

#include "../../Include/cabochon/backend.h"

#if defined(__x86_64__)
#include <cpuid.h>

static uint64_t enabled_state(void) {
    uint32_t low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return ((uint64_t)high << 32) | low;
}

uint64_t cabochon_shim_cpu_features(void) {
    uint32_t a, b, c, d, features = 0;
    struct {
        uint32_t a, b, c, d;
    } extended;
    if (!__get_cpuid(1, &a, &b, &c, &d)) return 0;
    uint32_t const fma = c & bit_FMA, f16c = c & bit_F16C, movbe = c & bit_MOVBE;
    /* The operating system must save the wide registers (XCR0), or using them faults or loses them. */
    if (!(c & bit_OSXSAVE) || (enabled_state() & 0x6) != 0x6) return 0;
    uint64_t const wide = enabled_state() & 0xe6, tiles = enabled_state() & 0x60000;
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return 0;
    /* Products of bfloat16 and of bytes, and the tiles themselves; cpuid.h has no names for them. */
    uint32_t const amx_bf16 = 1u << 22, amx_int8 = 1u << 25, amx = 1u << 24;
    int const has_tiles = (d & amx) && tiles == 0x60000;
    uint64_t result = (fma ? CABOCHON_CPU_FMA : 0) | (f16c ? CABOCHON_CPU_F16C : 0);
    /* Compilers that may use AVX2 for x86-64-v3 use these as well; a hypervisor can mask each by itself. */
    uint32_t const avx2 = bit_AVX2 | bit_BMI | bit_BMI2;
    uint32_t const lzcnt =
        __get_cpuid(0x80000001, &extended.a, &extended.b, &extended.c, &extended.d) ? extended.c & bit_LZCNT : 0;
    if ((b & avx2) == avx2 && movbe && lzcnt) result |= CABOCHON_CPU_AVX2;
    if (__get_cpuid_count(7, 1, &features, &extended.b, &extended.c, &extended.d) && (features & bit_AVXVNNI))
        result |= CABOCHON_CPU_AVX_VNNI;
    uint32_t const avx512 = bit_AVX512F | bit_AVX512BW | bit_AVX512CD | bit_AVX512DQ | bit_AVX512VL;
    if (wide == 0xe6 && (b & avx512) == avx512) {
        result |= CABOCHON_CPU_AVX512;
        if (has_tiles && (d & amx_int8)) result |= CABOCHON_CPU_AMX_INT8;
        if (has_tiles && (d & amx_bf16)) result |= CABOCHON_CPU_AMX_BF16;
        if (c & bit_AVX512VNNI) result |= CABOCHON_CPU_AVX512_VNNI;
        if (c & bit_AVX512VBMI) result |= CABOCHON_CPU_AVX512_VBMI;
        if (features & bit_AVX512BF16) result |= CABOCHON_CPU_AVX512_BF16;
    }
    return result;
}
#elif defined(__aarch64__)
#include <sys/auxv.h>

uint64_t cabochon_shim_cpu_features(void) {
    /* HWCAP_ASIMDDP is bit 20 of AT_HWCAP on Linux; NEON itself is part of the base architecture. */
    return CABOCHON_CPU_NEON | ((getauxval(AT_HWCAP) & (1ul << 20)) ? CABOCHON_CPU_DOTPROD : 0);
}
#else
uint64_t cabochon_shim_cpu_features(void) { return 0; }
#endif
