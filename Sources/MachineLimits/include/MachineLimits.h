/* MachineLimits.h - what this machine can do at best: bytes read from memory and operations per
 * second, for `cabochon bench --limits`. Not part of the library. C because a function here picks
 * its own instruction set, which a Swift function cannot. */
#ifndef MACHINE_LIMITS_H
#define MACHINE_LIMITS_H

#include <stdint.h>

typedef struct {
    double read_bytes; /* a second, from memory, over four passes of 512 MiB */
    /* Operations a second on registers alone, a multiplication and an addition being two; 0 where
     * the processor has no instruction for it that is known here. */
    double int8_operations;
    double bf16_operations;
    double f32_operations;
} cabochon_limits;

/* Takes about a third of a second where each thread has a processor to itself, and 512 MiB that it keeps
 * for the next call. threads: no more than there are such processors, or it is measured how they take
 * turns. cpu_features: bits CABOCHON_CPU_ of cabochon/backend.h. Returns 0, or errno where memory or threads
 * were refused. One thread at a time. */
int cabochon_limits_measure(uint32_t threads, uint64_t cpu_features, cabochon_limits *out_limits);

#endif
