// IndexStretch.swift - the indices of a job that one thread goes through, and others take from when they are done.
//
// Neighbouring indices are neighbours in memory. A thread that takes them in order reads one stream, which is
// asked for ahead of time across their borders; taking turns over a shared counter made each index a stream of
// its own, and tokens 4 to 11 % slower. Others take from the far end.

import Synchronization

struct IndexStretch: ~Copyable {
    static let largestEnd = Int(UInt32.max)

    /// The first index in the lower half, the end in the upper.
    private let bounds = Atomic<UInt64>(0)
    /// Each in lines of its own.
    private let padding: (UInt64, UInt64, UInt64, UInt64, UInt64, UInt64, UInt64) = (0, 0, 0, 0, 0, 0, 0)

    /// - Parameter range: below `largestEnd`. Before the threads hear of the job.
    func set(_ range: Range<Int>) {
        bounds.store(UInt64(range.lowerBound) | UInt64(range.upperBound) << 32, ordering: .relaxed)
    }

    var count: Int {
        let (first, end) = Self.split(bounds.load(ordering: .relaxed))
        return Int(end) - Int(min(first, end))
    }

    func takeFirst() -> Int? { take { (first, _) in (first, 1) } }

    func takeLast() -> Int? { take { (_, end) in (end - 1, UInt64(bitPattern: -1 << 32)) } }

    /// - Parameter choose: which index of a stretch that is not empty, and what is added to the bounds.
    @inline(__always)
    private func take(_ choose: (UInt32, UInt32) -> (index: UInt32, change: UInt64)) -> Int? {
        var old = bounds.load(ordering: .relaxed)
        while true {
            let (first, end) = Self.split(old)
            guard first < end else { return nil }
            let (index, change) = choose(first, end)
            let (exchanged, original) = bounds.weakCompareExchange(
                expected: old, desired: old &+ change, ordering: .relaxed)
            if exchanged { return Int(index) }
            old = original
        }
    }

    private static func split(_ bounds: UInt64) -> (first: UInt32, end: UInt32) {
        (UInt32(truncatingIfNeeded: bounds), UInt32(truncatingIfNeeded: bounds >> 32))
    }
}
