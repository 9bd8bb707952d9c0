// MergeHeap.swift - the merges that are possible, best first.
//
// A binary heap over keys that order as the rule of the merges does, so that one comparison of
// integers decides.

/// Candidate merges, the best first: the highest score, then the leftmost.
struct MergeHeap: ~Copyable {
    struct Candidate: BitwiseCopyable {
        /// Upper half: the score, turned so that better is smaller; lower half: the left symbol's offset.
        let key: UInt64
        private let sizeAndID: (Int32, Int32)

        @inline(__always)
        init(score: Float, left: Int, size: Int, id: Int32) {
            let bits = score.bitPattern
            let ascending = bits & 0x8000_0000 == 0 ? bits | 0x8000_0000 : ~bits
            key = UInt64(~ascending) << 32 | UInt64(UInt32(truncatingIfNeeded: left))
            sizeAndID = (Int32(truncatingIfNeeded: size), id)
        }

        var left: Int { Int(UInt32(truncatingIfNeeded: key)) }
        var size: Int { Int(sizeAndID.0) }
        var id: Int32 { sizeAndID.1 }
    }

    private var candidates = CheckedArray<Candidate>()

    @inline(__always)
    mutating func push(_ candidate: Candidate) throws(CabochonError) {
        try candidates.append(candidate, "merges of a text")
        let heap = candidates.elements
        var child = heap.count - 1
        while child > 0 {
            let parent = (child - 1) / 2
            if heap[parent].key <= candidate.key { break }
            heap[child] = heap[parent]
            child = parent
        }
        heap[child] = candidate
    }

    @inline(__always)
    mutating func popFirst() -> Candidate? {
        guard let first = candidates.elements.first, let last = candidates.elements.last else { return nil }
        candidates.removeLast(1)
        let heap = candidates.elements
        if heap.isEmpty { return first }
        var parent = 0
        while true {
            var child = 2 * parent + 1
            if child >= heap.count { break }
            if child + 1 < heap.count, heap[child + 1].key < heap[child].key { child += 1 }
            if last.key <= heap[child].key { break }
            heap[parent] = heap[child]
            parent = child
        }
        heap[parent] = last
        return first
    }
}
