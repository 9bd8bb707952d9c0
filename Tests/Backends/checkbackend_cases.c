/* checkbackend_cases.c - cases, their random numbers and their guarded memory. */
#include "checkbackend.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { PAGE = 4096, MEMORY_LIMIT = 128, REPORT_LIMIT = 6, CANARY = 0xc5 };

check_tally *check_counts;

static char case_name[160];
static bool case_failed, case_declined, case_done;
static uint64_t random_state, case_number, reported;

static struct {
    unsigned char *pages, *start;
    size_t page_bytes, bytes;
} memory[MEMORY_LIMIT];
static size_t memory_count;

void check_begin(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(case_name, sizeof case_name, format, arguments);
    va_end(arguments);
    case_failed = case_declined = case_done = false;
    random_state = (++case_number + 1) * UINT64_C(0x9e3779b97f4a7c15);
    /* Shared with the parent, which names the case where this process dies in it. */
    snprintf(check_counts->current_case, sizeof check_counts->current_case, "%s", case_name);
}

void check_fail(const char *format, ...) {
    if (case_failed) return;
    case_failed = true;
    if (++reported > REPORT_LIMIT) return;
    char reason[256];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(reason, sizeof reason, format, arguments);
    va_end(arguments);
    printf("    FAILED %s: %s\n", case_name, reason);
    if (reported == REPORT_LIMIT) printf("    (further failures of this op are only counted)\n");
    fflush(stdout);
}

void check_returned(int32_t status) {
    if (status == CABOCHON_OP_DONE) case_done = true;
    if (status == CABOCHON_OP_DECLINED) case_declined = true;
}

void check_close(double got, double expected, double tolerance, const char *format, ...) {
    double error = fabs(got - expected);
    if (error <= tolerance) {
        if (tolerance > 0 && error / tolerance > check_counts->worst) {
            check_counts->worst = error / tolerance;
            snprintf(check_counts->worst_case, sizeof check_counts->worst_case, "%s", case_name);
        }
        return;
    }
    char place[96];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(place, sizeof place, format, arguments);
    va_end(arguments);
    check_fail("%s is %.9g, not %.9g (off by %.3g, tolerance %.3g)", place, got, expected, error, tolerance);
}

void check_end(void) {
    for (size_t i = 0; i < memory_count; i++) {
        for (unsigned char *byte = memory[i].pages; byte < memory[i].start; byte++) {
            if (*byte != CANARY) {
                check_fail("byte %td in front of a buffer was written", byte - memory[i].start);
                break;
            }
        }
        munmap(memory[i].pages, memory[i].page_bytes + PAGE);
    }
    memory_count = 0;
    if (case_failed) check_counts->failed++;
    else if (case_declined && !case_done) check_counts->declined++;
    else check_counts->passed++;
}

/* xorshift64*: Marsaglia 2003 with Vigna's multiplier. */
uint64_t check_random(void) {
    random_state ^= random_state >> 12;
    random_state ^= random_state << 25;
    random_state ^= random_state >> 27;
    return random_state * UINT64_C(0x2545f4914f6cdd1d);
}

uint64_t check_random_below(uint64_t bound) { return (check_random() >> 32) % bound; }

double check_random_normal(void) {
    /* The sum of twelve uniform numbers less six: near enough, and never beyond 6. */
    double sum = -6;
    for (int i = 0; i < 12; i++) sum += (double)(check_random() >> 11) * 0x1p-53;
    return sum;
}

void *check_memory(size_t bytes) {
    size_t page_bytes = (bytes / PAGE + 1) * PAGE;
    unsigned char *pages = mmap(NULL, page_bytes + PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (pages == MAP_FAILED || memory_count == MEMORY_LIMIT) {
        fprintf(stderr, "checkbackend: no memory for its own buffers\n");
        exit(2);
    }
    mprotect(pages + page_bytes, PAGE, PROT_NONE);
    unsigned char *start = pages + page_bytes - bytes;
    memset(pages, CANARY, page_bytes - bytes);
    for (size_t at = 0; at < bytes; at += 4)
        memcpy(start + at, &(uint32_t){CHECK_UNTOUCHED}, bytes - at < 4 ? bytes - at : 4);
    memory[memory_count].pages = pages;
    memory[memory_count].start = start;
    memory[memory_count].page_bytes = page_bytes;
    memory[memory_count++].bytes = bytes;
    return start;
}

float *check_floats(uint64_t count) { return check_memory(count * sizeof(float)); }

void check_freeze(const void *start) {
    for (size_t i = 0; i < memory_count; i++) {
        if (memory[i].start == start) mprotect(memory[i].pages, memory[i].page_bytes, PROT_READ);
    }
}

bool check_untouched(const float *values, uint64_t count) {
    for (uint64_t i = 0; i < count; i++) {
        if (memcmp(&values[i], &(uint32_t){CHECK_UNTOUCHED}, 4) != 0) return false;
    }
    return true;
}

check_matrix check_output(uint64_t rows, uint64_t columns, uint64_t stride) {
    return (check_matrix){check_floats((rows - 1) * stride + columns), rows, columns, stride};
}

check_matrix check_input(uint64_t rows, uint64_t columns, uint64_t stride) {
    check_matrix matrix = check_output(rows, columns, stride);
    for (uint64_t row = 0; row < rows; row++) {
        float *values = matrix.values + row * stride;
        for (uint64_t column = 0; column < columns; column++) values[column] = (float)check_random_normal();
        switch ((row + case_number) % 11) {
        case 3:
            values[check_random_below(columns)] = 3000;
            break;
        case 5:
            memset(values, 0, columns * sizeof(float));
            break;
        case 7:
            for (uint64_t column = 0; column < columns; column++) values[column] = -0.7f;
            break;
        case 1:
            for (uint64_t column = 0; column < columns; column++) values[column] *= 1e-25f;
            break;
        case 9:
            for (uint64_t column = 0; column < columns; column++) values[column] *= 1e-40f;
            break;
        default:
            break;
        }
    }
    check_freeze(matrix.values);
    return matrix;
}

const float *check_gain(uint64_t count) {
    float *gain = check_floats(count);
    for (uint64_t i = 0; i < count; i++) gain[i] = (float)(1 + 0.5 * check_random_normal());
    check_freeze(gain);
    return gain;
}

void check_gaps(check_matrix matrix, const char *name) {
    for (uint64_t row = 0; row + 1 < matrix.rows; row++) {
        const float *gap = matrix.values + row * matrix.stride + matrix.columns;
        if (!check_untouched(gap, matrix.stride - matrix.columns)) {
            check_fail("%s: the gap after row %llu was written", name, (unsigned long long)row);
            return;
        }
    }
}

void check_same_bits(check_matrix got, check_matrix expected, const char *what) {
    for (uint64_t row = 0; row < expected.rows; row++) {
        const float *left = got.values + row * got.stride, *right = expected.values + row * expected.stride;
        for (uint64_t column = 0; column < expected.columns; column++) {
            if (memcmp(&left[column], &right[column], sizeof(float)) != 0) {
                check_fail("%s: element [%llu, %llu] is %.9g, and %.9g in one call on one thread", what,
                           (unsigned long long)row, (unsigned long long)column, left[column], right[column]);
                return;
            }
        }
    }
}
