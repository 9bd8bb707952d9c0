// FeatureScreen.swift - a copy of the encoder in bytes that proves most features silent.
//
// With w a feature's row, ŵ = scale * code its copy, c a fixed center (the decoder's bias, which
// is about the mean activation) and y = x - c, by Cauchy and Schwarz
//
//     w·x = w·c + ŵ·ŷ + ŵ·(y - ŷ) + (w - ŵ)·y  <=  w·c + ŵ·ŷ + |ŵ| |y - ŷ| + |w - ŵ| |y|
//
// where ŷ is the input in one or two bytes a number. A feature whose right side stays below its
// threshold cannot fire, whatever its float32 product would round to: every bound below is widened
// by that product's own rounding, and by that of the few float32 operations which evaluate it
// (backend.h). The center is subtracted because |y| is several times smaller than |x| in a
// residual stream, and with it the margin. The copy takes a quarter of the encoder's memory.

struct FeatureScreen: @unchecked Sendable {
    let codes: UnsafePointer<UInt8>  // 128 + code: [width / 16, columns / 4, 16, 4], width padded to 32
    let scale, error, norm, bar: UnsafePointer<Float>  // [width, padded to 32]
    /// Subtracted from inputs; zeros for a transcoder, whose decoder bias lives elsewhere. [columns]
    let center: Buffer<Float>
    /// The largest row's length, to tell inputs whose products might overflow.
    let largestNorm: Double

    /// - Parameters:
    ///   - base: laid out as `layout` says, which has codes; must outlive this.
    init(_ base: UnsafeRawPointer, _ layout: EncoderLayout, center: Buffer<Float>) {
        codes = (base + layout.codes).assumingMemoryBound(to: UInt8.self)
        let bounds = (base + layout.bounds).assumingMemoryBound(to: Float.self)
        scale = bounds
        error = bounds + layout.paddedWidth
        norm = bounds + 2 * layout.paddedWidth
        bar = bounds + 3 * layout.paddedWidth
        self.center = center
        largestNorm = UnsafeBufferPointer(start: norm, count: layout.paddedWidth).reduce(0) {
            $1.isFinite ? max($0, Double($1)) : .infinity
        }
    }

    /// What makes the copy of a row.
    struct Packing: @unchecked Sendable {
        let columns: Int
        let scale, error, norm, bar: UnsafeMutablePointer<Float>
        let bias, threshold, center: UnsafePointer<Float>

        init(
            _ bounds: UnsafeMutablePointer<Float>, _ layout: EncoderLayout, bias: Buffer<Float>,
            threshold: Buffer<Float>, center: Buffer<Float>
        ) {
            columns = layout.stride
            scale = bounds
            error = bounds + layout.paddedWidth
            norm = bounds + 2 * layout.paddedWidth
            bar = bounds + 3 * layout.paddedWidth
            self.bias = UnsafePointer(bias.pointer)
            self.threshold = UnsafePointer(threshold.pointer)
            self.center = UnsafePointer(center.pointer)
            for feature in layout.width..<layout.paddedWidth { bar[feature] = .infinity }
        }

        /// - Parameter target: the feature's first four codes.
        func pack(_ row: UnsafePointer<Float>, _ feature: Int, into target: UnsafeMutablePointer<UInt8>) {
            var largest: Float = 0
            var isFinite = true
            for i in 0..<columns {
                largest = max(largest, abs(row[i]))
                isFinite = isFinite && row[i].isFinite
            }
            // A row that is all zeros, or too small for a scale: the codes are zeros, the error the row itself.
            let step = largest / 127
            let inverse = isFinite && step > 1e-30 ? 1 / step : 0
            let used = inverse > 0 ? step : 0
            var (errorSquare, square, copySquare, product) = (0.0, 0.0, 0.0, 0.0)
            for i in 0..<columns {
                let value = row[i]
                // To nearest by way of the mantissa's last bit; |value * inverse| is at most 127 and a rounding.
                let magic: Float = 12_582_912
                let code = isFinite ? max(-127, min(127, (value * inverse + magic) - magic)) : 0
                let copy = Double(used) * Double(code)
                let difference = Double(value) - copy
                errorSquare += difference * difference
                square += Double(value) * Double(value)
                copySquare += copy * copy
                product += Double(value) * Double(center[i])
                target[i / 4 * 64 + i % 4] = UInt8(truncatingIfNeeded: 128 + Int(code))
            }
            guard isFinite else {
                // Not a number compares with nothing, so this feature is always looked at.
                scale[feature] = .nan
                norm[feature] = .infinity
                return
            }
            scale[feature] = used
            error[feature] = FeatureScreen.upper(errorSquare.squareRoot())
            norm[feature] = FeatureScreen.upper(max(square, copySquare).squareRoot())
            let (bias, threshold) = (Double(bias[feature]), Double(threshold[feature]))
            var centerSquare = 0.0
            for i in 0..<columns { centerSquare += Double(center[i]) * Double(center[i]) }
            // Room for rounding pre + bias to float32, and for the double sum of w·c.
            let room =
                (abs(threshold) + abs(bias)) * 0x1p-21 + (square * centerSquare).squareRoot() * 0x1p-36 + 1e-30
            bar[feature] = Float(threshold - bias - product - room).nextDown
        }
    }

    /// At least `value`, with room for the float32 operations it goes through.
    static func upper(_ value: Double) -> Float { Float(value * (1 + 0x1p-20)).nextUp }
}

/// A batch of inputs in one or two bytes a number, with what the bound needs of each.
final class ScreenedInput: @unchecked Sendable {
    let high, low: Buffer<Int8>  // [tokens, columns]
    let numbers: Buffer<Int16>  // 256 * high + low: [tokens, columns]
    let highSum, lowSum: Buffer<Int32>  // [tokens]
    let scale, norm, error: Buffer<Float>  // [tokens]
    private(set) var planes = 2
    private let coarse: Buffer<Float>  // [tokens]
    private let columns: Int

    /// Up to this part of |y| one byte's error costs less in features looked at than a second pass would.
    private static let tolerableError: Float = 0.02

    /// Room for so many tokens.
    init(tokens: Int, columns: Int) throws(CabochonError) {
        self.columns = columns
        high = try Buffer(count: tokens * columns, for: "screened inputs")
        low = try Buffer(count: tokens * columns, for: "screened inputs")
        numbers = try Buffer(count: tokens * columns, for: "screened inputs")
        highSum = try Buffer(count: tokens, for: "screened inputs")
        lowSum = try Buffer(count: tokens, for: "screened inputs")
        scale = try Buffer(count: tokens, for: "screened inputs")
        norm = try Buffer(count: tokens, for: "screened inputs")
        error = try Buffer(count: tokens, for: "screened inputs")
        coarse = try Buffer(count: tokens, for: "screened inputs")
    }

    /// - Parameter input: [tokens, columns], padded with zeros.
    func quantize(_ input: UnsafePointer<Float>, tokens: Int, screen: FeatureScreen, pool: ThreadPool) {
        pool.forEach(tokens) { [self] token, _ in
            coarse.pointer[token] = quantize(input + token * columns, token, columns, screen)
        }
        planes = 2
        // For few tokens a second byte is free.
        guard tokens > SparseAutoencoder.fewTokens else { return }
        var poor = 0
        // Comparisons with no number are false: such an input costs no more either way.
        for token in 0..<tokens where coarse.pointer[token] > Self.tolerableError * norm.pointer[token] { poor += 1 }
        if poor * 8 <= tokens {
            planes = 1
            // Of either: a backend may take the second byte all the same.
            for token in 0..<tokens { error.pointer[token] = max(error.pointer[token], coarse.pointer[token]) }
        }
    }

    /// One token; returns the error of its high bytes alone.
    private func quantize(_ input: UnsafePointer<Float>, _ token: Int, _ columns: Int, _ screen: FeatureScreen) -> Float
    {
        typealias Sixteen = SIMD16<Float>
        let x = UnsafeRawPointer(input)
        let center = UnsafeRawPointer(screen.center.pointer)
        var largest = Sixteen.zero
        var inputSquares = 0.0
        for i in stride(from: 0, to: columns, by: 16) {
            let value = x.load(fromByteOffset: i * 4, as: Sixteen.self)
            let y = value - center.load(fromByteOffset: i * 4, as: Sixteen.self)
            largest = pointwiseMax(largest, y.replacing(with: -y, where: y .< 0))
            inputSquares += Double((value * value).sum())
        }
        let top = largest.max()
        let step = top / 32_512
        scale.pointer[token] = step
        let inputNorm = inputSquares.squareRoot() * (1 + 0x1p-18)
        // Products that might overflow, and inputs that are no numbers, are left to the exact product.
        guard step.isFinite, inputNorm * screen.largestNorm < 1e37 else {
            scale.pointer[token] = .nan
            norm.pointer[token] = .infinity
            error.pointer[token] = .infinity
            return .infinity
        }
        let inverse: Float = step > 1e-30 ? 1 / step : 0
        if inverse == 0 { scale.pointer[token] = 0 }
        let used = scale.pointer[token]
        let highTarget = high.pointer + token * columns
        let lowTarget = low.pointer + token * columns
        let target = numbers.pointer + token * columns
        var highSum = SIMD16<Int32>.zero
        var lowSum = SIMD16<Int32>.zero
        var (squares, fineSquares, coarseSquares) = (0.0, 0.0, 0.0)
        let magic = Sixteen(repeating: 12_582_912)
        for i in stride(from: 0, to: columns, by: 16) {
            let y =
                x.load(fromByteOffset: i * 4, as: Sixteen.self) - center.load(fromByteOffset: i * 4, as: Sixteen.self)
            let whole = (y * inverse + magic) - magic
            let number = unsafeBitCast(y * inverse + magic, to: SIMD16<Int32>.self) &- 0x4b40_0000
            let upper = (number &+ 128) &>> 8
            let lower = number &- (upper &<< 8)
            highSum &+= upper
            lowSum &+= lower
            UnsafeMutableRawPointer(highTarget + i).storeBytes(
                of: SIMD16<Int8>(truncatingIfNeeded: upper), as: SIMD16<Int8>.self)
            UnsafeMutableRawPointer(lowTarget + i).storeBytes(
                of: SIMD16<Int8>(truncatingIfNeeded: lower), as: SIMD16<Int8>.self)
            UnsafeMutableRawPointer(target + i).storeBytes(
                of: SIMD16<Int16>(truncatingIfNeeded: number), as: SIMD16<Int16>.self)
            // used * whole rounds; its share is in the 2^-20 below.
            let fine = y - used * whole
            let coarse = y - used * (Sixteen(upper) * 256)
            squares += Double((y * y).sum())
            fineSquares += Double((fine * fine).sum())
            coarseSquares += Double((coarse * coarse).sum())
        }
        self.highSum.pointer[token] = highSum.wrappedSum()
        self.lowSum.pointer[token] = lowSum.wrappedSum()
        // Squares are summed in float32, sixteen at a time: off by at most 2^-20 of themselves, but for those
        // of numbers below 1e-19, which vanish; 1e-16 is more than the length of the longest such vector.
        let length = squares.squareRoot() * (1 + 0x1p-18) + 1e-16
        norm.pointer[token] = FeatureScreen.upper(length)
        // The exact product's own rounding: a chain of columns / 16 additions, four more, bias and products.
        let rounding = inputNorm * (Double(columns) / 16 + 8) * 0x1p-24
        func bound(_ squares: Double) -> Float {
            let error = squares.squareRoot() * (1 + 0x1p-18) + 1e-16
            let parts = length + error + 128 * Double(used) * Double(columns).squareRoot()
            return FeatureScreen.upper(error + rounding * 1.01 + parts * 0x1p-20)
        }
        error.pointer[token] = bound(fineSquares)
        return bound(coarseSquares)
    }
}
