// Memory that will be read next, asked for in small pieces between products.
//
// Of keys and values one block is asked for while the block before is worked on. All at once, the requests would
// stand in the way of the loads of the products themselves; a lone token's attention, which waits for memory, takes
// 1.2 times as long with them in pieces of eight rows as with a few lines before each product.
import SIMDIntrinsics

struct ReadAhead {
    private var next: UnsafeRawPointer
    private var end: UnsafeRawPointer

    @inline(__always)
    init(_ start: UnsafeRawPointer, bytes: Int) {
        next = start
        end = start + bytes
    }

    /// What queries `query` ..< `query` + `few` of `count` ask for.
    @inline(__always)
    func share(_ query: Int, _ few: Int, of count: Int) -> ReadAhead {
        let lines = (end - next) / 64
        let first = lines * query / count
        return ReadAhead(next + 64 * first, bytes: 64 * (lines * (query + few) / count - first))
    }

    /// Asks for the next `bytes`, in whole lines, unless all is asked for.
    @inline(__always)
    mutating func ask(_ bytes: Int) {
        if next >= end { return }
        for line in 0..<(bytes + 63) / 64 { cabochon_simd_prefetch(next + 64 * line) }
        next += (bytes + 63) / 64 * 64
    }
}
