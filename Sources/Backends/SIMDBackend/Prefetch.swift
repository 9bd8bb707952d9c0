// How memory is asked for before it is read, which depends on the processor.
//
// AMD's family 25 (Zen 4, where it has AVX-512) keeps few requests for the first-level cache at a time, and asking
// for every line holds up its own prefetcher. There, lines are asked into the second-level cache: with two threads one
// token takes Q4_K 1.06 to 1.12 and Q6_K 1.06 to 1.21 times as fast from memory, 2 and 4 tokens 0.99 to 1.26 times, a
// lone token's attention 1.12 to 1.27 times. Tiles of twelve tokens are slower so (0.90), weights of whole bytes too
// (0.97), and vectors of half the size no faster but in attention. AVX2, which is there for processors without AVX-512,
// always asks into the first-level cache: on Zen 3 both are as fast, and a lone token's attention takes 1.01 to 1.11 times
// as long where each line meets a branch. The codes of bfloat16, which a lone token takes as fast as they can be read, are
// best left to the processor's prefetcher. It stops at the end of a page of 4 KiB: the first lines of the next page are
// asked for, which starts it there in time (1.21 to 1.33 times as fast).
// On family 26 asking for every line, into the first cache, is 1.8 times as fast as not asking.
// (2048 columns by 65536 rows, as Benchmarks/kernels.c has them, in turns with the build before.)
import SIMDIntrinsics

enum Prefetch {
    /// Whether the second-level cache is where memory is to be asked into.
    @inline(__always) static var sparesFirstCache: Bool { lanes == 16 && Processor.amdFamily == 25 }

    @inline(__always) static func ask(for line: UnsafeRawPointer) {
        if sparesFirstCache { cabochon_simd_prefetch_far(line) } else { cabochon_simd_prefetch(line) }
    }

    /// Asks for the beginning of the next page, once on the way through a page in steps of `bytes`.
    @inline(__always) static func askForNextPage(after place: UnsafeRawPointer, step bytes: Int) {
        let page = 4096
        let inPage = Int(bitPattern: place) & (page - 1)
        if inPage >= bytes { return }
        for line in 0..<8 { cabochon_simd_prefetch_far(place + (page - inPage + 64 * line)) }
    }
}
