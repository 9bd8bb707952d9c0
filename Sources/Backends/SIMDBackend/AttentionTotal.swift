// The merging of spans, and the end of a softmax.

/// The state of a query over the spans seen so far, in memory of its own: sums, then the largest score and the weight.
struct AttentionTotal {
    private let sums: UnsafeMutablePointer<Float>  // [width]
    private let width: Int
    private var largest: UnsafeMutablePointer<Float> { sums + width }
    private var weight: UnsafeMutablePointer<Float> { sums + width + 1 }

    static func floats(width: Int) -> Int { width + 16 }

    /// As `memory` holds it.
    init(_ memory: UnsafeMutablePointer<Float>, width: Int) {
        sums = memory
        self.width = width
    }

    /// Before the first span.
    func clear() {
        for place in 0..<width / lanes { storeFloats(broadcast(Float(0)), sums + place * lanes) }
        largest.pointee = lowest
        weight.pointee = 0
    }

    /// What a tile has of one span.
    func set(_ tile: AttentionTile, _ query: Int) {
        let source = tile.sums + query * width
        for place in 0..<width / lanes { storeFloats(loadFloats(source + place * lanes), sums + place * lanes) }
        largest.pointee = tile.largest[query]
        weight.pointee = tile.weights[query]
    }

    func merge(_ tile: AttentionTile, _ query: Int) {
        merge(tile.sums + query * width, largest: tile.largest[query], weight: tile.weights[query])
    }

    func merge(_ next: AttentionTotal) {
        merge(next.sums, largest: next.largest.pointee, weight: next.weight.pointee)
    }

    /// Adds the next span. One that the query sees nothing of has no weight, and changes nothing; a weight that is no
    /// number spreads.
    private func merge(_ other: UnsafePointer<Float>, largest otherLargest: Float, weight otherWeight: Float) {
        if otherWeight == 0 { return }
        let now = max(largest.pointee, otherLargest)
        let mine = exponential(broadcast(largest.pointee - now))
        let its = exponential(broadcast(otherLargest - now))
        for place in 0..<width / lanes {
            let scaled = multiply(loadFloats(other + place * lanes), its)
            storeFloats(multiplyAdd(loadFloats(sums + place * lanes), mine, scaled), sums + place * lanes)
        }
        weight.pointee = weight.pointee * firstLane(mine) + otherWeight * firstLane(its)
        largest.pointee = now
    }

    /// output[head_size] = sums / weight.
    func finish(_ output: UnsafeMutablePointer<Float>, headSize: Int) {
        let divisor = broadcast(weight.pointee)
        var place = 0
        while place < headSize {
            let value = divide(loadFloats(sums + place), divisor)
            storeFloats(value, output + place, first: min(lanes, headSize - place))
            place += lanes
        }
    }
}
