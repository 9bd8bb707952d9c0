// Session+File.swift - a session saved to a file and restored from it.
//
// Layout, little-endian: the eight bytes "cabochS2"; eight UInt32: layers, KV heads, head size, KV
// type, vocabulary size, context length, token count, cached positions; a fingerprint of the
// checkpoint (UInt64); the tokens (Int32); per layer keys then values, per KV head, the cached
// positions' rows; FNV-1a over all before it (UInt64). The file has its name when it is whole, so
// that a crash never leaves half of one.

extension Session {
    /// Ends with the version of the layout. Version 1's fingerprint knew no matrix.
    private static let magic: [UInt8] = Array("cabochS2".utf8)

    /// Saves tokens and KV cache.
    ///
    /// - Throws: `.io` with the path and the system's words, also where something is there that is not a
    ///   regular file.
    public func save(to path: String) throws(CabochonError) {
        let file = try OpenFile(replacing: path)
        var writer = ChecksumWriter(file: file)
        let c = model.configuration
        try Self.magic.withUnsafeBufferPointer { (magic) throws(CabochonError) in
            try writer.write(UnsafeRawBufferPointer(magic))
        }
        for number in [
            c.layerCount, c.kvHeadCount, c.headSize, Int(cache.type.rawValue), c.vocabularySize, contextLength, length,
            cache.length,
        ] { try writer.write(UInt32(truncatingIfNeeded: number)) }
        try writer.write(try model.fingerprint())
        try writer.write(UnsafeRawBufferPointer(sequence))
        try cache.forEachUsedRange { (bytes) throws(CabochonError) in try writer.write(UnsafeRawBufferPointer(bytes)) }
        try writer.write(writer.checksum)
        try file.publish()
    }

    /// Restores a session that was saved with the same model and KV type.
    ///
    /// - Throws: `.io`; `.invalidFile` for a damaged file; `.invalidArgument` where the model or KV type
    ///   is another.
    public static func restore(from path: String, model: Model) throws(CabochonError) -> Session {
        try MappedFile(path: path).withBytes { (bytes) throws(CabochonError) in
            try restore(bytes, path: path, model: model)
        }
    }

    private static func restore(
        _ bytes: UnsafeRawBufferPointer, path: String, model: Model
    ) throws(CabochonError) -> Session {
        var reader = ByteReader(bytes, name: path)
        let name = magic.dropLast()
        guard bytes.count > magic.count + 8, try reader.take(name.count, "the magic").elementsEqual(name) else {
            throw CabochonError(.invalidFile, "\(path): not a saved session")
        }
        guard try reader.read(UInt8.self, "the version") == magic.last else {
            throw CabochonError(
                .invalidFile, "\(path): a saved session in another version of the format: make the session anew")
        }
        var stored = FNV1a()
        stored.add(UnsafeRawBufferPointer(rebasing: bytes.dropLast(8)))
        guard bytes.loadUnaligned(fromByteOffset: bytes.count - 8, as: UInt64.self) == stored.value else {
            throw CabochonError(.invalidFile, "\(path): the saved session is damaged (its checksum differs)")
        }
        let c = model.configuration
        let shape = [c.layerCount, c.kvHeadCount, c.headSize, Int(model.options.kvType.rawValue), c.vocabularySize]
        var numbers: [Int] = []
        for _ in 0..<8 { numbers.append(Int(try reader.read(UInt32.self, "the shape"))) }
        let fingerprint = try reader.read(UInt64.self, "the fingerprint")
        guard Array(numbers.prefix(5)) == shape, fingerprint == (try model.fingerprint()) else {
            throw CabochonError(.invalidArgument, "\(path): saved with another model or KV type than \(model.path)")
        }
        let (context, length, cached) = (numbers[5], numbers[6], numbers[7])
        let perPosition = 2 * c.layerCount * c.kvHeadCount * model.options.kvType.rowBytes(headSize: c.headSize)
        let needed = try Checked.add(
            try Checked.multiply(length, 4, path), try Checked.multiply(cached, perPosition, path), path)
        guard length <= context, cached <= length, length - cached <= 1, needed == reader.remaining - 8 else {
            throw CabochonError(
                .invalidFile, "\(path): \(length) tokens, \(cached) of them cached, do not fill the file")
        }
        let contexts = GemmaConfiguration.contextLengths
        guard contexts.contains(context) else {
            throw CabochonError(.invalidFile, "\(path): context length \(context) is not in \(contexts)")
        }
        let session = try model.makeSession(contextLength: context)
        let tokens = try reader.take(4 * length, "the tokens")
        do throws(CabochonError) { try session.adopt(tokens) } catch {
            // To the caller, who gave no token, it is the file that is wrong.
            throw CabochonError(.invalidFile, "\(path): \(error.message)")
        }
        session.cache.commit(length: cached)
        try session.cache.forEachUsedRange { (target) throws(CabochonError) in
            target.copyMemory(from: try reader.take(target.count, "keys and values"))
        }
        return session
    }
}

private struct ChecksumWriter {
    private let file: OpenFile
    private var offset = 0
    private var sum = FNV1a()

    init(file: OpenFile) { self.file = file }

    var checksum: UInt64 { sum.value }

    mutating func write(_ bytes: UnsafeRawBufferPointer) throws(CabochonError) {
        sum.add(bytes)
        try file.write(bytes, at: offset)
        offset += bytes.count
    }

    mutating func write(_ number: some FixedWidthInteger) throws(CabochonError) {
        var number = number.littleEndian
        try withUnsafeBytes(of: &number) { (bytes) throws(CabochonError) in try write(bytes) }
    }
}

extension Model {
    /// Tells checkpoints apart, fine-tunes and quantisations of one another too: a hash of sizes, of the first
    /// norm's gains, and of every matrix's type and its first and last row.
    ///
    /// - Throws: `.io` for a file that has become shorter since.
    func fingerprint() throws(CabochonError) -> UInt64 {
        var sum = FNV1a()
        let c = configuration
        for number in [c.hiddenSize, c.feedForwardSize, c.headCount, c.slidingWindow, tokenizer.vocabulary.count] {
            withUnsafeBytes(of: UInt64(number)) { sum.add($0) }
        }
        guard let weights else { return sum.value }
        if let gains = weights.layers.first?.attentionNorm { sum.add(UnsafeRawBufferPointer(gains.elements)) }
        for matrix in weights.matrices {
            withUnsafeBytes(of: matrix.type.rawValue) { sum.add($0) }
            let row = try Buffer<UInt8>(count: matrix.bytesPerRow, for: "a row of \(matrix.name)")
            for index in [0, matrix.rows - 1] {
                try matrix.copyRow(index, into: row.pointer)
                sum.add(UnsafeRawBufferPointer(row.elements))
            }
        }
        return sum.value
    }
}
