// How memory is asked for before it is read, which depends on the processor.
//
// AMD's family 25 (Zen 4 with AVX-512) keeps few requests for the first-level
// cache at a time: asking for every line holds up its own prefetcher, which stops at the end of a page of 4 KiB only.
// Asking for the first lines of the next page alone, for the second-level cache, starts it there in time. One token of
// 2048 columns by 65536 rows in turns (Benchmarks/kernels.c has the same shape): Q4_K 1.22 to 1.31 times as fast with
// one thread and 1.08 to 1.15 with two, BF16 1.28 and 1.31; with two to twelve tokens, which read more slowly, up to
// 1.4 times as slow, and so would be attention, which reads out of order: it asks for every line, but for the
// second-level cache (1.27 times as fast for a lone token). On family 26 asking for every line is 1.8 times as fast as
// not asking.
import SIMDIntrinsics

enum Prefetch {
    /// Whether memory is asked into the second-level cache, and where a lone token goes through it in order the
    /// beginnings of pages only; set before the first op.
    nonisolated(unsafe) static var sparesFirstCache = false

    /// Vectors of half the size read as fast as memory gives where every line is asked for.
    static func chooseForProcessor() { sparesFirstCache = lanes == 16 && cabochon_simd_amd_family() == 25 }

    /// Asks for a line of memory that is read too much out of order for the processor's own prefetcher.
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
