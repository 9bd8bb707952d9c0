// EncoderLayout.swift - where an encoder that is laid out for encoding has its parts.
//
// The same in memory and in a file: a header of one page, then sections that begin on pages. All
// numbers are little-endian.

struct EncoderLayout: Equatable, Sendable {
    let width, inputSize: Int
    /// The decoder's row length, where it is laid out as well; otherwise 0.
    let decoderSize: Int
    /// Whether there are codes for a screen.
    let hasCodes: Bool

    /// Floats from one row to the next: the input size, padded to whole vectors with zeros.
    var stride: Int { (inputSize + 15) & ~15 }
    /// Features of the screen: whole pairs of groups of sixteen.
    var paddedWidth: Int { (width + 31) & ~31 }

    static let page = 4096
    private static func pages(_ bytes: Int) -> Int { (bytes + page - 1) & ~(page - 1) }

    // No product overflows: ScopeParameters allows 2^24 features of 2^16 numbers.
    var rows: Int { Self.page }  // [width, stride], float32
    var codes: Int { rows + Self.pages(width * stride * 4) }  // FeatureScreen.codes
    var bounds: Int { codes + (hasCodes ? Self.pages(paddedWidth * stride) : 0) }  // [4, paddedWidth], float32
    var boundsByteCount: Int { hasCodes ? 4 * paddedWidth * 4 : 0 }
    var decoder: Int { bounds + Self.pages(boundsByteCount) }  // [width, decoderSize], float32
    var byteCount: Int { decoder + Self.pages(width * decoderSize * 4) }
}
