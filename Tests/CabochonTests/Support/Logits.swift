// Logits.swift - a session's next logits as an array.

import Cabochon

func logits(_ session: Session) throws -> [Float] {
    var output = [Float](repeating: .nan, count: session.model.configuration.vocabularySize)
    try output.withUnsafeMutableBufferPointer { try session.logits(into: $0) }
    return output
}
