// The screen of sparse_encode on AVX2 and AVX-VNNI: products of 16 bits, codes by the whole of an input's two bytes. With
// VNNI bytes take as many instructions for both; without it they have no sum in 32 bits and take as many for one of them.
import CCabochonBackend
import SIMDIntrinsics

/// Sixteen partial sums in 2 vectors of 8.
typealias PartialSums = InlineArray<2, FloatVector>
let partsOfSixteen = 2
@inline(__always) func sumOfSixteen(_ sums: PartialSums) -> Float { sumOfLanes(add(sums[0], sums[1])) }

/// Appends to each token's indices the features that may fire, ascending.
func screen(_ args: cabochon_sparse_encode_args) {
    let tokens = Int(truncatingIfNeeded: args.tokens)
    let groups = (Int(truncatingIfNeeded: args.features) + 15) / 16
    // Tokens outside: six tokens' numbers fill a first-level cache, a block's codes come from the second.
    var token = 0
    while token + 6 <= tokens {
        // A half of the group, so that the registers hold the sums of six tokens.
        for group in 0..<groups {
            for half in 0..<2 { screenTile(args, group, half, token, InlineArray<1, InlineArray<6, Void>>.self) }
        }
        token += 6
    }
    while token + 2 <= tokens {
        for group in 0..<groups { screenTile(args, group, 0, token, InlineArray<2, InlineArray<2, Void>>.self) }
        token += 2
    }
    while token < tokens {
        for group in 0..<groups { screenTile(args, group, 0, token, InlineArray<2, InlineArray<1, Void>>.self) }
        token += 1
    }
}

/// Eights of a group of sixteen features by some tokens.
@inline(__always)
private func screenTile<let eights: Int, let tokens: Int>(
    _ args: cabochon_sparse_encode_args, _ group: Int, _ firstEight: Int, _ firstToken: Int,
    _: InlineArray<eights, InlineArray<tokens, Void>>.Type
) {
    typealias Sums = InlineArray<eights, InlineArray<tokens, IntVector>>
    let columns = Int(truncatingIfNeeded: args.columns)
    let codes = UnsafeRawPointer(args.codes.unsafelyUnwrapped) + group * columns * 16 + firstEight * 32
    let numbers = UnsafeRawPointer(args.numbers.unsafelyUnwrapped) + firstToken * columns * 2
    let zero = Sums(repeating: InlineArray<tokens, IntVector>(repeating: broadcast(Int32(0))))
    var (high, low) = (zero, zero)
    var column = 0
    while column < columns {
        let end = min(column + longestSum, columns)
        // Of features 0 to 3 and 4 to 7, two lanes each.
        var (first, second) = (zero, zero)
        while column < end {
            for eight in 0..<eights {
                let source = codes + column * 16 + eight * 32
                if tokens == 1 && eight == 0 { cabochon_simd_prefetch(source + 2048) }
                let four = cabochon_x86_signed_words_256(source)
                let next = cabochon_x86_signed_words_256(source + 16)
                for token in 0..<tokens {
                    let input = cabochon_x86_four_words_256(numbers + (token * columns + column) * 2)
                    first[eight][token] = addPairs(four, input, to: first[eight][token])
                    second[eight][token] = addPairs(next, input, to: second[eight][token])
                }
            }
            column += 4
        }
        for eight in 0..<eights {
            for token in 0..<tokens {
                let sums = cabochon_x86_add_neighbors_256(first[eight][token], second[eight][token])
                high[eight][token] = add(high[eight][token], _mm256_srai_epi32(sums, 8))
                low[eight][token] = add(low[eight][token], and(sums, broadcast(Int32(255))))
            }
        }
    }
    for token in 0..<tokens {
        for eight in 0..<eights {
            let dot = add(multiply(broadcast(Float(256)), floats(high[eight][token])), floats(low[eight][token]))
            noteFeatures(args, group * 16 + (firstEight + eight) * lanes, firstToken + token, dot)
        }
    }
}

/// Columns whose products have a sum in 32 bits: 512 times 127 times 32,512 at most.
private var longestSum: Int { 512 }

/// The lanes whose left is above right, or compares with nothing.
@inline(__always) func lanesNotAtMost(_ left: FloatVector, _ right: FloatVector) -> UInt32 {
    UInt32(bitPattern: cabochon_x86_not_at_most_256(left, right))
}
