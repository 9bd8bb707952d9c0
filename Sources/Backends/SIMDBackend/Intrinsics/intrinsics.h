/* intrinsics.h - the instruction set's own header as Swift sees it.
 *
 * Swift imports an intrinsic that is a function and not one that is a macro (those whose last
 * argument is an immediate), so the few macros that the kernels need are wrapped here. */
#ifndef CABOCHON_SIMD_INTRINSICS_H
#define CABOCHON_SIMD_INTRINSICS_H

#include <stdint.h>
#if defined(__x86_64__)
#include <cpuid.h>
#endif

#define CABOCHON_SIMD_INLINE static inline __attribute__((always_inline))

/* Asks for a line of memory ahead of its use, into every cache or the second-level one only. Any address will do:
 * where nothing is mapped, nothing happens. */
CABOCHON_SIMD_INLINE void cabochon_simd_prefetch(const void *address) { __builtin_prefetch(address, 0, 3); }
CABOCHON_SIMD_INLINE void cabochon_simd_prefetch_far(const void *address) { __builtin_prefetch(address, 0, 2); }

/* The processor's family, of AMD's only; 0 for others. */
CABOCHON_SIMD_INLINE uint32_t cabochon_simd_amd_family(void) {
#if defined(__x86_64__)
    uint32_t a, b, c, d;
    if (!__get_cpuid(0, &a, &b, &c, &d) || b != signature_AMD_ebx || !__get_cpuid(1, &a, &b, &c, &d)) return 0;
    return (a >> 8 & 15) + (a >> 20 & 255);
#else
    return 0;
#endif
}

/* Adds to a count that several threads share, and returns what it was. */
CABOCHON_SIMD_INLINE uint64_t cabochon_simd_take(uint64_t *count, uint64_t more) {
    return __atomic_fetch_add(count, more, __ATOMIC_RELAXED);
}

#if defined(__x86_64__)
#include <immintrin.h>
#if defined(__AMX_INT8__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

#if defined(__AVX512F__)
CABOCHON_SIMD_INLINE __m256i cabochon_x86_half_from_float_512(__m512 values) {
    return _mm512_cvtps_ph(values, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}

CABOCHON_SIMD_INLINE __m512 cabochon_x86_add_brain_float_products_512(__m512 sum, __m512i left, __m512i right) {
    return _mm512_dpbf16_ps(sum, (__m512bh)left, (__m512bh)right);
}
CABOCHON_SIMD_INLINE __m256i cabochon_x86_brain_floats_from_512(__m512 values) {
    return (__m256i)_mm512_cvtneps_pbh(values);
}
/* Those of `low` first. */
CABOCHON_SIMD_INLINE __m512i cabochon_x86_brain_floats_from_both_512(__m512 low, __m512 high) {
    return (__m512i)_mm512_cvtne2ps_pbh(high, low);
}

CABOCHON_SIMD_INLINE __mmask16 cabochon_x86_less_512(__m512 left, __m512 right) {
    return _mm512_cmp_ps_mask(left, right, _CMP_LT_OQ);
}

/* Lanes where left > right, or where either is no number. */
CABOCHON_SIMD_INLINE __mmask16 cabochon_x86_not_at_most_512(__m512 left, __m512 right) {
    return _mm512_cmp_ps_mask(left, right, _CMP_NLE_UQ);
}

/* Lanes 0...7 of both, then lanes 8...15 of both. */
CABOCHON_SIMD_INLINE __m512 cabochon_x86_low_halves_512(__m512 left, __m512 right) {
    return _mm512_shuffle_f32x4(left, right, 0x44);
}
CABOCHON_SIMD_INLINE __m512 cabochon_x86_high_halves_512(__m512 left, __m512 right) {
    return _mm512_shuffle_f32x4(left, right, 0xee);
}
/* Of each, quarters 0 and 2, and quarters 1 and 3. */
CABOCHON_SIMD_INLINE __m512 cabochon_x86_even_quarters_512(__m512 left, __m512 right) {
    return _mm512_shuffle_f32x4(left, right, 0x88);
}
CABOCHON_SIMD_INLINE __m512 cabochon_x86_odd_quarters_512(__m512 left, __m512 right) {
    return _mm512_shuffle_f32x4(left, right, 0xdd);
}
/* Inside each quarter: elements 0, 1 of both, and elements 2, 3 of both. */
CABOCHON_SIMD_INLINE __m512 cabochon_x86_low_pairs_512(__m512 left, __m512 right) {
    return _mm512_shuffle_ps(left, right, 0x44);
}
CABOCHON_SIMD_INLINE __m512 cabochon_x86_high_pairs_512(__m512 left, __m512 right) {
    return _mm512_shuffle_ps(left, right, 0xee);
}
/* Inside each quarter: elements 0, 2 of both, and elements 1, 3 of both. */
CABOCHON_SIMD_INLINE __m512 cabochon_x86_even_elements_512(__m512 left, __m512 right) {
    return _mm512_shuffle_ps(left, right, 0x88);
}
CABOCHON_SIMD_INLINE __m512 cabochon_x86_odd_elements_512(__m512 left, __m512 right) {
    return _mm512_shuffle_ps(left, right, 0xdd);
}
#endif

#if defined(__AMX_INT8__)
/* Asks the system for the tiles of AMX, on behalf of all of the process; 0 where it agrees. */
CABOCHON_SIMD_INLINE long cabochon_x86_ask_for_tiles(void) {
    return syscall(SYS_arch_prctl, 0x1023 /* ARCH_REQ_XCOMP_PERM */, 18 /* tile data */);
}

/* Tiles of 16 rows by 64 bytes, this thread's until it lets go of them. */
CABOCHON_SIMD_INLINE void cabochon_x86_take_tiles(void) {
    static const struct {
        uint8_t palette, start_row, reserved[14];
        uint16_t row_bytes[16];
        uint8_t rows[16];
    } shapes = {1, 0, {0}, {64, 64, 64, 64, 64, 64, 64, 64}, {16, 16, 16, 16, 16, 16, 16, 16}};
    _tile_loadconfig(&shapes);
}
CABOCHON_SIMD_INLINE void cabochon_x86_let_go_of_tiles(void) { _tile_release(); }

/* Sums of products of digits: tile 0 of both high ones, 1 of a high and a low one, 2 of both low ones. */
CABOCHON_SIMD_INLINE void cabochon_x86_clear_sums(void) {
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
}
/* Adds 64 columns: activations [high and low][16 tokens][64], weights [high and low][16][16 rows][4]. */
CABOCHON_SIMD_INLINE void cabochon_x86_add_products(const void *activations, const void *weights) {
    _tile_loadd(3, activations, 64);
    _tile_loadd(5, weights, 64);
    _tile_dpbssd(0, 3, 5);
    _tile_loadd(6, (const char *)weights + 1024, 64);
    _tile_dpbssd(1, 3, 6);
    _tile_loadd(4, (const char *)activations + 1024, 64);
    _tile_dpbssd(2, 4, 6);
    _tile_dpbssd(1, 4, 5);
}
/* sums [3][16 tokens][16 rows] */
CABOCHON_SIMD_INLINE void cabochon_x86_store_sums(void *sums) {
    _tile_stored(0, sums, 64);
    _tile_stored(1, (char *)sums + 1024, 64);
    _tile_stored(2, (char *)sums + 2048, 64);
}

/* Sums [tile of tokens][panel][16 tokens][16 rows] of two panels, by one tile of tokens or by two. */
CABOCHON_SIMD_INLINE void cabochon_x86_clear_totals(void) {
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
}
CABOCHON_SIMD_INLINE void cabochon_x86_load_totals(const void *totals, int tiles) {
    _tile_loadd(0, totals, 64);
    _tile_loadd(1, (const char *)totals + 1024, 64);
    if (tiles == 1) return;
    _tile_loadd(2, (const char *)totals + 2048, 64);
    _tile_loadd(3, (const char *)totals + 3072, 64);
}
CABOCHON_SIMD_INLINE void cabochon_x86_store_totals(void *totals, int tiles) {
    _tile_stored(0, totals, 64);
    _tile_stored(1, (char *)totals + 1024, 64);
    if (tiles == 1) return;
    _tile_stored(2, (char *)totals + 2048, 64);
    _tile_stored(3, (char *)totals + 3072, 64);
}
/* Adds 32 columns of bfloat16: activations [16 tokens][32], weights [16][16 rows][2]. */
CABOCHON_SIMD_INLINE void cabochon_x86_add_brain_float_tiles(const void *activations, const void *others,
                                                             const void *weights, const void *other_weights,
                                                             int tiles) {
    _tile_loadd(4, activations, 64);
    _tile_loadd(6, weights, 64);
    _tile_dpbf16ps(0, 4, 6);
    _tile_loadd(7, other_weights, 64);
    _tile_dpbf16ps(1, 4, 7);
    if (tiles == 1) return;
    _tile_loadd(5, others, 64);
    _tile_dpbf16ps(2, 5, 6);
    _tile_dpbf16ps(3, 5, 7);
}

/* Lets lanes take numbers below the normal ones for zero, as tiles do; and what makes them as they were. */
CABOCHON_SIMD_INLINE uint32_t cabochon_x86_take_small_for_zero(void) {
    uint32_t before = _mm_getcsr();
    _mm_setcsr(before | 0x8040);
    return before;
}
CABOCHON_SIMD_INLINE void cabochon_x86_take_small_as_before(uint32_t before) { _mm_setcsr(before); }
#endif

#if defined(__AVX2__)
CABOCHON_SIMD_INLINE __m128i cabochon_x86_half_from_float_256(__m256 values) {
    return _mm256_cvtps_ph(values, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}

CABOCHON_SIMD_INLINE __m256 cabochon_x86_less_256(__m256 left, __m256 right) {
    return _mm256_cmp_ps(left, right, _CMP_LT_OQ);
}
/* Lanes 0...3 of both, and lanes 4...7 of both. */
CABOCHON_SIMD_INLINE __m256 cabochon_x86_low_halves_256(__m256 left, __m256 right) {
    return _mm256_permute2f128_ps(left, right, 0x20);
}
CABOCHON_SIMD_INLINE __m256 cabochon_x86_high_halves_256(__m256 left, __m256 right) {
    return _mm256_permute2f128_ps(left, right, 0x31);
}
CABOCHON_SIMD_INLINE __m256 cabochon_x86_low_pairs_256(__m256 left, __m256 right) {
    return _mm256_shuffle_ps(left, right, 0x44);
}
CABOCHON_SIMD_INLINE __m256 cabochon_x86_high_pairs_256(__m256 left, __m256 right) {
    return _mm256_shuffle_ps(left, right, 0xee);
}
CABOCHON_SIMD_INLINE __m256 cabochon_x86_even_elements_256(__m256 left, __m256 right) {
    return _mm256_shuffle_ps(left, right, 0x88);
}
CABOCHON_SIMD_INLINE __m256 cabochon_x86_odd_elements_256(__m256 left, __m256 right) {
    return _mm256_shuffle_ps(left, right, 0xdd);
}
/* The second and third of four quarters change places. */
CABOCHON_SIMD_INLINE __m256i cabochon_x86_swap_middle_quarters_256(__m256i values) {
    return _mm256_permute4x64_epi64(values, _MM_SHUFFLE(3, 1, 2, 0));
}
CABOCHON_SIMD_INLINE __m128 cabochon_x86_high_half_256(__m256 values) { return _mm256_extractf128_ps(values, 1); }
/* Sums that stay in the order that they are written in, for which the empty statements are: the compiler would load
 * or multiply all operands of a tile first, and has not the registers to keep them. */
/* sum + a pair of byte products in each 16-bit lane. */
CABOCHON_SIMD_INLINE __m256i cabochon_x86_add_byte_pairs_in_order_256(__m256i sum, __m256i codes, __m256i activations) {
    sum = _mm256_add_epi16(sum, _mm256_maddubs_epi16(codes, activations));
    __asm__ volatile("" : "+x"(sum));
    return sum;
}
CABOCHON_SIMD_INLINE __m256 cabochon_x86_multiply_add_in_order_256(__m256 left, __m256 right, __m256 sum) {
    sum = _mm256_fmadd_ps(left, right, sum);
    __asm__ volatile("" : "+x"(sum));
    return sum;
}

#if defined(__AVXVNNI__)
/* sum + two products of 16-bit numbers, and four of bytes, unsigned codes by signed values, in each lane. */
CABOCHON_SIMD_INLINE __m256i cabochon_x86_add_word_products_256(__m256i sum, __m256i left, __m256i right) {
    return _mm256_dpwssd_avx_epi32(sum, left, right);
}
CABOCHON_SIMD_INLINE __m256i cabochon_x86_add_byte_products_in_order_256(__m256i sum, __m256i codes, __m256i values) {
    sum = _mm256_dpbusd_avx_epi32(sum, codes, values);
    __asm__ volatile("" : "+x"(sum));
    return sum;
}
#endif

/* The lanes, as bits, whose left is above right, or compares with nothing. */
CABOCHON_SIMD_INLINE int cabochon_x86_not_at_most_256(__m256 left, __m256 right) {
    return _mm256_movemask_ps(_mm256_cmp_ps(left, right, _CMP_NLE_UQ));
}

/* Sixteen bytes less 128, as words. */
CABOCHON_SIMD_INLINE __m256i cabochon_x86_signed_words_256(const void *bytes) {
    __m256i words = _mm256_cvtepu8_epi16(_mm_loadu_si128((const __m128i_u *)bytes));
    return _mm256_sub_epi16(words, _mm256_set1_epi16(128));
}
/* Four words in every four. */
CABOCHON_SIMD_INLINE __m256i cabochon_x86_four_words_256(const void *words) {
    long long four;
    __builtin_memcpy(&four, words, sizeof four);
    return _mm256_set1_epi64x(four);
}
/* Sums of neighboring lanes, of left in the first half and of right in the second. */
CABOCHON_SIMD_INLINE __m256i cabochon_x86_add_neighbors_256(__m256i left, __m256i right) {
    return cabochon_x86_swap_middle_quarters_256(_mm256_hadd_epi32(left, right));
}

/* The low byte of each lane, lanes holding -128 ... 127. */
CABOCHON_SIMD_INLINE __m128i cabochon_x86_low_bytes_256(__m256i values) {
    __m128i words = _mm_packs_epi32(_mm256_castsi256_si128(values), _mm256_extracti128_si256(values, 1));
    return _mm_packs_epi16(words, words);
}
#endif

#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

#endif
