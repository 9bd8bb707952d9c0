// EncoderCache.swift - laid-out encoders in a folder, found again by the file that they were made of.
//
// A file has the path's hash in its name, so that a dictionary that changes replaces its own; its
// header says what it was made of: the source's size, time of change and the checksum of its ends
// (a zip archive's directory holds its members' checksums). A file is named when all of it is on the
// disk, never before, so a name stands for a whole one.

import CabochonShims
import Glibc

struct EncoderCache {
    /// Changes with the layout, or with what `FeatureScreen` packs.
    private static let magic: UInt64 = 0x3130_4345_4f42_4143  // CABOEC01

    private let path: String
    private let folder: String
    private let source: [UInt64]

    /// `$XDG_CACHE_HOME/cabochon/encoders`, or `~/.cache/cabochon/encoders`; nil without either.
    static var standardFolder: String? {
        func variable(_ name: String) -> String? {
            guard let value = cabochon_shim_secure_environment(name) else { return nil }
            let text = String(cString: value)
            return text.hasPrefix("/") ? text : nil
        }
        if let cache = variable("XDG_CACHE_HOME") { return "\(cache)/cabochon/encoders" }
        return variable("HOME").map { "\($0)/.cache/cabochon/encoders" }
    }

    /// - Throws: `.io` for a source that cannot be read.
    init(of file: OpenFile, in folder: String, isCentered: Bool) throws(CabochonError) {
        let end = min(Int(file.identity.size), 65_536)
        let bytes = try Buffer<UInt8>(count: 2 * end, for: "the ends of \(file.path)")
        try file.read(into: UnsafeMutableRawBufferPointer(start: bytes.pointer, count: end), at: 0)
        try file.read(
            into: UnsafeMutableRawBufferPointer(start: bytes.pointer + end, count: end),
            at: Int(file.identity.size) - end)
        var checksum = CRC32()
        checksum.update(UnsafeRawBufferPointer(bytes.elements))
        source = [
            file.identity.size, UInt64(bitPattern: file.identity.modified), UInt64(checksum.value), isCentered ? 1 : 0,
        ]
        var resolved = file.path
        if let real = realpath(file.path, nil) {
            resolved = String(cString: real)
            free(real)
        }
        var hash = FNV1a()
        hash.add(resolved.utf8)
        hash.add(CollectionOfOne(isCentered ? 1 : 0))
        let digits = String(hash.value, radix: 16)
        self.folder = folder
        path = "\(folder)/\(String(repeating: "0", count: 16 - digits.count))\(digits).encoder"
    }

    /// The file that was made of this source; nil without one, or with one that is damaged.
    func find(_ layout: EncoderLayout, center: Buffer<Float>) -> Encoder? {
        guard let file = try? OpenFile(path: path), let mapped = try? MappedFile(file),
            mapped.bytes.count == layout.byteCount,
            let encoder = try? Encoder(file, mapped, layout, center: center)
        else { return nil }
        let header = self.header(layout, bounds: bounds(mapped.bytes, layout))
        let isOurs = header.withUnsafeBytes { $0.elementsEqual(mapped.bytes.prefix($0.count)) }
        return isOurs ? encoder : nil
    }

    /// Lays an encoder out in the folder, which is made if need be.
    ///
    /// - Throws: `.io` where no file can be made there, or the source cannot be read.
    func make(_ packing: EncoderPacking) throws(CabochonError) -> Encoder {
        let status = cabochon_shim_make_folders(folder)
        guard status == 0 else {
            let words = strerror(status).map { String(cString: $0) } ?? "error \(status)"
            throw CabochonError(.io, "cannot make the folder \(folder): \(words)")
        }
        let file = try OpenFile(replacing: path, byteCount: packing.layout.byteCount, mode: 0o600)
        try packing.write(to: file)
        let mapped = try MappedFile(file)
        let header = self.header(packing.layout, bounds: bounds(mapped.bytes, packing.layout))
        var failure: CabochonError?
        header.withUnsafeBytes { header in
            do throws(CabochonError) { try file.write(header, at: 0) } catch { failure = error }
        }
        if let failure { throw failure }
        // Where it can't have a name it serves without one, and goes with the dictionary.
        try? file.publish()
        return try Encoder(file, mapped, packing.layout, center: packing.center)
    }

    private func bounds(_ bytes: UnsafeRawBufferPointer, _ layout: EncoderLayout) -> UnsafeRawBufferPointer {
        UnsafeRawBufferPointer(rebasing: bytes[layout.bounds..<layout.bounds + layout.boundsByteCount])
    }

    private func header(_ layout: EncoderLayout, bounds: UnsafeRawBufferPointer) -> [UInt64] {
        var checksum = CRC32()
        checksum.update(bounds)
        let sizes = [layout.width, layout.inputSize, layout.decoderSize, layout.hasCodes ? 1 : 0, layout.byteCount]
        return [Self.magic, UInt64(checksum.value)] + source + sizes.map { UInt64($0) }
    }
}
