/* kernels.c - a loop of each multiply-and-add instruction on registers alone, and one of loads.
 *
 * Twelve chains that don't wait for each other: more than any processor's latency times the number
 * of its units. The operands are no constants to the compiler, so no instruction can be left out. */
#include "kernels.h"

#include "../../Include/cabochon/backend.h"

enum { CHAINS = 12 };

#if defined(__x86_64__)
#include <immintrin.h>
#include <sys/syscall.h>
#include <unistd.h>

#define ARITHMETIC(name, features, vector, element, step)                                                              \
    __attribute__((target(features))) static uint64_t name(uint64_t rounds) {                                          \
        vector sums[CHAINS] = {0}, left = {0}, right = {0};                                                            \
        __asm__ volatile("" : "+v"(left), "+v"(right));                                                                \
        for (uint64_t round = 0; round < rounds; round++) {                                                            \
            _Pragma("clang loop unroll(full)") for (int i = 0; i < CHAINS; i++) sums[i] = step;                        \
        }                                                                                                              \
        vector total = sums[0];                                                                                        \
        for (int i = 1; i < CHAINS; i++) total += sums[i];                                                             \
        return (uint64_t)((element *)&total)[0];                                                                       \
    }

ARITHMETIC(int8_vnni, "avx512f,avx512vnni", __m512i, int32_t, _mm512_dpbusd_epi32(sums[i], left, right))
ARITHMETIC(bf16_avx512, "avx512f,avx512bf16", __m512, float, _mm512_dpbf16_ps(sums[i], (__m512bh)left, (__m512bh)right))
ARITHMETIC(f32_avx512, "avx512f", __m512, float, _mm512_fmadd_ps(left, right, sums[i]))
ARITHMETIC(f32_avx2, "avx2,fma", __m256, float, _mm256_fmadd_ps(left, right, sums[i]))
ARITHMETIC(int8_avxvnni, "avx2,avxvnni", __m256i, int32_t, _mm256_dpbusd_avx_epi32(sums[i], left, right))
/* Without VNNI a product of bytes takes three instructions. Mixing the sum into an operand keeps the
 * first two of them in the loop. */
ARITHMETIC(int8_avx2, "avx2", __m256i, int32_t,
           _mm256_add_epi32(sums[i], _mm256_madd_epi16(_mm256_maddubs_epi16(_mm256_xor_si256(left, sums[i]), right),
                                                       _mm256_set1_epi16(1))))

/* AMX's tiles, sixteen rows of 64 bytes each. One product takes as long as sixteen of the vectors' and four chains hide
 * its latency, so that eight rounds of the others are one of theirs. */
enum { TILE_CHAINS = 4, ROUNDS_PER_TILE_ROUND = 8 };

#define TILE_ARITHMETIC(name, features, product)                                                                       \
    __attribute__((target("amx-tile," features))) static uint64_t name(uint64_t rounds) {                              \
        static const struct {                                                                                          \
            uint8_t palette, start_row, reserved[14];                                                                  \
            uint16_t row_bytes[16];                                                                                    \
            uint8_t rows[16];                                                                                          \
        } shapes = {1, 0, {0}, {64, 64, 64, 64, 64, 64}, {16, 16, 16, 16, 16, 16}};                                    \
        uint32_t sums[256];                                                                                            \
        _tile_loadconfig(&shapes);                                                                                     \
        _tile_zero(0);                                                                                                 \
        _tile_zero(1);                                                                                                 \
        _tile_zero(2);                                                                                                 \
        _tile_zero(3);                                                                                                 \
        _tile_zero(4);                                                                                                 \
        _tile_zero(5);                                                                                                 \
        for (uint64_t round = 0; round < rounds / ROUNDS_PER_TILE_ROUND; round++) {                                    \
            product(0, 4, 5);                                                                                          \
            product(1, 4, 5);                                                                                          \
            product(2, 4, 5);                                                                                          \
            product(3, 4, 5);                                                                                          \
        }                                                                                                              \
        _tile_stored(0, sums, 64);                                                                                     \
        _tile_release();                                                                                               \
        return sums[0];                                                                                                \
    }

TILE_ARITHMETIC(int8_amx, "amx-int8", _tile_dpbusd)
TILE_ARITHMETIC(bf16_amx, "amx-bf16", _tile_dpbf16ps)

/* Whether Linux lets the process have tiles (ARCH_REQ_XCOMP_PERM, of tile data). */
static int has_tiles(void) { return syscall(SYS_arch_prctl, 0x1023, 18) == 0; }

arithmetic_kernel arithmetic_kernel_for(enum number number, uint64_t cpu_features) {
    enum { TILE_OPERATIONS = TILE_CHAINS * 2 * 16 * 16 / ROUNDS_PER_TILE_ROUND };
    int const wide = (cpu_features & CABOCHON_CPU_AVX512) != 0;
    int const narrow = (cpu_features & CABOCHON_CPU_AVX2) && (cpu_features & CABOCHON_CPU_FMA);
    switch (number) {
    case INT8:
        if ((cpu_features & CABOCHON_CPU_AMX_INT8) && has_tiles())
            return (arithmetic_kernel){int8_amx, TILE_OPERATIONS * 64};
        if (wide && (cpu_features & CABOCHON_CPU_AVX512_VNNI)) return (arithmetic_kernel){int8_vnni, CHAINS * 128};
        if (narrow && (cpu_features & CABOCHON_CPU_AVX_VNNI)) return (arithmetic_kernel){int8_avxvnni, CHAINS * 64};
        if (narrow) return (arithmetic_kernel){int8_avx2, CHAINS * 64};
        break;
    case BF16:
        if ((cpu_features & CABOCHON_CPU_AMX_BF16) && has_tiles())
            return (arithmetic_kernel){bf16_amx, TILE_OPERATIONS * 32};
        if (wide && (cpu_features & CABOCHON_CPU_AVX512_BF16)) return (arithmetic_kernel){bf16_avx512, CHAINS * 64};
        break;
    case F32:
        if (wide) return (arithmetic_kernel){f32_avx512, CHAINS * 32};
        if (narrow) return (arithmetic_kernel){f32_avx2, CHAINS * 16};
        break;
    }
    return (arithmetic_kernel){0, 0};
}
#else
arithmetic_kernel arithmetic_kernel_for(enum number number, uint64_t cpu_features) {
    (void)number, (void)cpu_features;
    return (arithmetic_kernel){0, 0};
}
#endif

/* Sixteen bytes a load are enough to wait for memory only, on every processor. */
typedef uint64_t lanes __attribute__((vector_size(16)));

uint64_t sum_bytes(const uint8_t *data, uint64_t bytes) {
    enum { STREAMS = 8 };
    lanes sums[STREAMS] = {{0}};
    for (uint64_t at = 0; at < bytes; at += STREAMS * sizeof(lanes)) {
        const lanes *const from = (const lanes *)(const void *)(data + at);
        for (int i = 0; i < STREAMS; i++) sums[i] += from[i];
    }
    for (int i = 1; i < STREAMS; i++) sums[0] += sums[i];
    return sums[0][0] + sums[0][1];
}
