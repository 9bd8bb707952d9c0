// BenchFile.swift - what one token costs with a model: bytes to read and operations to do.

import Cabochon

struct BenchFile {
    let path: String
    let type: String
    let kvType: KVType
    /// Of all weights, each read once: the embedding is the head's matrix.
    let bytesPerToken: Int
    /// A multiplication and an addition for each parameter of the layers' matrices.
    let operationsPerToken: Int
    /// What most of the layers' parameters are multiplied as.
    let arithmetic: Arithmetic
    private let configuration: GemmaConfiguration
    /// Of a head's keys, or values, at one position.
    private let bytesPerKVRow: Int

    enum Arithmetic: String { case int8, bf16, f32 }

    init(_ model: Model) throws(Failure) {
        let description = try orFail { () throws(CabochonError) in try model.inspect() }
        // A folder of one of the larger Gemma 3 holds the image encoder too, which text never meets.
        let tensors = description.tensors.filter { !$0.name.contains("vision") && !$0.name.contains("projector") }
        let matrices = tensors.filter { $0.shape.count == 2 && !$0.name.contains("embd") && !$0.name.contains("embed") }
        path = model.path
        type = description.fileType
        kvType = model.options.kvType
        bytesPerToken = tensors.reduce(0) { $0 + $1.byteCount }
        operationsPerToken = 2 * matrices.reduce(0) { $0 + Self.parameters($1) }
        func count(_ types: [String]) -> Int {
            matrices.reduce(0) { $0 + (types.contains($1.type) ? Self.parameters($1) : 0) }
        }
        let (floats, halves, all) = (count(["F32"]), count(["BF16", "F16"]), operationsPerToken / 2)
        arithmetic = halves * 2 > all ? .bf16 : floats * 2 > all ? .f32 : .int8
        configuration = model.configuration
        bytesPerKVRow = kvType.rowBytes(headSize: configuration.headSize)
    }

    private static func parameters(_ tensor: TensorDescription) -> Int { tensor.shape.reduce(1, *) }

    /// Bytes of keys and values that one token of the case reads, on average.
    func kvBytesPerToken(of benchCase: BenchCase) -> Int {
        // A token at position p attends to p + 1 positions, and in a sliding layer to those in the window.
        let (first, last) = (benchCase.depth + 1, benchCase.depth + benchCase.tokens)
        let window = configuration.slidingWindow > 0 ? configuration.slidingWindow : last
        let (full, sliding) = (Self.mean(first, last, atMost: last), Self.mean(first, last, atMost: window))
        let positions = configuration.slides.reduce(0) { $0 + ($1 ? sliding : full) }
        return Int((2 * positions * Double(configuration.kvHeadCount * bytesPerKVRow)).rounded())
    }

    /// The mean of the numbers from `first` to `last`, each taken as `most` where it is larger.
    private static func mean(_ first: Int, _ last: Int, atMost most: Int) -> Double {
        let growing = max(0, min(last, most) - first + 1)
        let sum = growing * (2 * first + growing - 1) / 2 + (last - first + 1 - growing) * most
        return Double(sum) / Double(last - first + 1)
    }
}
