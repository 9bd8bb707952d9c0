// ScopeParameters+LayOut.swift - the encoder of a file, laid out anew or found in the cache.

import Synchronization

extension ScopeParameters {
    /// An encoder of fewer bytes is not worth a file.
    private static let leastFileByteCount = 32 << 20

    /// - Parameters:
    ///   - center: what the screen subtracts from inputs; nil subtracts nothing.
    ///   - hasScreen: whether an encoder in memory has a screen; one in a file has it for all backends.
    func layOut(
        bias: Buffer<Float>, threshold: Buffer<Float>, center: Buffer<Float>?, hasScreen: Bool,
        storage: SparseAutoencoder.Storage, pool: ThreadPool
    ) throws(CabochonError) -> Encoder {
        let file = try OpenFile(path: path)
        if let mapped = encoder.file, mapped.path == path, mapped.bytes.count != Int(file.identity.size) {
            throw CabochonError(.io, "\(path): the file changes while it is read")
        }
        let inFile = EncoderLayout(
            width: width, inputSize: inputSize, decoderSize: decoder.holdsFloatRows ? 0 : outputSize, hasCodes: true)
        let padded = try Buffer<Float>(count: inFile.stride, for: "a screen's center")
        if let center { padded.pointer.update(from: center.pointer, count: inputSize) }

        func packing(_ layout: EncoderLayout) throws(CabochonError) -> EncoderPacking {
            try verifyMatrices(on: pool)
            return EncoderPacking(
                layout: layout,
                encoder: FeatureRowsReader(
                    try encoder.tensor(), in: file, width: width, size: inputSize, isColumn: !encoder.isColumnMajor),
                decoder: layout.decoderSize == 0
                    ? nil
                    : FeatureRowsReader(
                        try decoder.tensor(), in: file, width: width, size: outputSize, isColumn: decoder.isColumnMajor),
                bias: bias, threshold: threshold, center: padded, pool: pool)
        }
        func inCache(_ folder: String) throws(CabochonError) -> Encoder {
            let cache = try EncoderCache(of: file, in: folder, isCentered: center != nil)
            if let found = cache.find(inFile, center: padded) { return found }
            return try cache.make(try packing(inFile))
        }

        switch storage {
        case .folder(let folder): return try inCache(folder)
        case .cache:
            if inFile.byteCount >= Self.leastFileByteCount, let folder = EncoderCache.standardFolder,
                let encoder = try? inCache(folder)
            {
                return encoder
            }
        case .memory: break
        }
        return try packing(
            EncoderLayout(width: width, inputSize: inputSize, decoderSize: 0, hasCodes: hasScreen)
        ).makeInMemory()
    }

    /// Beside each other: each is read from its first byte to its last.
    private func verifyMatrices(on pool: ThreadPool) throws(CabochonError) {
        let matrices = [encoder, decoder]
        let failure = Mutex<CabochonError?>(nil)
        pool.forEach(matrices.count) { index, _ in
            do throws(CabochonError) { try matrices[index].verify() } catch { failure.withLock { $0 = $0 ?? error } }
        }
        if let failure = failure.withLock({ $0 }) { throw failure }
    }
}
