// NPZWriter.swift - writes arrays as numpy's .npz, stored and uncompressed.
//
// The file has its name when it is whole, so that whoever reads the folder sees whole files only.
// Members are small enough for plain zip; larger ones are refused, not cut.

/// One array of an .npz file.
public struct NPYArray {
    /// As in numpy.savez; without ".npy".
    public let name: String
    /// numpy's type: "<f4", "<u4", "<i8".
    public let descriptor: String
    public let shape: [Int]
    /// Row-major, little-endian. Valid while the array is written.
    public let bytes: UnsafeRawBufferPointer

    public init(name: String, descriptor: String, shape: [Int], bytes: UnsafeRawBufferPointer) {
        self.name = name
        self.descriptor = descriptor
        self.shape = shape
        self.bytes = bytes
    }
}

public enum NPZWriter {
    /// Writes a file, replacing what is there.
    ///
    /// - Throws: `.io` in the system's words, `.unsupported` for arrays that do not fit a zip without zip64.
    public static func write(_ arrays: [NPYArray], to path: String) throws(CabochonError) {
        let file = try OpenFile(replacing: path)
        var directory: [UInt8] = []
        var offset = 0
        for array in arrays {
            let header = header(of: array)
            let size = header.count + array.bytes.count
            guard size < 0xffff_ffff, offset < 0xffff_ffff - size else {
                throw CabochonError(
                    .unsupported,
                    "\(path): array '\(array.name)' of \(array.bytes.count) bytes makes it larger than 4 GB")
            }
            var crc = CRC32()
            header.withUnsafeBytes { crc.update($0) }
            crc.update(array.bytes)
            let name = Array("\(array.name).npy".utf8)
            // Version 2.0, no flags, stored, midnight of 1 January 1980.
            var common: [UInt8] = [20, 0, 0, 0, 0, 0, 0, 0, 0x21, 0]
            append(crc.value, to: &common)
            append(UInt32(size), to: &common)
            append(UInt32(size), to: &common)
            append(UInt16(name.count), to: &common)
            append(UInt16(0), to: &common)
            var local: [UInt8] = [0x50, 0x4b, 3, 4]
            local += common + name
            try put(local + header, to: file, at: offset)
            try file.write(array.bytes, at: offset + local.count + header.count)
            directory += [0x50, 0x4b, 1, 2, 20, 0] + common + [UInt8](repeating: 0, count: 10)
            append(UInt32(offset), to: &directory)
            directory += name
            offset += local.count + size
        }
        var end: [UInt8] = [0x50, 0x4b, 5, 6, 0, 0, 0, 0]
        append(UInt16(truncatingIfNeeded: arrays.count), to: &end)
        append(UInt16(truncatingIfNeeded: arrays.count), to: &end)
        append(UInt32(directory.count), to: &end)
        append(UInt32(offset), to: &end)
        append(UInt16(0), to: &end)
        try put(directory + end, to: file, at: offset)
        try file.publish()
    }

    /// Padded so that the elements begin at a multiple of 64 from the array's own start.
    private static func header(of array: NPYArray) -> [UInt8] {
        let sizes = array.shape.map { "\($0)" }.joined(separator: ", ") + (array.shape.count == 1 ? "," : "")
        var text = "{'descr': '\(array.descriptor)', 'fortran_order': False, 'shape': (\(sizes)), }"
        text += String(repeating: " ", count: 63 - (10 + text.utf8.count) % 64) + "\n"
        var bytes: [UInt8] = [0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59, 1, 0]
        append(UInt16(text.utf8.count), to: &bytes)
        return bytes + text.utf8
    }

    private static func append(_ value: some FixedWidthInteger, to bytes: inout [UInt8]) {
        withUnsafeBytes(of: value.littleEndian) { bytes.append(contentsOf: $0) }
    }

    private static func put(_ bytes: [UInt8], to file: OpenFile, at offset: Int) throws(CabochonError) {
        try bytes.withUnsafeBufferPointer { (bytes) throws(CabochonError) in
            try file.write(UnsafeRawBufferPointer(bytes), at: offset)
        }
    }
}

extension Features {
    /// The rows as scipy.sparse.save_npz writes a csr_matrix, with further arrays beside them.
    ///
    /// - Parameter extra: arrays of the caller's; scipy.sparse.load_npz passes them over.
    /// - Throws: as `NPZWriter.write`.
    public func write(to path: String, including extra: [NPYArray] = []) throws(CabochonError) {
        let shape = [Int64(rowCount), Int64(width)]
        var failure: CabochonError?
        shape.withUnsafeBytes { shape in
            Array("csr".utf8).withUnsafeBytes { format in
                let own = [
                    NPYArray(
                        name: "indices", descriptor: "<i4", shape: [indices.count],
                        bytes: UnsafeRawBufferPointer(indices)),
                    NPYArray(
                        name: "indptr", descriptor: "<i8", shape: [offsets.count],
                        bytes: UnsafeRawBufferPointer(offsets)),
                    NPYArray(name: "format", descriptor: "|S3", shape: [], bytes: format),
                    NPYArray(name: "shape", descriptor: "<i8", shape: [2], bytes: shape),
                    NPYArray(
                        name: "data", descriptor: "<f4", shape: [values.count], bytes: UnsafeRawBufferPointer(values)),
                    NPYArray(
                        name: "excluded", descriptor: "|b1", shape: [excluded.count],
                        bytes: UnsafeRawBufferPointer(excluded)),
                ]
                do throws(CabochonError) { try NPZWriter.write(own + extra, to: path) } catch { failure = error }
            }
        }
        if let failure { throw failure }
    }

    /// The rows of several, one after another.
    ///
    /// - Parameter parts: at least one, all of the same width.
    public static func joining(_ parts: [Features]) throws(CabochonError) -> Features {
        guard let width = parts.first?.width, parts.allSatisfy({ $0.width == width }) else {
            throw CabochonError(.invalidArgument, "features of several widths, or none, cannot be joined")
        }
        let builder = try FeaturesBuilder(width: width)
        for part in parts {
            try builder.reserve(part.indices.count)
            for row in 0..<part.rowCount {
                for index in part.offsets[row]..<part.offsets[row + 1] {
                    try builder.append(part.indices[index], part.values[index])
                }
                try builder.endRow(excluded: part.excluded[row] != 0)
            }
        }
        return try builder.finish()
    }
}
