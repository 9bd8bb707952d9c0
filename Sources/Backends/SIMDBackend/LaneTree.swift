// The order of sums where every lane of a dot product has a vector of its own, of many rows or keys.
//
// `sumsOfLanes` adds the lanes of a vector in a tree: l and the one half a vector away first, then those a quarter
// away, and so on. To give the same bits, lanes are taken in an order in which partners follow each other, and sums
// that wait for their partner lie in levels, as carries of a binary counter do.

enum LaneTree {
    /// The lane that is taken `place`-th: the bits of `place` reversed, 0, 8, 4, 12 and so on of sixteen.
    @inline(__always) static func lane(_ place: Int) -> Int {
        var lane = 0
        var bit = lanes / 2
        var bits = place
        while bits != 0 {
            if bits & 1 != 0 { lane |= bit }
            bit &>>= 1
            bits &>>= 1
        }
        return lane
    }

    /// How many levels hold sums that have waited for those of place `place`: each is added, and the total goes to the
    /// level behind them.
    @inline(__always) static func waitingLevels(_ place: Int) -> Int { (~place).trailingZeroBitCount }
}
