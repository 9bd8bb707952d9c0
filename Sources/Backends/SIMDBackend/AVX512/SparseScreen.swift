// The screen of sparse_encode on AVX-512 VNNI: four columns of sixteen features an instruction,
// unsigned codes by signed inputs. See backend.h for the bound.
import CCabochonBackend
import SIMDIntrinsics

typealias PartialSums = InlineArray<1, FloatVector>
let partsOfSixteen = 1
@inline(__always) func sumOfSixteen(_ sums: PartialSums) -> Float { sumOfLanes(sums[0]) }

/// Appends to each token's indices the features that may fire, ascending.
func screen(_ args: cabochon_sparse_encode_args) {
    let tokens = Int(truncatingIfNeeded: args.tokens)
    let groups = (Int(truncatingIfNeeded: args.features) + 31) / 32 * 2
    if tokens == 1 && groups % 4 == 0 {
        var group = 0
        while group < groups {
            screenOne(args, group)
            group += 4
        }
        return
    }
    var group = 0
    while group < groups {
        var token = 0
        while token + 6 <= tokens {
            screenTile(args, group, token, count: InlineArray<6, Void>(repeating: ()))
            token += 6
        }
        while token < tokens {
            screenTile(args, group, token, count: InlineArray<1, Void>(repeating: ()))
            token += 1
        }
        group += 2
    }
}

/// Two groups of sixteen features by some tokens.
@inline(__always)
private func screenTile<let tokens: Int>(
    _ args: cabochon_sparse_encode_args, _ group: Int, _ token: Int, count: InlineArray<tokens, Void>
) {
    let columns = Int(truncatingIfNeeded: args.columns)
    let codes = UnsafeRawPointer(args.codes.unsafelyUnwrapped) + group * columns * 16
    let high: (InlineArray<tokens, IntVector>, InlineArray<tokens, IntVector>) = tileProducts(
        codes, UnsafeRawPointer(args.high.unsafelyUnwrapped) + token * columns, columns)
    if args.planes == 2 {
        let low: (InlineArray<tokens, IntVector>, InlineArray<tokens, IntVector>) = tileProducts(
            codes, UnsafeRawPointer(args.low.unsafelyUnwrapped) + token * columns, columns)
        for i in 0..<tokens {
            note(args, group, token + i, high: high.0[i], low: low.0[i])
            note(args, group + 1, token + i, high: high.1[i], low: low.1[i])
        }
    } else {
        for i in 0..<tokens {
            note(args, group, token + i, high: high.0[i], low: nil)
            note(args, group + 1, token + i, high: high.1[i], low: nil)
        }
    }
}

@inline(__always)
private func tileProducts<let tokens: Int>(
    _ codes: UnsafeRawPointer, _ plane: UnsafeRawPointer, _ columns: Int
) -> (InlineArray<tokens, IntVector>, InlineArray<tokens, IntVector>) {
    var first = InlineArray<tokens, IntVector>(repeating: broadcast(Int32(0)))
    var second = InlineArray<tokens, IntVector>(repeating: broadcast(Int32(0)))
    let next = codes + columns * 16
    var column = 0
    while column < columns {
        let one = loadInts(codes + column * 16)
        let two = loadInts(next + column * 16)
        for token in 0..<tokens {
            let four = broadcast(plane.loadUnaligned(fromByteOffset: token * columns + column, as: Int32.self))
            first[token] = _mm512_dpbusd_epi32(first[token], one, four)
            second[token] = _mm512_dpbusd_epi32(second[token], two, four)
        }
        column += 4
    }
    return (first, second)
}

/// Four groups by one token, both planes at once: the codes pass by once, and that is what it costs.
@inline(__always)
private func screenOne(_ args: cabochon_sparse_encode_args, _ group: Int) {
    let columns = Int(truncatingIfNeeded: args.columns)
    let stride = columns * 16
    let codes = UnsafeRawPointer(args.codes.unsafelyUnwrapped) + group * stride
    let highPlane = UnsafeRawPointer(args.high.unsafelyUnwrapped)
    let lowPlane = UnsafeRawPointer(args.low.unsafelyUnwrapped)
    var high = InlineArray<4, IntVector>(repeating: broadcast(Int32(0)))
    var low = InlineArray<4, IntVector>(repeating: broadcast(Int32(0)))
    var column = 0
    while column < columns {
        let highFour = broadcast(highPlane.loadUnaligned(fromByteOffset: column, as: Int32.self))
        let lowFour = broadcast(lowPlane.loadUnaligned(fromByteOffset: column, as: Int32.self))
        for i in 0..<4 {
            let place = codes + i * stride + column * 16
            // Half a page ahead: the processor's own prefetch begins anew with each page.
            cabochon_simd_prefetch(place + 2048)
            let weights = loadInts(place)
            high[i] = _mm512_dpbusd_epi32(high[i], weights, highFour)
            low[i] = _mm512_dpbusd_epi32(low[i], weights, lowFour)
        }
        column += 4
    }
    for i in 0..<4 { note(args, group + i, 0, high: high[i], low: args.planes == 2 ? low[i] : nil) }
}

@inline(__always)
private func note(_ args: cabochon_sparse_encode_args, _ group: Int, _ token: Int, high: IntVector, low: IntVector?) {
    // Codes hold 128 too much, so each product holds 128 sums of the input too much.
    var dot = multiply(broadcast(Float(256)), floats(add(high, broadcast(args.high_sum[token] &* -128))))
    if let low { dot = add(dot, floats(add(low, broadcast(args.low_sum[token] &* -128)))) }
    noteFeatures(args, group * lanes, token, dot)
}

/// The lanes whose left is above right, or compares with nothing.
@inline(__always) func lanesNotAtMost(_ left: FloatVector, _ right: FloatVector) -> UInt32 {
    UInt32(cabochon_x86_not_at_most_512(left, right))
}
