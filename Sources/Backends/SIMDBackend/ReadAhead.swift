// Memory that will be read next, asked for line by line between products.
//
// Of keys and values one block is asked for while the block before is worked on. All at once, the requests would
// stand in the way of the loads of the products themselves. A lone token's attention, which waits for memory, takes
// 1.05 times as long where four lines are asked for before each sixteen products as with one line for each that is
// read, and 1.2 times as long again where eight rows are asked for at once (Benchmarks/attention.c).
import SIMDIntrinsics

struct ReadAhead {
    private var next: UnsafeRawPointer
    private var end: UnsafeRawPointer

    @inline(__always)
    init(_ start: UnsafeRawPointer, bytes: Int) {
        next = start
        end = start + bytes
    }

    /// Lines that have not been asked for.
    @inline(__always) var lines: Int { (end - next) / 64 }

    /// What queries `query` ..< `query` + `few` of `count` ask for.
    @inline(__always)
    func share(_ query: Int, _ few: Int, of count: Int) -> ReadAhead {
        let first = lines * query / count
        return ReadAhead(next + 64 * first, bytes: 64 * (lines * (query + few) / count - first))
    }

    /// Asks for so many lines more, or for those that are left.
    @inline(__always)
    mutating func ask(lines: Int) {
        for _ in 0..<lines where next < end {
            Prefetch.ask(for: next)
            next += 64
        }
    }

    /// Asks for as much as is read, beside vector `number` of `bytes`, a power of two: a line for those that fill one.
    @inline(__always)
    mutating func ask(beside number: Int, of bytes: Int) {
        if number % max(1, 64 / bytes) != 0 || next >= end { return }
        Prefetch.ask(for: next)
        next += 64
    }
}
