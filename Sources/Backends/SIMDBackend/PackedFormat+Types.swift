// The weight types as packed formats: which codes, which scales, which zero.

/// The IQ4 types' sixteen values with 128 added (their file format's constants).
let iq4Table: InlineArray<16, UInt8> = [1, 24, 45, 63, 79, 93, 106, 118, 129, 141, 153, 166, 181, 197, 217, 241]

enum FormatQ4_0: PackedFormat {
    typealias Codes = Codes4
    typealias Scales = BlockScales
    @inline(__always) static var zeroShift: Int { 3 }
}
enum FormatQ4_1: PackedFormat {
    typealias Codes = Codes4
    typealias Scales = BlockScalesAndMinima
    @inline(__always) static var zeroShift: Int { -1 }
}
enum FormatQ5_0: PackedFormat {
    typealias Codes = Codes5
    typealias Scales = BlockScales
    @inline(__always) static var zeroShift: Int { 4 }
}
enum FormatQ5_1: PackedFormat {
    typealias Codes = Codes5
    typealias Scales = BlockScalesAndMinima
    @inline(__always) static var zeroShift: Int { -1 }
}
enum FormatQ8_0: PackedFormat {
    typealias Codes = Codes8
    typealias Scales = BlockScales
    @inline(__always) static var zeroShift: Int { 7 }
}
enum FormatQ2_K: PackedFormat {
    typealias Codes = Codes2
    typealias Scales = HalfScalesAndMinima
    @inline(__always) static var zeroShift: Int { -1 }
}
enum FormatQ3_K: PackedFormat {
    typealias Codes = Codes3
    typealias Scales = HalfScales
    @inline(__always) static var zeroShift: Int { 2 }
}
enum FormatQ4_K: PackedFormat {
    typealias Codes = Codes4
    typealias Scales = SuperScalesAndMinima
    @inline(__always) static var zeroShift: Int { -1 }
}
enum FormatQ5_K: PackedFormat {
    typealias Codes = Codes5
    typealias Scales = SuperScalesAndMinima
    @inline(__always) static var zeroShift: Int { -1 }
}
enum FormatQ6_K: PackedFormat {
    typealias Codes = Codes6
    typealias Scales = HalfScales
    @inline(__always) static var zeroShift: Int { 5 }
}
enum FormatIQ4_NL: PackedFormat {
    typealias Codes = Codes4
    typealias Scales = BlockScales
    @inline(__always) static var zeroShift: Int { 7 }
    @inline(__always) static var usesTable: Bool { true }
}
enum FormatIQ4_XS: PackedFormat {
    typealias Codes = Codes4
    typealias Scales = SuperScales
    @inline(__always) static var zeroShift: Int { 7 }
    @inline(__always) static var usesTable: Bool { true }
}

/// What is done with a packed format that only its type's number is known of.
protocol FormatOperation {
    associatedtype Result
    func run<Format: PackedFormat>(_: Format.Type) -> Result
}

/// nil where the type is none that is packed.
@inline(__always)
func withFormat<Operation: FormatOperation>(_ type: UInt32, _ operation: Operation) -> Operation.Result? {
    switch type {
    case WeightType.q4_0: operation.run(FormatQ4_0.self)
    case WeightType.q4_1: operation.run(FormatQ4_1.self)
    case WeightType.q5_0: operation.run(FormatQ5_0.self)
    case WeightType.q5_1: operation.run(FormatQ5_1.self)
    case WeightType.q8_0: operation.run(FormatQ8_0.self)
    case WeightType.q2_K: operation.run(FormatQ2_K.self)
    case WeightType.q3_K: operation.run(FormatQ3_K.self)
    case WeightType.q4_K: operation.run(FormatQ4_K.self)
    case WeightType.q5_K: operation.run(FormatQ5_K.self)
    case WeightType.q6_K: operation.run(FormatQ6_K.self)
    case WeightType.iq4_NL: operation.run(FormatIQ4_NL.self)
    case WeightType.iq4_XS: operation.run(FormatIQ4_XS.self)
    default: nil
    }
}
