// HeadScreen+Selection.swift - from the copy's products to the rows that must be computed in full.

/// How long an input is, and what two products may make of it.
struct ScreenedLength {
    /// At least |x|.
    let norm: Float
    /// At least |x' - x| + |x" - x|, rounding of both products included.
    let error: Float

    /// - Parameter input: [columns], whole blocks of 32.
    init(_ input: UnsafePointer<Float>, columns: Int) {
        var (square, byteSquare, brainFloatSquare) = (0.0, 0.0, 0.0)
        for block in stride(from: 0, to: columns, by: 32) {
            let values = UnsafeBufferPointer(start: input + block, count: 32)
            let step = (values.reduce(0) { max($0, abs($1)) }) / 127
            for value in values {
                let number = Double(value)
                let byte = step > 0 ? number - Double(step) * (number / Double(step)).rounded(.toNearestOrEven) : 0
                let brainFloat = number - Double(Self.brainFloat(value))
                square += number * number
                byteSquare += byte * byte
                brainFloatSquare += brainFloat * brainFloat
            }
        }
        let norm = square.squareRoot()
        // The last term: what each product rounds, and then the interval's own ends.
        let error =
            byteSquare.squareRoot() + brainFloatSquare.squareRoot() + norm * (Double(columns) * 0x1p-21 + 0x1p-18)
        self.norm = Float(norm * (1 + 0x1p-20) + 1e-30).nextUp
        self.error = Float(error * (1 + 0x1p-12) + 1e-30).nextUp
    }

    /// To nearest even. Not for what is no number, which stays none.
    private static func brainFloat(_ value: Float) -> Float {
        guard value.isFinite else { return value }
        let bits = value.bitPattern
        return Float(bitPattern: (bits &+ 0x7fff &+ (bits >> 16 & 1)) & 0xffff_0000)
    }
}

extension HeadScreen {
    /// Rows among which the largest products are, and what the others stay below.
    struct Selection {
        let rows: [Int32]  // ascending
        /// No product of another row is larger.
        let rest: Float
    }

    private typealias Lanes = SIMD8<Float>
    private static let chunk = 8192

    /// The rows whose full products may be among the `count` largest.
    ///
    /// - Parameters:
    ///   - products: the copy's, [rows].
    ///   - limit: the most rows that are worth their full products.
    /// - Returns: nil where more are left.
    func select(
        _ count: Int, of products: UnsafePointer<Float>, _ length: ScreenedLength, limit: Int, pool: ThreadPool
    ) throws(CabochonError) -> Selection? {
        let chunks = (rows + Self.chunk - 1) / Self.chunk
        let ends = try Buffer<Float>(count: chunks * count, for: "the head's intervals")
        ends.elements.update(repeating: -.infinity)
        pool.forEach(chunks) { chunk, _ in
            let largest = UnsafeMutableBufferPointer(rebasing: ends.elements[chunk * count..<(chunk + 1) * count])
            forEachInterval(in: chunk, products, length) { row, middle, half in
                let lower = middle - half
                guard any(lower .> Lanes(repeating: largest[0])) else { return }
                for lane in 0..<min(Lanes.scalarCount, rows - row) { insert(lower[lane], into: largest) }
            }
        }
        let sorted = ends.elements.sorted(by: >)
        guard count <= rows, sorted[count - 1] > -.infinity else { return nil }
        let least = Lanes(repeating: sorted[count - 1])
        // A chunk that alone has more is more than there may be in all.
        let found = try Buffer<Int32>(count: chunks * limit, for: "rows of the head")
        let counts = try Buffer<Int>(count: chunks, for: "rows of the head")
        let rests = try Buffer<Float>(count: chunks, for: "rows of the head")
        pool.forEach(chunks) { chunk, _ in
            var rest = Lanes(repeating: -.infinity)
            var kept = 0
            forEachInterval(in: chunk, products, length) { row, middle, half in
                let upper = middle + half
                let isOut = upper .< least
                rest.replace(with: upper, where: isOut .& (upper .> rest))
                guard !all(isOut) else { return }
                for lane in 0..<min(Lanes.scalarCount, rows - row) where !isOut[lane] {
                    if kept < limit { found.pointer[chunk * limit + kept] = Int32(truncatingIfNeeded: row + lane) }
                    kept += 1
                }
            }
            counts.pointer[chunk] = kept
            rests.pointer[chunk] = rest.max()
        }
        guard counts.elements.reduce(0, +) <= limit else { return nil }
        var selected: [Int32] = []
        for chunk in 0..<chunks { selected += found.elements[chunk * limit..<chunk * limit + counts.pointer[chunk]] }
        return Selection(rows: selected, rest: rests.elements.max() ?? -.infinity)
    }

    /// Tells the middles and half widths of eight rows' intervals at a time; past the last row they are
    /// the last one's.
    @inline(__always)
    private func forEachInterval(
        in chunk: Int, _ products: UnsafePointer<Float>, _ length: ScreenedLength,
        _ body: (_ row: Int, _ middle: Lanes, _ half: Lanes) -> Void
    ) {
        @inline(__always) func lanes(_ values: UnsafePointer<Float>, _ row: Int) -> Lanes {
            if row + Lanes.scalarCount <= rows {
                return UnsafeRawPointer(values + row).loadUnaligned(as: Lanes.self)
            }
            var result = Lanes(repeating: values[rows - 1])
            for lane in 0..<rows - row { result[lane] = values[row + lane] }
            return result
        }
        for row in stride(from: chunk * Self.chunk, to: min(rows, (chunk + 1) * Self.chunk), by: Lanes.scalarCount) {
            let half = lanes(error.pointer, row) * length.norm + lanes(norm.pointer, row) * length.error
            body(row, lanes(products, row), half)
        }
    }

    /// Keeps the largest numbers, ascending.
    private func insert(_ value: Float, into largest: UnsafeMutableBufferPointer<Float>) {
        guard value > largest[0] else { return }
        var place = 0
        while place + 1 < largest.count, largest[place + 1] < value {
            largest[place] = largest[place + 1]
            place += 1
        }
        largest[place] = value
    }
}
